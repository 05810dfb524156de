"""Streaming one source: lease, connect, buffer, store, and again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from ingestion import metrics, sources
from ingestion.events import clean
from ingestion.exceptions import IngestionError, SourceError, StreamHeld
from ingestion.models import Connection
from ingestion.services import gaps, spend, usage
from ingestion.services.buffer import Buffer, SpillFile, SpillFull, SpillHeld
from ingestion.services.journal import Item
from ingestion.services.lease import Lease
from ingestion.services.reader import Reader
from ingestion.services.tally import Tally
from ingestion.services.upkeep import Upkeep
from ingestion.services.writer import Away, Writer
from ingestion.sources import LiveSource, Resume

logger = logging.getLogger(__name__)

# A post waits this long at most for others to be stored with.
FLUSH_SECONDS = 0.2
FLUSH_SIZE = 2000
REPORT_SECONDS = 1.0
# After a stop: for the reader to hand over what it holds, and for the database to take it.
DRAIN_SECONDS = 3.0
UPKEEP_SECONDS = 2.0
READER_SECONDS = 1.0
# So many new posts of a paid source have the budget looked at before its turn.
GOVERN_POSTS = 500
GOVERN_SHARE = 0.002


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
    NotConfigured without credentials, NeedsAttention when only a person can help, and whatever else
    ended it. In any case everything delivered has been stored, or waits in the write-ahead file for
    the next run, the lease is free, and `Connection` says why.
    """
    live = sources.create(source) if isinstance(source, str) else source
    stop = stop or threading.Event()
    lease = Lease(live.name)
    taken = _acquire(lease, stop, wait)
    if taken is None:
        return Tally(live.name, ended_by="stopped")
    connection, spill = taken
    runner = _Runner(live, lease, connection, Buffer(spill), stop, progress)
    return runner.run(max_posts, max_seconds)


def spill_folder(source: str) -> Path:
    """Where a source's posts wait when the database is away."""
    return Path(settings.SPILL_DIR) / source


def _acquire(
    lease: Lease, stop: threading.Event, wait: bool
) -> tuple[Connection, SpillFile] | None:
    """The source's row and write-ahead file, once nobody else has either; None when stopped."""
    is_told = False
    while not stop.is_set():
        if (taken := _try(lease)) is not None:
            return taken
        if not wait:
            raise StreamHeld(f"another process streams {lease.source}")
        if not is_told:
            logger.info("another process streams %s; waiting for its lease", lease.source)
            is_told = True
        # Not stop.wait(): a signal handler that sets the event must find its lock free.
        time.sleep(0.5)
    return None


def _try(lease: Lease) -> tuple[Connection, SpillFile] | None:
    connection = lease.acquire()
    if connection is None:
        return None
    try:
        return connection, SpillFile(spill_folder(lease.source), settings.SPILL_MAX_MB << 20)
    except SpillHeld:
        # Who lost the lease still stores what it has.
        lease.release()
        return None


