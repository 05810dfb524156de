"""Which files lie in the watched directories, when they may be taken, and waiting for more."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from ingestion.sources.directory_ledger import Version
from ingestion.sources.files import is_meant

logger = logging.getLogger(__name__)

STABLE_SECONDS = 2.0
# Who writes on and on is read in between, if the file is one of lines.
PATIENCE_SECONDS = 10.0
POLL_SECONDS = 2.0
# Where the system tells of changes, a look now and then finds what it failed to tell.
LOOK_SECONDS = 10.0
TICK_SECONDS = 0.5
# Told once each; a directory of many odd names must not fill the memory.
MAX_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file as it lies there now; `is_growing` while somebody writes it."""

    path: Path
    version: Version
    is_growing: bool = False


@dataclass
class _Seen:
    version: Version
    first_at: float
    changed_at: float


class Scanner:
    """Looks into directories and knows which files have come to rest."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[Path, _Seen] = {}
        self._told: set[str] = set()

    def ready(self, directory: Path, known: dict[str, Version]) -> tuple[list[Candidate], bool]:
        """Files to be read, the oldest first, and whether others are still being written.

        `known` are the versions that have been read, by the path below the root.
        """
        now = time.monotonic()
        found: list[Candidate] = []
        is_waiting = False
        for path, version in self._files(directory):
            if known.get(self.name_of(path)) == version:
                self._seen.pop(path, None)
                continue
            candidate = self._judge(path, version, now)
            is_waiting = is_waiting or candidate is None or candidate.is_growing
            if candidate is not None:
                found.append(candidate)
        found.sort(key=lambda candidate: (candidate.version.modified_ns, candidate.path))
        return found, is_waiting

    def name_of(self, path: Path) -> str:
        """The path below the root: what `WatchedFile` calls the file."""
        return str(path.relative_to(self._root))

    def read(self, path: Path) -> None:
        """The file was read; when it changes, its rest begins anew."""
        self._seen.pop(path, None)

    def forget(self, directories: set[Path]) -> None:
        """Keep in mind only what lies in these directories, and is still there."""
        self._seen = {
            path: seen
            for path, seen in self._seen.items()
            if path.parent in directories and path.exists()
        }

    def _judge(self, path: Path, version: Version, now: float) -> Candidate | None:
        """The file, if it may be taken: at rest, or written on and on for long."""
        seen = self._seen.get(path)
        if seen is None:
            # What was last written long ago was moved here whole.
            age = time.time() - version.modified_ns / 1e9
            changed_at = now - age if age >= STABLE_SECONDS else now
            seen = self._seen[path] = _Seen(version, now, changed_at)
        elif seen.version != version:
            seen.version, seen.changed_at = version, now
        if now - seen.changed_at >= STABLE_SECONDS:
            return Candidate(path, version)
        if now - seen.first_at >= PATIENCE_SECONDS:
            return Candidate(path, version, is_growing=True)
        return None

    def _files(self, directory: Path) -> Iterator[tuple[Path, Version]]:
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if is_meant(entry.name) and (version := self._version(entry)):
                        yield Path(entry.path), version
        except OSError as error:
            self.tell(f"{directory} cannot be looked into: {error.strerror or error}")

    def _version(self, entry: os.DirEntry[str]) -> Version | None:
        """Of a regular, not empty file that lies inside the root; None of anything else."""
        try:
            status = entry.stat()
            entry.name.encode()
            if not stat.S_ISREG(status.st_mode) or not status.st_size:
                return None
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(self._root):
                self.tell(f"{entry.path} leads out of {self._root}: it is not read")
                return None
        except UnicodeEncodeError:
            self.tell(f"a file of {os.path.dirname(entry.path)!r} is not read: rename it to UTF-8")
            return None
        except OSError:
            # It went away between two looks, or leads nowhere.
            return None
        return Version(status.st_size, status.st_mtime_ns)

    def tell(self, message: str) -> None:
        """Log it, once."""
        if message not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(message)
            logger.warning("%s", message)


class Watch:
    """Waits until something changes in the directories, where the system tells; else for a while.

    `wake` ends every wait at once.
    """

    def __init__(
        self, directories: Sequence[Path], wake: threading.Event, *, polls: bool = False
    ) -> None:
        self._wake = wake
        self._changes = None if polls or not directories else self._listen(directories)

    @property
    def look_seconds(self) -> float:
        """How long at most until the directories are to be looked into again."""
        return POLL_SECONDS if self._changes is None else LOOK_SECONDS

    def wait(self) -> bool:
        """Wait for a moment; whether something has changed."""
        if self._changes is None:
            self._wake.wait(TICK_SECONDS)
            return False
        try:
            return bool(next(self._changes, None))
        except (OSError, RuntimeError) as error:
            logger.info("changes of files are not told here, so they are looked for: %s", error)
            self._changes = None
            return False

    def _listen(self, directories: Sequence[Path]) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        return watchfiles.watch(
            *directories,
            watch_filter=None,
            stop_event=self._wake,
            rust_timeout=round(TICK_SECONDS * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            debounce=200,
        )
