"""Mastodon's HTML as plain text. Knows the markup, not the network."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from html import unescape

# A post's text is cut at 30,000 characters; its markup is longer, but not without end.
MAX_HTML = 100_000
# Nobody's server nests so deep; an end tag without a start is looked for no further.
MAX_DEPTH = 64

_PARAGRAPHS = frozenset(
    ["p", "div", "blockquote", "ul", "ol", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "table"]
)
_LINES = frozenset({"li", "tr"})
_UNSEEN = frozenset({"script", "style"})
# They have no end tag, so nothing is inside them.
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "source",
        "track",
        "wbr",
    ]
)

# Servers sanitise what they deliver. html.parser takes minutes over what is made to hurt it; these
# never look at a character twice.
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)([^<>]*)>|<[!?][^<>]*>")
_ATTRIBUTE = re.compile(r"""(?:^|\s)(class|alt)=(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """What a reader sees, and the same with each shortened link in full length."""

    visible: str
    full: str


def read(html: str, *, has_quote: bool = False) -> Text:
    """Paragraphs and `<br>` become line breaks, links their visible text, mentions stay.

    With `has_quote`, the line that stands for a quoted post where quotes are unknown is left out.
    Costs linear time.
    """
    html = html[:MAX_HTML]
    reader = _Reader(has_quote)
    end = 0
    for tag in _TAG.finditer(html):
        reader.text(unescape(html[end : tag.start()]))
        if tag[2]:
            reader.tag(tag[2].lower(), tag[3], is_end=bool(tag[1]))
        end = tag.end()
    reader.text(unescape(html[end:]))
    return Text(_tidy(reader.visible), _tidy(reader.full))


def _tidy(parts: list[str]) -> str:
    lines = (line.strip() for line in "".join(parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader:
    """Collects both texts; knows of each open element whether it hides what is in it."""

    def __init__(self, has_quote: bool) -> None:
        self.visible: list[str] = []
        self.full: list[str] = []
        self._has_quote = has_quote
        self._open: list[tuple[str, str]] = []
        self._hiding = Counter[str]()

    def text(self, text: str) -> None:
        if self._hiding["unseen"]:
            return
        self.full.append(text)
        if not self._hiding["invisible"]:
            self.visible.append(text)

    def tag(self, name: str, attributes: str, *, is_end: bool) -> None:
        if is_end:
            self._close(name)
        elif name in _VOID:
            self._void(name, attributes)
        else:
            self._break(name)
            part = self._part(name, attributes)
            self._open.append((name, part))
            self._hiding[part] += 1

    def _void(self, name: str, attributes: str) -> None:
        if name == "br":
            self._both("\n")
        elif name == "img":
            # A custom emoji, where a server draws it.
            self._both(_attribute(attributes, "alt"))

    def _close(self, name: str) -> None:
        """Close the innermost element of this name, and what was left open in it."""
        for index in range(len(self._open) - 1, max(-1, len(self._open) - 1 - MAX_DEPTH), -1):
            if self._open[index][0] == name:
                for inner, part in reversed(self._open[index:]):
                    self._hiding[part] -= 1
                    if part == "ellipsis":
                        self.visible.append("…")
                    self._break(inner)
                del self._open[index:]
                return

    def _part(self, name: str, attributes: str) -> str:
        classes = _attribute(attributes, "class").split()
        if name in _UNSEEN or (self._has_quote and "quote-inline" in classes):
            return "unseen"
        return next((part for part in ("invisible", "ellipsis") if part in classes), "")

    def _break(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._both("\n\n")
        elif name in _LINES:
            self._both("\n")

    def _both(self, text: str) -> None:
        self.visible.append(text)
        self.full.append(text)


def _attribute(attributes: str, name: str) -> str:
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return unescape(found[2] or found[3] or "")
    return ""
