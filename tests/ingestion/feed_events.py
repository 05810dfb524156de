"""What a source of feeds says while it is connected."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ingestion.events import CaughtUp, Checkpoint, Event, IncomingPost
from ingestion.sources import Resume
from ingestion.sources.rss import RssSource


def until(events: Iterator[Event], kind: type[Event], seconds: float = 30) -> list[Event]:
    """Everything up to the first event of a kind, that one included."""
    deadline = time.monotonic() + seconds
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if isinstance(event, kind):
            return seen
        assert time.monotonic() < deadline, seen
    pytest.fail(f"it ended with {seen}")


def first_round(live: RssSource, cursor: str = "") -> list[Event]:
    events = live.connect(Resume(cursor))
    try:
        return until(events, CaughtUp)
    finally:
        events.close()  # type: ignore[attr-defined]


def posts(events: list[Event]) -> list[IncomingPost]:
    return [event for event in events if isinstance(event, IncomingPost)]


def cursor(events: list[Event]) -> str:
    return [event for event in events if isinstance(event, Checkpoint)][-1].cursor
