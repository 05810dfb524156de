"""What a feed document holds, as our events: the only importer of feedparser."""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import feedparser
import lxml.html
from lxml.etree import ParserError

from ingestion.events import MAX_NAME, IncomingPost, version_id
from ingestion.exceptions import BadPost, NeedsAttention
from ingestion.models import Source

# More than any feed lists; what comes after would only be older.
MAX_ENTRIES = 5000
MAX_HTML = 200_000
# A clock that is wrong by more must not put posts into the charts' future.
CLOCK_SLACK = timedelta(hours=1)

_BLOCKS = frozenset(
    ("address", "article", "blockquote", "br", "dd", "div", "dt", "h1", "h2", "h3", "h4", "h5")
    + ("h6", "hr", "li", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul")
)
_MARKUP = re.compile(r"<[a-zA-Z/!]|&#?\w+;")
_UNREAD = {"script", "style", "head", "template"}


class NotAFeed(NeedsAttention):
    """The document is something else: a web page, perhaps."""

    kind = "not_a_feed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry in plain text. Times are Unix seconds, 0 when the feed gives none."""

    feed: str
    id: str
    link: str = ""
    title: str = ""
    text: str = ""
    author: str = ""
    lang: str = ""
    published: int = 0
    updated: int = 0

    @property
    def external_id(self) -> str:
        """The guid, else the link; with the feed's host where it is unique only there."""
        identity = self.id or self.link
        if identity and not re.match(r"(https?|tag|urn|uuid|at):", identity, re.IGNORECASE):
            identity = f"{urlsplit(self.feed).hostname}:{identity}"
        if not identity and self.full_text:
            identity = f"{urlsplit(self.feed).hostname}:sha256:{_digest(self.full_text)}"
        return identity if len(identity) <= MAX_NAME - 40 else f"sha256:{_digest(identity)}"

    @property
    def full_text(self) -> str:
        """Title and text; the title only once."""
        if self.text.startswith(self.title.rstrip("….")):
            return self.text
        return "\n\n".join(filter(None, (self.title, self.text)))

    def post(
        self, stream_ids: frozenset[int], now: datetime, edited_at: datetime | None = None
    ) -> IncomingPost:
        """The post it is, or the version of it that was made at `edited_at`. Raises BadPost."""
        identity = self.external_id
        moment = self.published or self.updated
        created_at = datetime.fromtimestamp(moment, UTC) if moment else now
        return IncomingPost(
            source=Source.RSS,
            external_id=version_id(identity, edited_at) if edited_at else identity,
            edit_history=(identity,) if edited_at else (),
            text=self.full_text,
            created_at=now if created_at > now + CLOCK_SLACK else created_at,
            lang=self.lang,
            author_name=self.author,
            raw=asdict(self),
            stream_ids=stream_ids,
        )

    def as_message(self) -> bytes:
        """What `entry` reads again: a feed's entries are no messages of their own."""
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Document:
    """A feed as it stands. `ttl_seconds` is how long it says it stays so, 0 when it does not."""

    entries: tuple[Entry, ...]
    ttl_seconds: float = 0.0


def read(body: bytes, feed: str, content_type: str = "") -> Document:
    """The feed in `body`, newest first or as its author ordered it. Raises NotAFeed.

    What is not quite XML is read as far as it makes sense.
    """
    # A stream: of bytes alone feedparser would try whether they name a file.
    parsed = feedparser.parse(
        BytesIO(body),
        response_headers={"content-type": content_type} if content_type else {},
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    if not parsed.get("version") and not parsed.entries:
        raise NotAFeed("it is no RSS or Atom feed")
    about = parsed.feed
    entries = tuple(_entry(each, about, feed) for each in parsed.entries[:MAX_ENTRIES])
    return Document(entries, _ttl(about.get("ttl")))


def entry(message: bytes) -> Entry:
    """The entry that `as_message` wrote. Raises BadPost."""
    try:
        values = json.loads(message)
        found = Entry(**values)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadPost(f"it is no entry: {error}") from error
    for each in fields(Entry):
        kind = int if each.name in {"published", "updated"} else str
        if type(getattr(found, each.name)) is not kind:
            raise BadPost(f"it is no entry: its {each.name} is no {kind.__name__}")
    return found


def _entry(found: Mapping[str, Any], about: Mapping[str, Any], feed: str) -> Entry:
    body, lang = _body(found)
    return Entry(
        feed=feed,
        id=_string(found.get("id")),
        link=_string(found.get("link")),
        title=" ".join(_plain(found.get("title_detail")).split()),
        text=body,
        author=_string(found.get("author")) or _string(about.get("title")),
        lang=lang or _string(about.get("language")),
        published=_seconds(found, "published_parsed", "created_parsed"),
        updated=_seconds(found, "updated_parsed"),
    )


def _body(found: Mapping[str, Any]) -> tuple[str, str]:
    """The summary, or the whole content when there is none, and its language."""
    details = [found.get("summary_detail"), *(found.get("content") or [])]
    for detail in details:
        if text := _plain(detail):
            return text, _string((detail or {}).get("language"))
    return "", _string((found.get("title_detail") or {}).get("language"))


def _plain(detail: Mapping[str, Any] | None) -> str:
    if not detail:
        return ""
    value = _string(detail.get("value"))
    # Many feeds call plain text HTML, and HTML plain text.
    if detail.get("type") == "text/plain" and _MARKUP.search(value) is None:
        return value.strip()
    return plain_text(value)


def plain_text(html: str) -> str:
    """HTML without its tags: blocks are lines, scripts and styles are left out."""
    if "<" not in html and "&" not in html:
        return html.strip()
    try:
        root = lxml.html.fragment_fromstring(html[:MAX_HTML].replace("\0", ""), create_parent="div")
    except (ParserError, ValueError):
        return ""
    pieces: list[str] = []
    _collect(root, pieces)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(filter(None, lines))


def _collect(root: Any, pieces: list[str]) -> None:
    """In the document's order, without recursion: nesting is the author's."""
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            pieces.append(node)
            continue
        if isinstance(node.tag, str) and node.tag not in _UNREAD:
            edge = "\n" if node.tag in _BLOCKS else ""
            pieces += [edge, (node.text or "").replace("\n", " ")]
            waiting.append(edge)
            waiting += [part for child in reversed(node) for part in (_tail(child), child)]


def _tail(node: Any) -> str:
    return (node.tail or "").replace("\n", " ")


def _string(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _seconds(found: Mapping[str, Any], *names: str) -> int:
    for name in names:
        # Asked otherwise, feedparser lends `updated` the time of `published`.
        if name not in found or not isinstance(found[name], time.struct_time):
            continue
        with suppress(ValueError, OverflowError):
            seconds = calendar.timegm(found[name])
            # 1970 is a clock that was never set; past 2106 the state has no room.
            if 0 < seconds < 2**32:
                return seconds
    return 0


def _ttl(minutes: object) -> float:
    text = _string(minutes)
    return 60.0 * int(text) if text.isdecimal() and len(text) < 6 else 0.0


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
