"""Files in a folder that is followed, and what its source says of them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connections

from ingestion.events import CaughtUp, Event, IncomingPost
from ingestion.models import Connection, Stream, WatchedFile
from ingestion.services import run_stream
from ingestion.sources import Resume
from ingestion.sources.directory import DirectorySource
from tests.conftest import wait_until


def rows(count: int, start: int = 0) -> bytes:
    return b"".join(
        b'{"id": "%d", "text": "post %d", "created_at": "2026-01-02T03:04:05Z"}\n'
        % (number, number)
        for number in range(start, start + count)
    )


def put(folder: Path, name: str, content: bytes, *, age: float = 60) -> Path:
    """A file that was written a while ago, moved into place."""
    part = folder / f"{name}.part"
    part.write_bytes(content)
    then = time.time() - age
    os.utime(part, (then, then))
    return part.rename(folder / name)


def append(path: Path, content: bytes, *, age: float = 30) -> None:
    with path.open("ab") as file:
        file.write(content)
    then = time.time() - age
    os.utime(path, (then, then))


def following(inbox: Path, *, polls: bool = False) -> DirectorySource:
    source = DirectorySource(inbox, polls=polls)
    source.follow(list(Stream.objects.followed().of_source("file")))
    return source


def events_until(
    source: DirectorySource, done: Callable[[list[Event]], bool], cursor: str = ""
) -> list[Event]:
    """What a connection says until enough was said."""
    heard: list[Event] = []
    connection = source.connect(Resume(cursor))
    for event in connection:
        heard.append(event)
        if done(heard):
            break
    connection.close()  # type: ignore[attr-defined]
    return heard


def is_caught_up(heard: list[Event]) -> bool:
    return isinstance(heard[-1], CaughtUp)


def of(kind: type, heard: list[Event]) -> list[Any]:
    return [event for event in heard if isinstance(event, kind)]


def ids(heard: list[Event]) -> list[str]:
    return [post.external_id for post in of(IncomingPost, heard)]


def finish(inbox: Path) -> None:
    """Have everything that lies there read, and shown as finished."""
    stop = threading.Event()

    def work() -> None:
        try:
            run_stream(DirectorySource(inbox), stop=stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    there = {
        (str(path.relative_to(inbox)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in inbox.rglob("*.*")
    }
    done = WatchedFile.objects.filter(finished_at__isnull=False)
    wait_until(lambda: set(done.values_list("path", "size", "modified_ns")) == there)
    wait_until(lambda: json.loads(cursor())["files"] == {})
    stop.set()
    thread.join(20)


def cursor() -> str:
    return Connection.objects.get().cursor
