"""A process whose disk is full for a while: no file grows beyond a limit, whatever is written.

`python -m tests.ingestion.full_disk file|reader FOLDER` writes what became of its items as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import django

MANY_MIB = 100 << 20


@contextmanager
def _no_file_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _wait_until(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 40
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _items(spill: Any) -> list[Any]:
    found: list[Any] = []
    while taken := spill.take(1000):
        found += [item.event for item in taken]
    return found


def write(folder: Path) -> dict[str, Any]:
    """Items before, on and after a full disk: which were taken, which are there."""
    from ingestion.events import Checkpoint
    from ingestion.services.buffer import SpillFile, SpillFull
    from ingestion.services.journal import Item

    spill = SpillFile(folder, MANY_MIB)
    taken, refused = [], []

    def append(number: int) -> None:
        try:
            spill.append(Item(1.0, Checkpoint(str(number))))
            taken.append(str(number))
        except SpillFull:
            refused.append(str(number))

    append(1)
    with _no_file_beyond(spill.size * 3 + spill.size // 2):
        for number in range(2, 6):
            append(number)
        had_room = spill.has_room()
    has_room = spill.has_room()
    append(6)
    there = [event.cursor for event in _items(spill)]
    return {"taken": taken, "refused": refused, "there": there, "room": [had_room, has_room]}


class _Flow:
    """A source that never pauses."""

    name = "rss"
    is_paid = False

    def __init__(self) -> None:
        self.connects = self.disconnects = 0
        self._number = 0
        self._stopped = threading.Event()

    def follow(self, streams: Any) -> Any:
        from ingestion.sources import Followed

        return Followed()

    def connect(self, resume: Any) -> Iterator[Any]:
        from ingestion.events import Connected, IncomingPost

        self._stopped.clear()
        self.connects += 1
        yield Connected()
        while not self._stopped.wait(0.01):
            self._number += 1
            yield IncomingPost("rss", str(self._number), "a post", datetime(2026, 1, 1, tzinfo=UTC))

    def disconnect(self) -> None:
        self.disconnects += 1
        self._stopped.set()

    def parse(self, message: bytes) -> Iterator[Any]:
        return iter(())


def read(folder: Path) -> dict[str, Any]:
    """A reader whose file's disk is full for a while: whether it lives on, and what it said."""
    from ingestion.services.buffer import Buffer, SpillFile
    from ingestion.services.reader import Reader
    from ingestion.sources import Resume

    flow, spill = _Flow(), SpillFile(folder, MANY_MIB)
    reader = Reader(flow, Buffer(spill, memory_items=0), Resume())
    reader.start("stopped", "It was stopped.")
    _wait_until(lambda: spill.size > 4000)
    # Half a line more is taken; not even a short one fits.
    with _no_file_beyond(spill.size + 20):
        _wait_until(lambda: flow.disconnects)
        # Time for several more connections, if it took them.
        time.sleep(2)
        is_alive, connects = reader.is_alive(), flow.connects
    is_back = _wait_until(lambda: flow.connects == 2)
    size = spill.size
    _wait_until(lambda: spill.size > size + 1000)
    reader.stop()
    reader.join(10)
    said = _items(spill)
    return {
        "is_alive": is_alive,
        "connects": connects,
        "is_back": is_back,
        "lost": [event.kind for event in said if type(event).__name__ == "Lost"],
        "began": type(said[0]).__name__,
        "ids": [int(event.external_id) for event in said if hasattr(event, "external_id")],
    }


if __name__ == "__main__":
    django.setup()
    outcome = {"file": write, "reader": read}[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps(outcome))
