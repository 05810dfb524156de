"""Streaming one source: lease, connect, buffer, store, and again."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models import F
from django.utils import timezone

from ingestion import metrics, sources
from ingestion.events import Checkpoint, Connected, Event, IncomingPost, Malformed, PostDeleted
from ingestion.exceptions import SourceError, StreamHeld
from ingestion.models import Connection
from ingestion.services.lease import RENEW_SECONDS, Lease
from ingestion.services.posts import forget, store
from ingestion.services.reader import Ended, Lost, Reader
from ingestion.services.streams import record_usage
from ingestion.sources import LiveSource

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A post waits this long at most for others to be stored with.
FLUSH_SECONDS = 0.2
FLUSH_SIZE = 500
REPORT_SECONDS = 1.0
# After a stop: for the reader to hand over what it holds.
DRAIN_SECONDS = 3.0
DATABASE_RETRIES = 8


@dataclass
class Tally:
    """How a run fares; counts are of this run alone."""

    source: str
    status: str = Connection.Status.CONNECTING
    received: int = 0
    saved: int = 0
    duplicates: int = 0
    malformed: int = 0
    deleted: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    # From the newest post's creation to its being stored.
    delay_seconds: float | None = None
    last_error: str = ""
    ended_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_stream(
    source: str | LiveSource,
    *,
    stop: threading.Event | None = None,
    max_posts: int | None = None,
    max_seconds: float | None = None,
    wait: bool = True,
    progress: Callable[[Tally], None] | None = None,
) -> Tally:
    """Stream `source` into `Post` until `stop` is set or a limit is reached.

    `max_posts` counts new posts; what the source has delivered by then is stored as well.
    `progress` is called about once a second, in the caller's thread. While another process
    streams the source, this one waits for its lease, or raises StreamHeld unless `wait`. Raises
    NotConfigured without credentials and NeedsAttention when only a person can help; either way
    everything delivered has been stored and the lease is free.
    """
    live = sources.create(source) if isinstance(source, str) else source
    stop = stop or threading.Event()
    lease = Lease(live.name)
    connection = _acquire(lease, stop, wait)
    if connection is None:
        return Tally(live.name, ended_by="stopped")
    runner = _Runner(live, lease, stop, connection.cursor, progress)
    return runner.run(max_posts, max_seconds)


def _acquire(lease: Lease, stop: threading.Event, wait: bool) -> Connection | None:
    is_told = False
    while not stop.is_set():
        if (connection := lease.acquire()) is not None:
            return connection
        if not wait:
            raise StreamHeld(f"another process streams {lease.source}")
        if not is_told:
            logger.info("another process streams %s; waiting for its lease", lease.source)
            is_told = True
        # Not stop.wait(): a signal handler that sets the event must find its lock free.
        time.sleep(0.5)
    return None


class _Runner:
    """The writing half: takes what the reader hands over, stores it, keeps the row in order."""

    def __init__(
        self,
        source: LiveSource,
        lease: Lease,
        stop: threading.Event,
        cursor: str,
        progress: Callable[[Tally], None] | None,
    ) -> None:
        self._source = source
        self._lease = lease
        self._stop = stop
        self._progress = progress
        self._tally = Tally(source.name)
        self._reader = Reader(source, cursor)
        self._started = time.monotonic()
        self._reported = float("-inf")
        self._renewed = time.monotonic()
        self._unbilled = 0
        self._heard: datetime | None = None
        self._failure: Exception | None = None

    def run(self, max_posts: int | None, max_seconds: float | None) -> Tally:
        self._reader.start()
        try:
            while not self._tally.ended_by:
                self._write(self._collect(FLUSH_SECONDS))
                self._report()
                self._check_limits(max_posts, max_seconds)
        finally:
            self._finish()
        if self._failure is not None:
            raise self._failure
        return self._tally

    def _check_limits(self, max_posts: int | None, max_seconds: float | None) -> None:
        tally = self._tally
        tally.seconds = time.monotonic() - self._started
        if tally.ended_by:
            return
        if self._stop.is_set():
            tally.ended_by = "stopped"
        elif max_posts is not None and tally.saved >= max_posts:
            tally.ended_by = "max_posts"
        elif max_seconds is not None and tally.seconds >= max_seconds:
            tally.ended_by = "max_seconds"

    def _collect(self, patience: float) -> list[Event | Lost | Ended]:
        """What arrives within `patience` seconds, or until there is enough for a batch."""
        events: list[Event | Lost | Ended] = []
        deadline = time.monotonic() + patience
        while len(events) < FLUSH_SIZE:
            try:
                events.append(
                    self._reader.events.get(timeout=max(0.0, deadline - time.monotonic()))
                )
            except queue.Empty:
                break
        return events

    def _write(self, events: list[Event | Lost | Ended]) -> None:
        """Posts first; then deletions, counters, cursor and status."""
        changes: dict[str, Any] = {}
        posts = [event for event in events if isinstance(event, IncomingPost)]
        if posts:
            self._store(posts, changes)
        gone = [
            key for event in events if isinstance(event, PostDeleted) for key in event.external_ids
        ]
        if gone:
            self._tally.deleted += self._persist(lambda: forget(self._source.name, gone))
        for event in events:
            self._note(event, changes)
        if changes or time.monotonic() - self._renewed > RENEW_SECONDS:
            self._renew(changes)

    def _store(self, posts: list[IncomingPost], changes: dict[str, Any]) -> None:
        stored = self._persist(lambda: store(posts))
        self._unbilled += len(posts)
        newest = max(post.created_at for post in posts)
        self._tally.delay_seconds = (timezone.now() - newest).total_seconds()
        self._count(changes, "received", len(posts))
        self._count(changes, "saved", len(stored.post_ids))
        self._count(changes, "duplicates", stored.duplicates)

    def _count(self, changes: dict[str, Any], name: str, number: int) -> None:
        setattr(self._tally, name, getattr(self._tally, name) + number)
        changes[name] = changes.get(name, F(name)) + number

    def _note(self, event: Event | Lost | Ended, changes: dict[str, Any]) -> None:
        now = timezone.now()
        if isinstance(event, Lost | Ended):
            self._note_loss(event, changes)
            return
        self._heard = changes["last_event_at"] = now
        if isinstance(event, Malformed):
            self._count(changes, "malformed", 1)
            metrics.POSTS.labels(self._source.name, "malformed").inc()
            logger.warning(
                "%s sent a message that was skipped: %s", self._source.name, event.reason
            )
        elif isinstance(event, Checkpoint):
            changes["cursor"] = event.cursor[:255]
        elif isinstance(event, Connected):
            self._set_status(changes, Connection.Status.CONNECTED, "")
            changes |= {"connected_at": now, "next_attempt_at": None}

    def _note_loss(self, event: Lost | Ended, changes: dict[str, Any]) -> None:
        if isinstance(event, Lost):
            logger.warning("%s: %s", self._source.name, event.error)
            self._set_status(changes, Connection.Status.WAITING, str(event.error))
            changes["next_attempt_at"] = event.retry_at
            self._count(changes, "reconnects", 1)
            metrics.RECONNECTS.labels(self._source.name, event.error.kind).inc()
        elif event.error is not None:
            self._tally.ended_by = "failed"
            self._tally.last_error = str(event.error)
            self._failure = event.error

    def _set_status(self, changes: dict[str, Any], status: str, error: str) -> None:
        self._tally.status = status
        self._tally.last_error = error
        changes |= {"status": status, "last_error": error}
        metrics.CONNECTED.labels(self._source.name).set(status == Connection.Status.CONNECTED)

    def _renew(self, changes: dict[str, Any]) -> None:
        held = self._persist(lambda: self._lease.renew(**changes))
        self._renewed = time.monotonic()
        if not held:
            self._tally.ended_by = "lease_lost"
            self._failure = StreamHeld(f"another process has taken over {self._source.name}")

    def _persist(self, write: Callable[[], T]) -> T:
        """Do `write`, which is safe to repeat, again while the database has trouble."""
        for attempt in range(DATABASE_RETRIES):
            try:
                return write()
            except (DatabaseError, InterfaceError) as error:
                if attempt == DATABASE_RETRIES - 1:
                    raise
                logger.warning("the database refused a write, trying again: %s", error)
                close_old_connections()
                time.sleep(min(0.25 * 2**attempt, 5))
        raise AssertionError("the last attempt returns or raises")

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        self._tally.seconds = now - self._started
        if self._heard is not None:
            lag = (timezone.now() - self._heard).total_seconds()
            metrics.LAG.labels(self._source.name).set(lag)
        self._bill()
        if self._progress is not None:
            self._progress(self._tally)

    def _bill(self) -> None:
        if self._source.is_paid and self._unbilled:
            budget = settings.TWITTER_MONTHLY_POST_BUDGET
            self._persist(lambda: record_usage(self._source.name, self._unbilled, budget))
            self._unbilled = 0

    def _finish(self) -> None:
        """Stop the reader, store what it still hands over, and let the lease go."""
        self._reader.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        try:
            while self._reader.is_alive() and time.monotonic() < deadline:
                self._write(self._collect(FLUSH_SECONDS / 4))
            while rest := self._collect(0):
                self._write(rest)
            self._bill()
            failed = isinstance(self._failure, SourceError)
            self._lease.release(
                status=Connection.Status.FAILED if failed else Connection.Status.STOPPED,
                last_error=self._tally.last_error if failed else "",
            )
        finally:
            self._reader.abandon()
            self._tally.status = Connection.Status.STOPPED
            self._tally.seconds = time.monotonic() - self._started
            metrics.CONNECTED.labels(self._source.name).set(0)
