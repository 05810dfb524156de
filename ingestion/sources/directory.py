"""Directories of files as a source: what is put into them is read, and stays where it is.

A stream's query names a directory inside FILE_SOURCE_DIR; others are refused, so that nobody who
may make streams reads the machine's files. Each stream's files are read one after the other, the
oldest first, and the streams take turns. `directory_ledger` says how a crash loses no row.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connections
from django.utils import timezone

from ingestion.events import CaughtUp, Checkpoint, Connected, Event, Heartbeat, malformed
from ingestion.exceptions import BadPost, NotConfigured, NothingFollowed
from ingestion.language_tags import primary
from ingestion.models import Source, Stream, WatchedFile
from ingestion.sources import Followed, Resume
from ingestion.sources.directory_ledger import Ledger, Progress, Version
from ingestion.sources.directory_reading import Reading, version_of
from ingestion.sources.directory_watch import Candidate, Scanner, Watch
from ingestion.sources.files import Identities, Row, read_message
from ingestion.sources.files.items import Found, Refused

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
# The database must keep up: what is read too early would only wait in the buffer's file.
MAX_AHEAD = 3000
CATCH_UP_SECONDS = 0.05
RETRY_SECONDS = 60.0
MAX_PATH = 1024
# No file has this version.
_NONE = Version(-1, -1)


@dataclass
class _Watched:
    """A stream's directory: the file that is being read, and those that wait."""

    stream: int
    directory: Path
    languages: frozenset[str]
    waiting: list[Candidate] = field(default_factory=list)
    reading: Reading | None = None
    # Files that the system would not let us read: when to try again.
    retries: dict[Path, float] = field(default_factory=dict)

    def wants(self, row: Row) -> bool:
        """Whether the stream keeps posts of this language; what tells none is kept."""
        if row.post is None or not self.languages or not row.post.lang:
            return True
        return primary(row.post.lang) in self.languages


