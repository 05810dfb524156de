"""The reading half of a run: connects, listens, reconnects; touches no post."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, connections
from django.utils import timezone

from ingestion.backoff import Backoff
from ingestion.events import Checkpoint, Connected, Event
from ingestion.exceptions import Closed, NeedsAttention, NothingFollowed, SourceError
from ingestion.models import Stream
from ingestion.services.streams import sync_streams
from ingestion.sources import LiveSource, Resume

logger = logging.getLogger(__name__)

# The reader waits when so many events wait: memory is bounded, the socket's buffer holds on.
BUFFER = 5000
# How soon a changed stream is followed on the open connection.
WATCH_SECONDS = 2.0
IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Lost:
    """The connection ended; the next attempt is at `retry_at`."""

    error: SourceError
    retry_at: datetime


@dataclass(frozen=True)
class Ended:
    """The reader reads no more: `error` is why, None when it was asked to stop."""

    error: Exception | None


class Reader:
    """Two threads: one listens, one keeps the source's rules in step with the streams."""

    def __init__(self, source: LiveSource, cursor: str) -> None:
        self.events: queue.Queue[Event | Lost | Ended] = queue.Queue(BUFFER)
        self._source = source
        self._cursor = cursor
        self._stop = threading.Event()
        # Set when the streams have changed, or when it is time to stop.
        self._changed = threading.Event()
        self._abandoned = threading.Event()
        self._sync_lock = threading.Lock()
        self._followed: object = None
        self._backoff = Backoff()
        name = source.name
        self._threads = [
            threading.Thread(target=self._listen, name=f"{name}-reader", daemon=True),
            threading.Thread(target=self._watch, name=f"{name}-rules", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether more events may come."""
        return self._threads[0].is_alive()

    def stop(self) -> None:
        """Ask for an end; what is on its way is still handed over."""
        self._stop.set()
        self._changed.set()
        self._source.disconnect()

    def abandon(self) -> None:
        """Nobody takes events any more."""
        self._abandoned.set()

    def _listen(self) -> None:
        error: Exception | None = None
        try:
            while not self._stop.is_set():
                self._listen_once()
        except Exception as caught:
            # Not swallowed: the runner raises it in the caller's thread.
            error = caught
        finally:
            self._put(Ended(error))
            connections.close_all()

    def _listen_once(self) -> None:
        self._changed.clear()
        try:
            self._deliver()
        except NeedsAttention:
            raise
        except DatabaseError as error:
            logger.warning("streams of %s cannot be read: %s", self._source.name, error)
            connections.close_all()
            self._stop.wait(IDLE_SECONDS)
        except SourceError as error:
            delay = self._backoff.delay(error)
            self._put(Lost(error, timezone.now() + timedelta(seconds=delay)))
            if not isinstance(error, NothingFollowed):
                self._stop.wait(delay)
            elif not self._stop.is_set():
                # A corrected stream is worth an attempt at once.
                self._changed.wait(delay)

    def _deliver(self) -> None:
        """Connect and hand over what comes, until the source raises why it ended."""
        if not self._sync():
            self._stop.wait(IDLE_SECONDS)
            return
        for event in self._source.connect(Resume(self._cursor)):
            self._put(event)
            if isinstance(event, Connected):
                self._backoff.connected()
            elif isinstance(event, Checkpoint):
                self._cursor = event.cursor
        if not self._stop.is_set():
            raise Closed(f"{self._source.name} closed the connection")

    def _put(self, event: Event | Lost | Ended) -> None:
        """Hand over; waits while the buffer is full, so nothing is dropped."""
        while not self._abandoned.is_set():
            try:
                self.events.put(event, timeout=0.2)
            except queue.Full:
                continue
            return

    def _sync(self) -> bool:
        """Bring the source's rules in step; False when there is nothing to follow."""
        with self._sync_lock:
            wanted = self._wanted()
            if not wanted:
                return False
            sync_streams(self._source)
            self._followed = wanted
            return True

    def _wanted(self) -> list[tuple[object, ...]]:
        active = Stream.objects.active().of_source(self._source.name).order_by("pk")
        return list(active.values_list("pk", "query", "languages"))

    def _watch(self) -> None:
        try:
            while not self._stop.wait(WATCH_SECONDS):
                self._resync()
        finally:
            connections.close_all()

    def _resync(self) -> None:
        try:
            with self._sync_lock:
                wanted = self._wanted()
                if self._followed is not None and wanted != self._followed:
                    sync_streams(self._source)
                    self._followed = wanted
                    self._changed.set()
        except (SourceError, DatabaseError) as error:
            logger.warning("streams of %s not synced, trying again: %s", self._source.name, error)