class _Runner:
    """One process's turn at a source: reader, buffer, writer and upkeep."""

    def __init__(
        self,
        source: LiveSource,
        lease: Lease,
        connection: Connection,
        buffer: Buffer,
        stop: threading.Event,
        progress: Callable[[Tally], None] | None,
    ) -> None:
        self._source = source
        self._lease = lease
        self._stop = stop
        self._progress = progress
        self._buffer = buffer
        self._before = connection
        self._tally = Tally(source.name)
        self._writer = Writer(source, lease, connection, self._tally, self._may_stop)
        resume = Resume(connection.cursor, connection.covered_until)
        self._reader = Reader(source, buffer, resume)
        self._upkeep = Upkeep(source, self._reader.look)
        self._started = time.monotonic()
        self._reported = float("-inf")
        self._deadline: float | None = None
        self._governed = 0
        self._failure: Exception | None = None
        # Nothing is stored any more: what comes goes on file.
        self._is_keeping = False

    def run(self, max_posts: int | None, max_seconds: float | None) -> Tally:
        self._reader.start(*_why_missing(self._before))
        self._upkeep.start()
        try:
            while not self._tally.ended_by:
                self._write(self._buffer.take(FLUSH_SIZE, FLUSH_SECONDS))
                self._report()
                self._check_limits(max_posts, max_seconds)
        except Exception as error:
            # Raised again below, when the connection says so.
            self._fail(error)
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
        elif not self._reader.is_alive():
            self._fail(self._reader.error)

    def _fail(self, error: Exception | None) -> None:
        """Note what ended the run; what went wrong first counts."""
        self._tally.ended_by = "failed"
        self._failure = self._failure or error
        self._tally.last_error = _told(self._failure)

    def _write(self, items: list[Item]) -> None:
        try:
            self._writer.write(items)
            self._buffer.settle()
        except Away as error:
            self._tally.ended_by = self._tally.ended_by or "stopped"
            self._keep(items, error)
        except StreamHeld as error:
            self._buffer.settle()
            self._tally.ended_by = "lease_lost"
            self._failure = error
        except Exception as error:
            self._fail(error)
            self._keep(items, error)
        if self._source.is_paid:
            self._watch_spending()

    def _watch_spending(self) -> None:
        """Have the budget looked at when much was read at once."""
        share = usage.budget(self._source.name) * GOVERN_SHARE or GOVERN_POSTS
        if self._tally.saved - self._governed >= min(GOVERN_POSTS, share):
            self._governed = self._tally.saved
            self._upkeep.govern_now()

    def _keep(self, items: list[Item], error: Exception) -> None:
        """What cannot be stored now waits on file for the next run."""
        self._is_keeping = True
        try:
            self._buffer.keep(items)
        except SpillFull as full:
            self._fail(full)
            return
        logger.error(
            "%s: what has come waits in %s for the next run",
            _told(error),
            spill_folder(self._source.name),
        )

    def _may_stop(self) -> bool:
        """Whether waiting for the database must end: asked to stop, and it took too long."""
        if not (self._stop.is_set() or self._tally.ended_by):
            return False
        now = time.monotonic()
        self._deadline = self._deadline or now + DRAIN_SECONDS
        return now > self._deadline

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        self._tally.seconds = now - self._started
        self._tally.spilled_bytes = self._buffer.spilled_bytes
        metrics.SPILLED.labels(self._source.name).set(self._tally.spilled_bytes)
        self._writer.alert_if_down()
        if self._progress is not None:
            self._progress(self._tally)

    def _finish(self) -> None:
        """Stop the reader, store what it still hands over, and let the lease go."""
        self._reader.stop()
        self._deadline = time.monotonic() + DRAIN_SECONDS
        try:
            while self._reader.is_alive() and self._may_drain():
                self._write(self._buffer.take(FLUSH_SIZE, FLUSH_SECONDS / 4))
            while self._may_drain() and (rest := self._buffer.take(FLUSH_SIZE, 0)):
                self._write(rest)
            self._reader.join(READER_SECONDS)
            self._keep_rest()
            self._upkeep.stop(UPKEEP_SECONDS)
            self._release()
        finally:
            self._buffer.close()
            self._tally.status = Connection.Status.STOPPED
            self._tally.seconds = time.monotonic() - self._started
            self._tally.spilled_bytes = 0
            metrics.CONNECTED.labels(self._source.name).set(0)

    def _keep_rest(self) -> None:
        try:
            self._buffer.keep([])
        except SpillFull as error:
            self._fail(error)

    def _may_drain(self) -> bool:
        return not self._is_keeping and time.monotonic() < (self._deadline or 0)

    def _release(self) -> None:
        # Who has taken over tells how it goes on.
        failure = None if isinstance(self._failure, StreamHeld) else self._failure
        told = _told(failure)
        changes = {
            "status": Connection.Status.FAILED if failure else Connection.Status.STOPPED,
            "last_error": told,
            "spilled_bytes": self._buffer.spilled_bytes,
        }
        try:
            # Shown at once; the next run goes on with it.
            self._attempt(lambda: self._writer.note_gap(_cause(failure), told or "It was stopped."))
            if self._source.is_paid:
                self._attempt(lambda: spend.govern(self._source.name))
            self._attempt(lambda: self._lease.release(**self._writer.books() | changes))
            if failure is not None:
                self._attempt(lambda: self._writer.alert_of_failure(told))
            else:
                self._attempt(lambda: self._writer.close_alert("It was stopped."))
        except Away:
            logger.warning(
                "the lease of %s could not be given back; it runs out", self._source.name
            )

    def _attempt(self, write: Callable[[], object]) -> None:
        """Do one of the last things; another failure must not keep the lease. Raises Away."""
        try:
            self._writer.persist(write)
        except Away:
            raise
        except Exception as error:
            logger.exception("%s ends in an unforeseen way", self._source.name)
            self._fail(error)


def _told(failure: Exception | None) -> str:
    """What people are told; an error that is not ours says little without its name."""
    if failure is None:
        return ""
    return clean((isinstance(failure, IngestionError) and str(failure)) or repr(failure))


def _cause(failure: Exception | None) -> str:
    """A gap's cause, by what ended the run."""
    if failure is None:
        return gaps.STOPPED
    return "refused" if isinstance(failure, SourceError) else SourceError.kind


def _why_missing(before: Connection) -> tuple[str, str]:
    """Why nothing was read until now, by what the last process left on the row."""
    if before.status == Connection.Status.STOPPED:
        return gaps.STOPPED, "It was stopped."
    if before.status == Connection.Status.FAILED:
        return "refused", before.last_error
    return "process", "The process that streamed it died."
