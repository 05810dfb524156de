"""Sources: one module a vendor, one protocol for all, and the registry that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from importlib import import_module
from typing import Protocol, cast, runtime_checkable

from ingestion.events import Event
from ingestion.exceptions import NotConfigured
from ingestion.models import Source as SourceName
from ingestion.models import Stream, brought_sources


@dataclass(frozen=True)
class Followed:
    """What a source made of the streams it was given.

    `rule_ids` maps a stream's primary key to the vendor's id of its rule, `refused` to the reason
    why it is not followed. `foreign` names rules that somebody else made; they are left alone.
    """

    rule_ids: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    foreign: Sequence[str] = ()


@dataclass(frozen=True)
class Resume:
    """Where a connection goes on: the last Checkpoint's cursor, and until when nothing is missing.

    Both are empty at the first connection.
    """

    cursor: str = ""
    covered_until: datetime | None = None


@dataclass(frozen=True)
class Reported:
    """What a source says of its running billing month: posts read by the whole account since the
    beginning of the day `since` (UTC); None is the first of the calendar month."""

    posts: int
    since: date | None = None


class LiveSource(Protocol):
    """A place that posts stream from.

    One object serves one runner: `connect` runs in a reader thread, the others may be called from
    any thread. Delivery is at least once: what is delivered twice is stored once. Every call to
    the vendor has a timeout.
    """

    name: str
    # Whether each post read costs money, so that reading is counted and governed.
    is_paid: bool

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Deliver what these active streams ask for, and nothing of those that are gone.

        Works on an open connection too. Raises SourceError.
        """
        ...

    def connect(self, resume: Resume) -> Iterator[Event]:
        """Connect once, going on at `resume` where the vendor can, and yield what it says.

        The first event is Connected. A Heartbeat (or anything else) comes often enough to tell a
        quiet source from a dead one. Ends by raising a SourceError that says why, or in silence
        after `disconnect`. The caller decides when to connect again.
        """
        ...

    def disconnect(self) -> None:
        """End the connection at once, from any thread."""
        ...

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one message of the vendor says; Malformed when it cannot be understood.

        Needs no connection: a message that was put aside is replayed through it.
        """
        ...


@runtime_checkable
class Backfills(Protocol):
    """A source that can be asked for the past."""

    def backfill(
        self, streams: Sequence[Stream], start: datetime, end: datetime, progress: str
    ) -> Iterator[Event]:
        """Yield what these streams missed between two moments, in any order.

        A Checkpoint says that what came before it need not be asked for again: handed back as
        `progress`, an interrupted backfill goes on there. A CaughtUp at the end says how it went.
        Raises RateLimited (the caller waits and goes on) or another SourceError.
        """
        ...


@runtime_checkable
class LooksUp(Protocol):
    """A source that can be asked whether posts still stand."""

    def gone(self, external_ids: Sequence[str]) -> set[str]:
        """Those of the posts that it no longer shows; at most 100 a call. Raises SourceError."""
        ...


@runtime_checkable
class Validates(Protocol):
    """A source that judges a query before it is followed."""

    def validate(self, stream: Stream) -> str:
        """What is wrong with the stream's query, "" when nothing is. Raises SourceError."""
        ...


@runtime_checkable
class ReportsUsage(Protocol):
    """A paid source that tells what the account has read."""

    def usage(self) -> Reported:
        """What the whole account has read in the running billing month. Raises SourceError."""
        ...


# Vendor → where its class lives; modules load on first use, so that a vendor's library costs
# nothing where it is not used.
_MODULES: dict[str, str] = {
    SourceName.X: "ingestion.sources.x",
    SourceName.BLUESKY: "ingestion.sources.bluesky",
    SourceName.MASTODON: "ingestion.sources.mastodon",
    SourceName.RSS: "ingestion.sources.rss",
    SourceName.FILE: "ingestion.sources.directory",
}


def names() -> tuple[str, ...]:
    """Sources that can be streamed: our own, then those that installed packages bring."""
    # As plain text: whoever prints the choices would show the names of an enumeration.
    return (*map(str, _MODULES), *brought_sources())


def create(name: str) -> LiveSource:
    """The source of this name, set up from the settings. Raises NotConfigured.

    A package's entry point names a function without arguments that returns a `LiveSource`.
    """
    if name in _MODULES:
        factory = cast(Callable[[], LiveSource], import_module(_MODULES[name]).from_settings)
        return factory()
    if (point := brought_sources().get(name)) is not None:
        return cast(Callable[[], LiveSource], point.load())()
    raise NotConfigured(f"{name!r} cannot be streamed; what can: {', '.join(names())}")
