"""What tests of the Bluesky source share: a source of the stand-in, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from ingestion.events import (
    CaughtUp,
    Connected,
    Event,
    IncomingPost,
)
from ingestion.exceptions import SourceError
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from tests.jetstream import Jetstream

E = TypeVar("E", bound=Event)


def make(
    version: int, *hosts: str, stall_seconds: float = 5.0, query: str = "cats"
) -> BlueskySource:
    source = BlueskySource(
        hosts, version, stall_seconds=stall_seconds, settle_seconds=0.1, quiet_seconds=5.0
    )
    source.follow([stream(1, query)])
    return source


def stream(pk: int, query: str, *languages: str) -> Stream:
    return Stream(pk=pk, name=f"stream {pk}", query=query, languages=list(languages))


def open_stream(live: BlueskySource, resume: Resume | None = None) -> Iterator[Event]:
    """Events after Connected."""
    events = live.connect(resume or Resume())
    assert isinstance(next(events), Connected)
    return events


def caught_up(bluesky: Jetstream, events: Iterator[Event]) -> tuple[list[Event], CaughtUp]:
    """What comes before CaughtUp, and that: something new tells that the replay is over."""
    bluesky.publish("something new")
    return until(events, CaughtUp)


def take(events: Iterator[Event], kind: type[E]) -> E:
    """The next event of this kind."""
    return next(event for event in events if isinstance(event, kind))


def texts(events: Iterator[Event], count: int) -> list[str]:
    return [take(events, IncomingPost).text for _ in range(count)]


def until(events: Iterator[Event], kind: type[E]) -> tuple[list[Event], E]:
    """What comes before the next event of this kind, and that."""
    before: list[Event] = []
    for event in events:
        if isinstance(event, kind):
            return before, event
        before.append(event)
    raise AssertionError(f"no {kind.__name__} came")


def failure(events: Iterator[Event]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(events)
    return caught.value


def posts_of(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, IncomingPost)]