class DirectorySource:
    """All active streams' directories below one root, read for ever."""

    name: str = Source.FILE
    is_paid = False

    def __init__(self, root: Path, *, polls: bool = False) -> None:
        self._root = root.resolve()
        self._polls = polls
        self._stopped = threading.Event()
        # Ends a wait: to stop, or because other directories are watched now.
        self._wake = threading.Event()
        self._watched: tuple[_Watched, ...] = ()

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Watch these streams' directories, made where they are missing, and no others."""
        before = {each.stream: each for each in self._watched}
        watched: list[_Watched] = []
        refused: dict[int, str] = {}
        for stream in streams:
            if not stream.query.strip():
                continue
            problem, directory = self._directory(stream.query, make=True)
            if problem:
                refused[stream.pk] = problem
                continue
            old = before.get(stream.pk)
            languages = frozenset(map(primary, stream.languages))
            if old is not None and (old.directory, old.languages) == (directory, languages):
                watched.append(old)
            else:
                watched.append(_Watched(stream.pk, directory, languages))
        self._watched = tuple(watched)
        self._wake.set()
        return Followed(refused=refused)

    def validate(self, stream: Stream) -> str:
        """What is wrong with the directory that the stream names; "" when nothing is."""
        return self._directory(stream.query, make=False)[0] if stream.query.strip() else ""

    def disconnect(self) -> None:
        self._stopped.set()
        self._wake.set()

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one row says, as JSON; it belongs to no stream any more."""
        try:
            for said in read_message(message):
                if isinstance(said, Refused):
                    yield malformed(said.reason, said.excerpt())
                else:
                    yield said.post if isinstance(said, Found) else said
        except BadPost as error:
            yield malformed(str(error), message)

    def connect(self, resume: Resume) -> Iterator[Event]:
        """Read what lies there, then what comes."""
        self._stopped.clear()
        if not self._watched:
            raise NothingFollowed("no stream of files names a directory that may be watched")
        yield Connected(replays=True)
        session = _Session(self._root, Ledger(self.name, resume.cursor))
        is_caught_up = False
        spoke_at = time.monotonic()
        try:
            while True:
                # In this order: a stop that comes in between is seen.
                self._wake.clear()
                if self._stopped.is_set():
                    return
                watched = self._watched
                watch = Watch([each.directory for each in watched], self._wake, polls=self._polls)
                while not self._wake.is_set():
                    for event in session.events(watched, watch):
                        yield event
                        spoke_at = time.monotonic()
                        if self._stopped.is_set():
                            return
                    if session.is_idle and not is_caught_up:
                        is_caught_up = True
                        yield CaughtUp("files that came in the meantime")
                    if time.monotonic() - spoke_at > HEARTBEAT_SECONDS:
                        spoke_at = time.monotonic()
                        yield Heartbeat()
                    session.rest(watch, self._wake)
        finally:
            session.close()

    def _directory(self, query: str, *, make: bool) -> tuple[str, Path]:
        """What is wrong with it, and the directory that a query names."""
        try:
            directory = (self._root / query.strip()).resolve()
            if not directory.is_relative_to(self._root):
                return (
                    f"only directories inside {self._root} (FILE_SOURCE_DIR) are watched: name "
                    "one in there, as `posts`",
                    directory,
                )
            if make:
                directory.mkdir(parents=True, exist_ok=True)
            if directory.exists() and not directory.is_dir():
                return f"{directory} is not a directory", directory
        except (OSError, ValueError, RuntimeError) as error:
            return f"the directory {query[:100]!r} cannot be used: {error}", self._root
        return "", directory


class _Session:
    """What one connection does, turn by turn."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.is_idle = False
        self._ledger = ledger
        self._scanner = Scanner(root)
        self._identities = Identities()
        self._watched: tuple[_Watched, ...] = ()
        self._looked_at = float("-inf")
        self._has_changed = False
        self._is_waiting = False
        self._is_down = False

    def events(self, watched: tuple[_Watched, ...], watch: Watch) -> Iterator[Event]:
        """One turn at each directory. While the database is away, nothing."""
        if watched is not self._watched:
            self._take_over(watched)
        try:
            if self._ledger.has_open_ends and self._ledger.settle():
                yield Checkpoint(self._ledger.cursor)
            if self._is_look_due(watch):
                self._look()
            yield from self._turns()
            self._is_down = False
        except DatabaseError as error:
            if not self._is_down:
                logger.warning("files wait until the database is back: %s", error)
            self._is_down, self.is_idle = True, False
            # Read again from where the ledger is.
            self.close()
            connections.close_all()

    def rest(self, watch: Watch, wake: threading.Event) -> None:
        """Wait for the database to catch up, or, where nothing is to be read, for files."""
        if self._ledger.ahead >= MAX_AHEAD or self._ledger.is_full:
            wake.wait(CATCH_UP_SECONDS)
        elif self.is_idle or self._is_down:
            self._has_changed = watch.wait() or self._has_changed

    def close(self) -> None:
        for each in self._watched:
            _leave(each)

    def _take_over(self, watched: tuple[_Watched, ...]) -> None:
        for old in self._watched:
            if not any(old is each for each in watched):
                _leave(old)
        self._watched = watched
        self._scanner.forget({each.directory for each in watched})
        self._has_changed = True

    def _is_look_due(self, watch: Watch) -> bool:
        waited = time.monotonic() - self._looked_at
        pause = 0.5 if self._has_changed or self._is_waiting else watch.look_seconds
        return waited >= pause

    def _look(self) -> None:
        """Find the files that are to be read."""
        self._has_changed = self._is_waiting = False
        for each in self._watched:
            known = {
                file.path: self._version_read(file)
                for file in WatchedFile.objects.filter(stream=each.stream)
            }
            each.waiting, is_waiting = self._scanner.ready(each.directory, known)
            self._is_waiting = self._is_waiting or is_waiting
        self._looked_at = time.monotonic()

    def _before(self, file: WatchedFile) -> Progress | None:
        """How far the file has been read; None when it is to be read from its beginning."""
        progress = self._ledger.get(file.pk)
        if file.finished_at is None or progress is not None:
            return progress
        return Progress(file.size, file.modified_ns, file.rows, file.rejected, is_done=True)

    def _version_read(self, file: WatchedFile) -> Version:
        before = self._before(file)
        return before.version if before is not None and before.is_done else _NONE

    def _turns(self) -> Iterator[Event]:
        self.is_idle = True
        for each in self._watched:
            if self._ledger.ahead >= MAX_AHEAD:
                self.is_idle = False
                return
            if each.reading is None:
                self._open_next(each)
            if each.reading is not None:
                self.is_idle = False
                yield from self._turn(each, each.reading)

    def _open_next(self, each: _Watched) -> None:
        while each.waiting and each.reading is None:
            if self._ledger.is_full:
                self._ledger.make_room({w.reading.pk for w in self._watched if w.reading})
                self.is_idle = False
                return
            candidate = each.waiting.pop(0)
            if each.retries.get(candidate.path, 0) < time.monotonic():
                each.reading = self._opened(each, candidate)

    def _opened(self, each: _Watched, candidate: Candidate) -> Reading | None:
        """The file, to be read on; None when there is nothing to read any more."""
        path, name = candidate.path, self._scanner.name_of(candidate.path)
        if len(name) > MAX_PATH:
            self._scanner.tell(f"{name[:100]}… is not read: its path is too long")
            return None
        try:
            version = version_of(path.stat())
            file, _ = WatchedFile.objects.get_or_create(
                stream_id=each.stream,
                path=name,
                defaults={"size": version.size, "modified_ns": version.modified_ns},
            )
            if self._version_read(file) == version:
                return None
            self._scanner.read(path)
            is_growing = candidate.is_growing or version != candidate.version
            return Reading(path, file.pk, each.stream, self._before(file), is_growing=is_growing)
        except OSError as error:
            logger.info("%s has gone: %s", path, error.strerror)
        except IntegrityError:
            logger.info("stream %d has gone, %s is not read", each.stream, path)
        return None

    def _turn(self, each: _Watched, reading: Reading) -> Iterator[Event]:
        """Some rows of a file, then how far that is."""
        turn = reading.turn()
        rows = self._identities.told_apart(turn.rows)
        events = [_event(row, reading) for row in rows if each.wants(row)]
        yield from (event for event in events if event is not None)
        if turn.retry:
            self._put_off(each, reading, turn.retry)
        else:
            self._ledger.put(reading.pk, reading.progress, len(events))
        yield Checkpoint(self._ledger.cursor)
        if turn.is_over or turn.retry:
            _leave(each)

    def _put_off(self, each: _Watched, reading: Reading, problem: str) -> None:
        """A file that cannot be read now is read from its beginning in a while."""
        logger.warning("%s; it is tried again in %.0f s", problem, RETRY_SECONDS)
        each.retries = {path: due for path, due in each.retries.items() if due > time.monotonic()}
        each.retries[reading.path] = time.monotonic() + RETRY_SECONDS
        self._ledger.drop(reading.pk)
        WatchedFile.objects.filter(pk=reading.pk).update(error=problem, updated_at=timezone.now())


def _leave(each: _Watched) -> None:
    if each.reading is not None:
        each.reading.close()
        each.reading = None


def _event(row: Row, reading: Reading) -> Event | None:
    """What a row is for the runner; None where a dump tells of what is no post."""
    if row.reason:
        reason = f"{reading.path.name}, line {row.line}: {row.reason}"
        return malformed(reason, row.excerpt)
    return row.removal or row.post


def from_settings() -> DirectorySource:
    """Raises NotConfigured."""
    root = Path(settings.FILE_SOURCE_DIR)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotConfigured(
            f"FILE_SOURCE_DIR={str(root)!r} cannot be made: {error.strerror}"
        ) from error
    return DirectorySource(root)
