"""Which posts of the firehose each stream asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestion import queries
from ingestion.exceptions import BadQuery
from ingestion.language_tags import primary
from ingestion.models import Stream

# Their names make the address of the connection longer; more authors are filtered here.
MAX_DIDS = 100
_DID = re.compile(r"did:(?:plc:[a-z2-7]{24}|web:[A-Za-z0-9._%-]+)")
_AUTHOR = "from:did:"


@dataclass(frozen=True, slots=True)
class Filter:
    """One stream's wishes, compiled."""

    stream_id: int
    query: queries.Query
    languages: frozenset[str]

    def asks_for(self, text: str, author: str, author_id: str, languages: Sequence[str]) -> bool:
        if self.languages and self.languages.isdisjoint(languages):
            return False
        lang = languages[0] if languages else ""
        return self.query.matches(text=text, author=author, lang=lang, author_id=author_id)


class Filters:
    """All streams, compiled; never changed, so that another thread may go on using them.

    `dids` are the only authors that any stream asks for; None when others count, too. `refused`
    tells by stream why its query cannot be followed.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.refused: dict[int, str] = {}
        self._filters = [made for stream in streams if (made := self._compile(stream)) is not None]
        self.dids = _all_authors(self._filters)
        self._marks = _language_marks(self._filters)

    def __bool__(self) -> bool:
        return bool(self._filters)

    def matching(
        self, text: str, author: str, author_id: str, languages: Sequence[str]
    ) -> frozenset[int]:
        """The streams that ask for this post."""
        return frozenset(
            each.stream_id
            for each in self._filters
            if each.asks_for(text, author, author_id, languages)
        )

    def may_match(self, message: bytes) -> bool:
        """False only when a message is a post in none of the languages that are asked for.

        Far cheaper than reading it: most posts of the firehose end here.
        """
        if self._marks is None or b'"langs"' not in message or b"\\u00" in message:
            return True
        message = message.lower()
        return any(mark in message for mark in self._marks)

    def _compile(self, stream: Stream) -> Filter | None:
        try:
            query = queries.parse(stream.query)
        except BadQuery as error:
            self.refused[stream.pk] = str(error)
            return None
        languages = stream.languages if isinstance(stream.languages, list) else []
        return Filter(stream.pk, query, frozenset(primary(str(lang)) for lang in languages))


def _language_marks(filters: Sequence[Filter]) -> tuple[bytes, ...] | None:
    """How the languages that count begin in JSON; None when any does."""
    if not all(each.languages for each in filters):
        return None
    languages = frozenset[str]().union(*(each.languages for each in filters))
    return tuple(f'"{language}'.encode() for language in sorted(languages))


def _all_authors(filters: Sequence[Filter]) -> frozenset[str] | None:
    named = [_authors(each.query.text) for each in filters]
    if not named or None in named:
        return None
    dids = frozenset[str]().union(*(authors for authors in named if authors is not None))
    return dids if len(dids) <= MAX_DIDS else None


def _authors(query: str) -> frozenset[str] | None:
    """The only authors whose posts a query can match; None when it is not plain that there are.

    Plain are `from:did:… words` and `from:did:… OR from:did:…`.
    """
    if '"' in query:
        return None
    terms = query.replace("(", " ").replace(")", " ").split()
    dids = {term.removeprefix("from:") for term in terms if term.startswith(_AUTHOR)}
    if not dids or not all(map(_DID.fullmatch, dids)):
        return None
    is_list = all(term == "OR" or term.startswith(_AUTHOR) for term in terms)
    is_conjunction = "OR" not in terms and "(" not in query
    return frozenset(dids) if is_list or is_conjunction else None
