"""Between reader and database: a bounded queue in memory, and behind it a bounded file.

The reader never waits for the database. What does not fit into memory goes to a write-ahead file,
and is stored from there in the order in which it came. A file that a dead process left is taken
up by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ingestion.exceptions import IngestionError
from ingestion.services.journal import Item, decode, encode

logger = logging.getLogger(__name__)

MEMORY_ITEMS = 5000
SEGMENT_BYTES = 4 * 1024 * 1024
# Far from 0, so that what a stop leaves in memory can be put before what is on file.
FIRST_SEGMENT = 1_000_000_000
SYNC_SECONDS = 1.0
# So long the reader waits for the writer before it turns to the file: the socket's own buffers
# bear it.
PATIENCE_SECONDS = 0.5
# A full file takes no more until so much of it is free again.
ROOM_SHARE = 0.5


class SpillFull(IngestionError):
    """The write-ahead file has reached its limit, or its disk is full."""


class SpillHeld(IngestionError):
    """Another process uses the write-ahead file."""


class SpillFile:
    """Items in files of a folder, oldest first, up to `limit` bytes. One process at a time: raises
    SpillHeld.

    Not thread-safe. What is taken stays on file until `settle`: after a crash it comes again.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._lock = _locked(folder / "lock")
        self._segments = deque(sorted(folder.glob("*.wal")))
        self._sizes = {path: path.stat().st_size for path in self._segments}
        self._out: IO[bytes] | None = None
        self._in: IO[bytes] | None = None
        self._read: list[Path] = []
        self._synced = time.monotonic()
        # The disk took no more when it was last asked.
        self._is_refused = False

    @property
    def size(self) -> int:
        """What is on file and not settled."""
        return sum(self._sizes.values())

    def has_room(self) -> bool:
        """Whether it takes more for a while: within its limit, and on a disk that was full."""
        if self.size >= self._limit * ROOM_SHARE:
            return False
        return not self._is_refused or self._can_write(SEGMENT_BYTES)

    def append(self, item: Item, *, is_small: bool = False) -> None:
        """Add one item. Raises SpillFull; then nothing of it is on file.

        What `is_small` may exceed the limit: it says why there is nothing more.
        """
        line = encode(item)
        if not is_small and self.size + len(line) > self._limit:
            raise SpillFull(f"the write-ahead file holds {self._limit >> 20} MiB")
        try:
            self._write(line)
        except OSError as error:
            self._is_refused = True
            raise SpillFull(f"the write-ahead file cannot be written: {error}") from error
        self._is_refused = False
        self._sizes[self._segments[-1]] += len(line)

    def _write(self, line: bytes) -> None:
        out = self._segment_for(len(line))
        before = out.tell()
        try:
            # Of a disk that is nearly full the first part is taken, without an error.
            if out.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._sync(out)
        except OSError:
            # Half a line must not stay before the next one.
            out.truncate(before)
            out.seek(before)
            raise

    def _can_write(self, size: int) -> bool:
        """Whether the disk takes so much, by trial: quotas are not told otherwise."""
        path = self._folder / "trial"
        try:
            with path.open("wb", buffering=0) as file:
                return file.write(bytes(size)) == size
        except OSError:
            return False
        finally:
            path.unlink(missing_ok=True)

    def prepend(self, items: Sequence[Item]) -> None:
        """Add items before all others, for good. Raises SpillFull."""
        number = min((int(path.stem) for path in self._sizes), default=FIRST_SEGMENT) - 1
        path = self._folder / f"{number:010d}.wal"
        try:
            with path.open("xb") as file:
                file.writelines(map(encode, items))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise SpillFull(f"the write-ahead file cannot be written: {error}") from error
        self._segments.appendleft(path)
        self._sizes[path] = path.stat().st_size

    def take(self, limit: int) -> list[Item]:
        """The next items that were not taken yet; empty when there are none."""
        items: list[Item] = []
        for line in self._lines():
            item = decode(line)
            if item is None:
                logger.warning("skipped a line of the write-ahead file that a crash cut short")
                continue
            items.append(item)
            if len(items) == limit:
                break
        return items

    def settle(self) -> None:
        """What was taken is stored: files that are read to their end go."""
        for path in self._read:
            path.unlink(missing_ok=True)
            self._sizes.pop(path, None)
        self._read.clear()

    def close(self) -> None:
        for file in (self._in, self._out):
            if file is not None:
                file.close()
        os.close(self._lock)

    def _segment_for(self, size: int) -> IO[bytes]:
        if self._out is None or self._out.tell() + size > SEGMENT_BYTES:
            if self._out is not None:
                os.fsync(self._out.fileno())
                self._out.close()
                self._out = None
            # Of files read but not settled, too: their numbers must not be used again.
            number = max((int(path.stem) for path in self._sizes), default=FIRST_SEGMENT) + 1
            path = self._folder / f"{number:010d}.wal"
            self._out = path.open("xb", buffering=0)
            self._segments.append(path)
            self._sizes[path] = 0
        return self._out

    def _sync(self, out: IO[bytes]) -> None:
        # A killed process loses nothing that was written; a power cut at most this long.
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(out.fileno())
            self._synced = time.monotonic()

    def _lines(self) -> Iterator[bytes]:
        while self._segments:
            if self._in is None:
                self._in = self._segments[0].open("rb")
            while line := self._in.readline():
                yield line
            # Read to its end, which may still grow if it is the one being written.
            self._in.close()
            self._in = None
            if len(self._segments) == 1 and self._out is not None:
                self._out.close()
                self._out = None
            self._read.append(self._segments.popleft())


