"""The reading half of a run: connects, listens, reconnects; touches no post."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from django.db import Error, connections
from django.utils import timezone

from ingestion.backoff import Backoff
from ingestion.events import Checkpoint, Connected
from ingestion.exceptions import Closed, NeedsAttention, NothingFollowed, SourceError
from ingestion.models import Stream
from ingestion.services.buffer import Buffer, SpillFull
from ingestion.services.journal import Began, Idle, Item, Lost, News
from ingestion.services.streams import sync_streams
from ingestion.sources import LiveSource, Resume

logger = logging.getLogger(__name__)

# How soon a changed stream is followed on the open connection.
WATCH_SECONDS = 2.0
IDLE_SECONDS = 2.0


class BufferFull(SourceError):
    """The database has been away, or slow, for so long that nothing more can be kept."""

    kind = "buffer_full"


class Reader:
    """Two threads: one listens, one keeps the source's rules in step with the streams."""

    def __init__(self, source: LiveSource, buffer: Buffer, resume: Resume) -> None:
        # Why reading ended for good; None when it was asked to stop.
        self.error: Exception | None = None
        self._source = source
        self._buffer = buffer
        self._cursor = resume.cursor
        self._covered_until = resume.covered_until
        self._heard_at: float | None = None
        self._stop = threading.Event()
        # Set when the streams have changed, or when it is time to stop.
        self._changed = threading.Event()
        # Set when the streams may have changed: look at once.
        self._look = threading.Event()
        self._sync_lock = threading.Lock()
        self._followed: list[tuple[object, ...]] | None = None
        # Nothing is followed any more, which the source could not be told yet.
        self._is_untold = False
        self._began = Began("", "")
        self._is_idle = False
        self._backoff = Backoff()
        name = source.name
        self._threads = [
            threading.Thread(target=self._listen, name=f"{name}-reader", daemon=True),
            threading.Thread(target=self._watch, name=f"{name}-rules", daemon=True),
        ]

    def start(self, cause: str, message: str) -> None:
        """Begin to read; the ledger learns why nothing was read until now."""
        self._began = Began(cause, message)
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether more events may come."""
        return self._threads[0].is_alive()

    def look(self) -> None:
        """The streams have changed: follow them now rather than in a moment."""
        self._look.set()

    def join(self, seconds: float) -> None:
        """Wait for the last event and the last change of rules, for so long at most."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Ask for an end; what is on its way is still handed over."""
        self._stop.set()
        self._changed.set()
        self._look.set()
        self._source.disconnect()

    def _listen(self) -> None:
        try:
            self._say(self._began)
            while not self._stop.is_set():
                self._listen_once()
        except Exception as error:
            # Not swallowed: the runner raises it in the caller's thread.
            self.error = error
        finally:
            connections.close_all()

    def _listen_once(self) -> None:
        self._changed.clear()
        try:
            self._deliver()
        except NeedsAttention:
            raise
        except Error as error:
            logger.warning("streams of %s cannot be read: %s", self._source.name, error)
            connections.close_all()
            self._stop.wait(IDLE_SECONDS)
        except SpillFull as error:
            self._source.disconnect()
            logger.error("%s is left until the database has caught up: %s", self._name, error)
            self._lose(BufferFull(str(error)), 0)
            self._buffer.wait_for_room(self._stop)
        except SourceError as error:
            self._wait_after(error)
        except Exception as error:
            # One bad message, or a fault in a source's own code, must not end the stream.
            logger.exception("%s failed in an unforeseen way", self._name)
            self._source.disconnect()
            self._wait_after(SourceError(f"{type(error).__name__}: {error}"))

    @property
    def _name(self) -> str:
        return self._source.name

    def _wait_after(self, error: SourceError) -> None:
        delay = self._backoff.delay(error)
        self._lose(error, delay)
        if not isinstance(error, NothingFollowed):
            self._stop.wait(delay)
        elif not self._stop.is_set():
            # A corrected stream is worth an attempt at once.
            self._changed.wait(delay)

    def _lose(self, error: SourceError, delay: float) -> None:
        """Say that the connection is gone; what was heard until now is in the buffer."""
        if not self._stop.is_set():
            retry_at = timezone.now() + timedelta(seconds=delay)
            self._say(Lost(error.kind, str(error), retry_at))

    def _deliver(self) -> None:
        """Connect and hand over what comes, until the source raises why it ended."""
        if not self._sync():
            if not self._is_idle:
                self._say(Idle())
                self._is_idle = True
            self._changed.wait(IDLE_SECONDS)
            return
        self._is_idle = False
        for event in self._source.connect(Resume(self._cursor, self._heard())):
            self._put(event)
            self._heard_at = time.time()
            if isinstance(event, Checkpoint):
                self._cursor = event.cursor
            elif isinstance(event, Connected):
                self._backoff.connected()
                # Asked to stop, or nothing is to be followed, in the instant of connecting.
                if self._stop.is_set() or not self._followed:
                    self._source.disconnect()
        if not self._stop.is_set() and self._followed:
            raise Closed(f"{self._name} closed the connection")

    def _heard(self) -> datetime | None:
        """Until when everything is in the buffer, which outlives the connection."""
        if self._heard_at is None:
            return self._covered_until
        return datetime.fromtimestamp(self._heard_at, UTC)

    def _put(self, event: News) -> None:
        """Hand over; never waits for the database. Raises SpillFull."""
        self._buffer.put(Item(time.time(), event))

    def _say(self, event: News) -> None:
        """Hand over news of the connection itself: on a full disk as soon as there is room."""
        while True:
            try:
                self._buffer.put(Item(time.time(), event), is_small=True)
                return
            except SpillFull:
                # Asked to stop: the next process tells since when nothing was read.
                if self._stop.is_set():
                    return
                self._buffer.wait_for_room(self._stop)

    def _sync(self) -> bool:
        """Bring the source's rules in step; False when there is nothing to follow."""
        with self._sync_lock:
            try:
                wanted = self._wanted()
                if wanted:
                    sync_streams(self._source)
                    self._is_untold = False
            except Error:
                # Away for a moment: what was followed stands, and posts must not be missed.
                if not self._followed:
                    raise
                connections.close_all()
                return True
            self._followed = wanted
            return bool(wanted)

    def _wanted(self) -> list[tuple[object, ...]]:
        followed = Stream.objects.followed().of_source(self._name).order_by("pk")
        return list(followed.values_list("pk", "query", "languages", "sample_percent"))

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                self._look.wait(WATCH_SECONDS)
                self._look.clear()
                # Whoever follows us may change the rules by now.
                if not self._stop.is_set():
                    self._resync()
        finally:
            connections.close_all()

    def _resync(self) -> None:
        try:
            with self._sync_lock:
                wanted = self._wanted()
                if self._followed is None or (wanted == self._followed and not self._is_untold):
                    return
                if not wanted:
                    self._leave()
                sync_streams(self._source)
                self._followed, self._is_untold = wanted, False
                self._changed.set()
        except (SourceError, Error) as error:
            logger.warning("streams of %s not synced, trying again: %s", self._name, error)
            connections.close_all()
        except Exception:
            # A hold that nobody enforces any more would cost money.
            logger.exception("streams of %s not synced in an unforeseen way", self._name)
            connections.close_all()

    def _leave(self) -> None:
        """Nothing is to be read any more, whether or not the source can be told so.

        A paid one may go on for a while even with rules that are gone.
        """
        self._followed, self._is_untold = [], True
        self._source.disconnect()
