"""A post's text as the filter language sees it: words, tags and addresses, in linear time."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property, lru_cache

from ingestion.events import MAX_TEXT

# Written without spaces between words: each character counts as a word, a word as a phrase.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul, which glues its particles to the word
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Kana
    (0x3130, 0x318F),
    (0x31A0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_MENTION = re.compile(r"(?<![\w@])@([\w.-]+(?:@[\w.-]+)?)")
_NAME_END = re.compile("[.@-]")
_CASHTAG = re.compile(r"(?<![\w$])\$([a-z]{1,6}(?:[._][a-z]{1,2})?)(?!\w)")
_HASHTAG = re.compile(r"(?<![\w&])#")


def _standing(code: int) -> str:
    """A character's part in words: itself, alone between spaces, a space, or nothing."""
    if any(first <= code <= last for first, last in _UNSPACED):
        return f" {chr(code)} "
    category = unicodedata.category(chr(code))
    # Joiners, soft hyphens, the marks that choose an emoji's style.
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F:
        return ""
    if category[0] in "LNM" or category == "Co":
        return chr(code)
    return f" {chr(code)} " if category[0] == "S" and code > 0x7F else " "


class _Table(dict[int, str]):
    """For `str.translate`; learns characters as it meets them."""

    def __missing__(self, code: int) -> str:
        standing = self[code] = _standing(code)
        return standing


_TABLE = _Table()


def fold(text: str) -> str:
    """Without case, and with one spelling for what looks the same."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def words(folded: str) -> str:
    """The words of a folded text, each between single spaces, or " " when there are none.

    So `words(a) in words(b)` tells whether the words of `a` follow each other in `b`.
    """
    found = folded.translate(_TABLE).split()
    return f" {' '.join(found)} " if found else " "


class Text:
    """One text; what a query does not ask for is not made."""

    def __init__(self, text: str) -> None:
        self._folded = fold(text[:MAX_TEXT])
        self.words = words(self._folded)

    @cached_property
    def tags(self) -> frozenset[str]:
        """Hashtags, mentions and cashtags, with their sign.

        A mention of a server's account (@ann@example.org, @ann.example.org) is there whole, and
        as the name before the first dot or @.
        """
        folded = self._folded
        tags: set[str] = set()
        if "#" in folded:
            tags |= {f"#{_hashtag(folded, match.end())}" for match in _HASHTAG.finditer(folded)}
        if "$" in folded:
            tags |= {f"${match[1]}" for match in _CASHTAG.finditer(folded)}
        if "@" in folded:
            mentions = [match[1].rstrip(".-") for match in _MENTION.finditer(folded)]
            tags |= {f"@{whole}" for whole in mentions}
            tags |= {f"@{_NAME_END.split(whole, maxsplit=1)[0]}" for whole in mentions}
        return frozenset(tags)

    @cached_property
    def urls(self) -> tuple[str, ...]:
        """The words of each address in the text."""
        return tuple(words(part) for part in self._folded.split() if _is_address(part))


def _hashtag(folded: str, start: int) -> str:
    """The hashtag without its sign that begins here, "" when none does."""
    end = start
    while end < len(folded) and (folded[end] == "_" or _TABLE[ord(folded[end])].strip().isalnum()):
        end += 1
    return folded[start:end]


def _is_address(part: str) -> bool:
    host, slash, _ = part.partition("/")
    return "://" in part or part.startswith("www.") or (bool(slash) and "." in host)


@lru_cache(maxsize=16)
def read(text: str) -> Text:
    """The text, taken apart once for all the queries that look at it."""
    return Text(text)
