"""Streams that run as threads of a worker process, started by beat's `ensure_streams`.

A thread rather than an endless task: a task would hold a worker's slot for ever, be redelivered
by the broker, and keep a worker from stopping.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from ingestion import sources
from ingestion.exceptions import NotConfigured, SourceError, StreamHeld
from ingestion.models import Connection, Stream
from ingestion.services import spend
from ingestion.services.streaming import run_stream
from ingestion.sources import LiveSource

logger = logging.getLogger(__name__)

# What only a person can mend is tried again this seldom, in case the person has.
FAILED_PAUSE = timedelta(minutes=15)
STOP_SECONDS = 8.0


@dataclass
class _Running:
    thread: threading.Thread
    stop: threading.Event


_running: dict[str, _Running] = {}
_lock = threading.Lock()


def ensure_streams() -> list[str]:
    """Start streaming each source that has active streams and credentials and is not streamed.

    Returns the sources started here. Any number of processes may call this at any time: the
    lease lets one of them through.
    """
    with _lock:
        return [name for name in sources.names() if _start(name)]


def _start(name: str) -> bool:
    running = _running.get(name)
    if running is not None and running.thread.is_alive():
        return False
    # Nobody else lets them go when the month turns and all are held.
    if Stream.objects.active().of_source(name).filter(held_at__isnull=False).exists():
        spend.govern(name)
    if not Stream.objects.followed().of_source(name).exists() or not _is_due(name):
        return False
    try:
        source = sources.create(name)
    except NotConfigured:
        return False
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(source, stop), name=f"stream-{name}", daemon=True)
    _running[name] = _Running(thread, stop)
    thread.start()
    return True


def _is_due(name: str) -> bool:
    """Whether nobody streams the source, and it did not just fail for good."""
    now = timezone.now()
    connection = Connection.objects.filter(source=name).first()
    if connection is None:
        return True
    if connection.status == Connection.Status.FAILED:
        changed = Stream.objects.of_source(name).filter(updated_at__gt=connection.updated_at)
        return connection.updated_at < now - FAILED_PAUSE or changed.exists()
    return Connection.objects.filter(source=name).free(now).exists()


def _run(source: LiveSource, stop: threading.Event) -> None:
    try:
        run_stream(source, stop=stop, wait=False)
    except StreamHeld as error:
        logger.info("%s", error)
    except SourceError as error:
        logger.error("%s is not streamed: %s", source.name, error)
    finally:
        connections.close_all()


def stop_streams() -> None:
    """Stop what this process streams: everything delivered is stored, the leases are free."""
    with _lock:
        running = list(_running.values())
        _running.clear()
    for stream in running:
        stream.stop.set()
    for stream in running:
        stream.thread.join(STOP_SECONDS)