def _locked(path: Path) -> int:
    """A file lock that ends with the process. Raises SpillHeld while another one holds it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise SpillHeld(f"another process uses {path.parent}") from error
    return handle


class Buffer:
    """First in, first out, between one reader and one writer."""

    def __init__(self, spill: SpillFile, memory_items: int = MEMORY_ITEMS) -> None:
        self._spill = spill
        self._memory: deque[Item] = deque()
        self._limit = memory_items
        self._wanted = 1
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._room = threading.Condition(lock)
        # While anything is on file, newer items go there too: the order stays.
        self._is_spilling = spill.size > 0
        # Something was taken out of memory that is not stored yet.
        self._is_unsafe = False

    @property
    def spilled_bytes(self) -> int:
        return self._spill.size

    def put(self, item: Item, *, is_small: bool = False) -> None:
        """Hand over: at once, or, while the writer keeps up, after a moment.

        Raises SpillFull when neither memory nor file has room.
        """
        with self._changed:
            if len(self._memory) >= self._limit and not self._is_spilling:
                # A writer that is only a little slower needs no file.
                self._room.wait_for(self._has_room, PATIENCE_SECONDS)
            if self._is_spilling or len(self._memory) >= self._limit:
                self._spill.append(item, is_small=is_small)
                self._is_spilling = True
            else:
                self._memory.append(item)
            # Waking the writer for each item would cost more than the item.
            if len(self._memory) >= self._wanted:
                self._changed.notify()

    def _has_room(self) -> bool:
        return len(self._memory) < self._limit

    def wait_for_room(self, stop: threading.Event) -> None:
        """Until there is room again, in memory or on file, or `stop` is set."""
        while not stop.wait(0.5):
            with self._changed:
                is_caught_up = (
                    not self._is_spilling and len(self._memory) < self._limit * ROOM_SHARE
                )
                if is_caught_up or self._spill.has_room():
                    return

    def take(self, limit: int, patience: float) -> list[Item]:
        """Up to `limit` of the oldest items; waits up to `patience` seconds for them."""
        deadline = time.monotonic() + patience
        items: list[Item] = []
        with self._changed:
            while True:
                items += self._available(limit - len(items))
                left = deadline - time.monotonic()
                if len(items) >= limit or left <= 0:
                    return items
                self._wanted = limit - len(items)
                self._changed.wait(left)

    def _available(self, limit: int) -> list[Item]:
        memory = self._memory
        items = [memory.popleft() for _ in range(min(limit, len(memory)))]
        if items:
            self._is_unsafe = True
            self._room.notify()
        if self._is_spilling and len(items) < limit:
            items += self._spill.take(limit - len(items))
            self._is_spilling = len(items) == limit
        return items

    def settle(self) -> None:
        """What was taken is stored."""
        with self._changed:
            self._is_unsafe = False
            self._spill.settle()

    def keep(self, items: Sequence[Item]) -> None:
        """Put what was taken but could not be stored, and all of memory, on file.

        Raises SpillFull.
        """
        with self._changed:
            if not (self._is_unsafe or self._memory):
                # It is on file: kept again at each of many failures, it would fill the disk.
                return
            rest = [*items, *self._memory]
            self._memory.clear()
            self._is_unsafe = False
            self._spill.prepend(rest)
            self._is_spilling = True

    def close(self) -> None:
        with self._changed:
            self._spill.close()
