"""X's recent search: its windows and pages, and how far an interrupted one has come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from ingestion.events import IncomingPost, Malformed, malformed
from ingestion.exceptions import BadPost
from ingestion.sources import x_payload

# X's ids carry their time: milliseconds since this moment, above 22 bits that tell them apart.
EPOCH = datetime(2010, 11, 4, 1, 42, 54, 657000, UTC)
_MILLISECOND = timedelta(milliseconds=1)
REACH = timedelta(days=7)
# What is at the edge of X's reach when we ask may be beyond it when X looks.
_EDGE = timedelta(minutes=1)
PAGE_SIZE = 100
SMALLEST_PAGE = 10


def id_at(moment: datetime) -> int:
    """The lowest id that a post of this moment's millisecond can have."""
    return max(0, (moment - EPOCH) // _MILLISECOND) << 22


def moment_of(external_id: str) -> datetime | None:
    """When the post with this id was made; None for an id that is not X's."""
    if not (external_id.isascii() and external_id.isdigit() and len(external_id) <= 19):
        return None
    return EPOCH + (int(external_id) >> 22) * _MILLISECOND


def order(external_id: str) -> tuple[int, str]:
    """A key by which later ids sort after earlier ones."""
    return len(external_id), external_id


@dataclass(frozen=True)
class Window:
    """What part of X's seven days is searched: [start, end), newer than `since_id`, older than
    `until_id`; what is empty sets no limit."""

    start: datetime | None = None
    end: datetime | None = None
    since_id: str = ""
    until_id: str = ""

    def within_reach(self, now: datetime, lag: timedelta) -> Window:
        """The part of it that X can search, at `now`."""
        oldest = now - REACH + _EDGE
        since = moment_of(self.since_id) if self.since_id else None
        newest = (now - lag).replace(microsecond=0)
        return replace(
            self,
            start=max(self.start or oldest, oldest) if self.start or self.until_id else None,
            # Without a lag nothing is too young.
            end=min(self.end, newest) if self.end and lag else self.end,
            since_id=str(id_at(oldest)) if since and since < oldest else self.since_id,
        )

    @property
    def is_empty(self) -> bool:
        """Whether no post can be in it."""
        if self.since_id and self.until_id:
            return order(self.since_id) >= order(self.until_id)
        since = self.start or moment_of(self.since_id)
        until = moment_of(self.until_id)
        # An id's moment is cut to milliseconds.
        until = until + _MILLISECOND if until else self.end
        return bool(since and until and since >= until)

    def is_cut(self, now: datetime) -> bool:
        """Whether it begins before what X can search."""
        begin = moment_of(self.since_id) if self.since_id else self.start
        return begin is not None and begin < now - REACH

    def parameters(self) -> dict[str, str]:
        """X takes times or ids, never both: with an id, the times become ids."""
        if not (self.since_id or self.until_id):
            times = {"start_time": _seconds(self.start), "end_time": _seconds(self.end, up=True)}
            return {name: text for name, text in times.items() if text}
        since, until = self.since_id, self.until_id
        if not since and self.start:
            since = str(max(0, id_at(self.start) - 1))
        if not until and self.end:
            until = str(id_at(self.end + timedelta(microseconds=999)))
        return {name: text for name, text in (("since_id", since), ("until_id", until)) if text}


def _seconds(moment: datetime | None, *, up: bool = False) -> str:
    """Whole seconds, outwards, as X takes them."""
    if moment is None:
        return ""
    if up and moment.microsecond:
        moment += timedelta(seconds=1)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Page:
    """One answer: posts newest first, what could not be read as one, and how many X counts."""

    events: tuple[IncomingPost | Malformed, ...]
    newest_id: str
    oldest_id: str
    next_token: str
    posts_read: int

    @property
    def posts(self) -> list[IncomingPost]:
        return [event for event in self.events if isinstance(event, IncomingPost)]


@runtime_checkable
class Searches(Protocol):
    """A source whose last days can be searched page by page."""

    name: str

    def search(
        self, query: str, window: Window, streams: frozenset[int], page_size: int = PAGE_SIZE
    ) -> Iterator[Page]:
        """Pages newest first, their posts belonging to `streams`. Raises SourceError."""
        ...


def read_page(answer: Mapping[str, Any], streams: frozenset[int]) -> Page:
    """A page as X sent it; one without hits has no posts."""
    data, includes, meta = (answer.get(name) for name in ("data", "includes", "meta"))
    items = data if isinstance(data, list) else []
    known = includes if isinstance(includes, Mapping) else {}
    about = meta if isinstance(meta, Mapping) else {}
    ids = [str(item["id"]) for item in items if isinstance(item, Mapping) and item.get("id")]
    return Page(
        events=tuple(_event(item, known, streams) for item in items),
        newest_id=str(about.get("newest_id") or max(ids, key=order, default="")),
        oldest_id=str(about.get("oldest_id") or min(ids, key=order, default="")),
        next_token=str(about.get("next_token") or ""),
        posts_read=len(items),
    )


def _event(
    item: Any, includes: Mapping[str, Any], streams: frozenset[int]
) -> IncomingPost | Malformed:
    try:
        if not isinstance(item, Mapping):
            raise BadPost("not an object")
        return x_payload.post(item, includes, streams)
    except BadPost as error:
        return malformed(str(error), json.dumps(item, ensure_ascii=False).encode())


class Progress:
    """How far each stream's search has come: the oldest id read, or all. Text in, text out."""

    def __init__(self, text: str = "") -> None:
        try:
            read = json.loads(text or "{}")
        except ValueError:
            # Somebody else's words: begin again, what comes twice is stored once.
            read = {}
        self._reached: dict[str, Any] = read if isinstance(read, dict) else {}

    def is_done(self, stream: int) -> bool:
        return self._reached.get(str(stream)) is True

    def until_id(self, stream: int) -> str:
        """What is newer than this has been read; "" at the beginning."""
        reached = self._reached.get(str(stream))
        return reached if isinstance(reached, str) and reached.isdigit() else ""

    def reach(self, stream: int, oldest_id: str) -> None:
        if oldest_id:
            self._reached[str(stream)] = oldest_id

    def finish(self, stream: int) -> None:
        self._reached[str(stream)] = True

    def __str__(self) -> str:
        return json.dumps(self._reached, separators=(",", ":"))
