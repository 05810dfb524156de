"""Worker and beat as threads of this process, for the in-memory broker that no other can see."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.app import app_or_default
from celery.beat import Service
from celery.concurrency.base import BasePool, apply_target
from celery.worker import WorkController
from celery.worker import state as worker_state
from django.db import DatabaseError, connections

from ingestion.schedule import Scheduler

logger = logging.getLogger(__name__)
# What Celery's signal handlers set; the stubs know only its initial values.
state: Any = worker_state

QUEUES = ("stream", "predict", "train", "default")
# One trains, one streams, the others classify; texts share the engine's own threads anyway.
CONCURRENCY = 4
# How often the in-memory broker is looked into: the delay before a task starts.
POLL_SECONDS = 0.05
# How often the worker acknowledges what is done and looks whether it should stop.
TURN_SECONDS = 0.2
# Tasks taken ahead for each thread: more than a turn can finish, so that none waits for a turn.
PREFETCH = 8
START_SECONDS = 30.0
STOP_SECONDS = 10.0
BEAT_RETRY_SECONDS = 2.0


class DaemonPool(BasePool):
    """Celery's thread pool, but a task that never ends cannot keep the process from ending."""

    body_can_be_buffer = True
    signal_safe = False

    def on_start(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"task-{number}", daemon=True)
            for number in range(self.limit)
        ]
        for thread in self._threads:
            thread.start()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        self._calls.put(partial(apply_target, target, args, kwargs, callback, accept_callback))

    def on_stop(self) -> None:
        while not self._calls.empty():
            self._calls.get()
        for _ in self._threads:
            self._calls.put(None)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            logger.warning("a task still runs after %.0f s; it is abandoned", STOP_SECONDS)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
        connections.close_all()


class EmbeddedWorker:
    """A running worker; `drain` waits for the tasks that are queued now."""

    def __init__(self, app: Celery, controller: WorkController | None = None) -> None:
        self._app = app
        self._controller = controller

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is queued or running; False when `timeout` seconds were not enough.

        True at once where the worker is another process: the broker keeps its tasks.
        """
        if self._controller is None:
            return True
        deadline = time.monotonic() + timeout
        idle = 0
        # Twice, because a message on its way from the queue to the pool is in neither.
        while idle < 2:
            idle = 0 if self._busy() else idle + 1
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _busy(self) -> bool:
        if state.reserved_requests or state.active_requests:
            return True
        with self._app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return any(channel._size(name) for name in QUEUES)


def is_embedded() -> bool:
    """Whether the broker lives in this process, so that the worker must as well."""
    return str(app_or_default().conf.broker_url).startswith("memory://")


@contextmanager
def start_worker(*, beat: bool = False, concurrency: int = CONCURRENCY) -> Iterator[EmbeddedWorker]:
    """Run the Celery worker, and beat if asked, as threads of this process while the block lasts.

    Does nothing where a real broker is configured: workers are processes of their own there.
    """
    app = app_or_default()
    if not is_embedded():
        yield EmbeddedWorker(app)
        return
    _prepare(app)
    controller, worker = _start(app, concurrency)
    stop_beat = threading.Event()
    scheduler = threading.Thread(target=_beat, args=(app, stop_beat), name="beat", daemon=True)
    if beat:
        scheduler.start()
    try:
        yield EmbeddedWorker(app, controller)
    finally:
        stop_beat.set()
        _stop(worker)
        if beat:
            scheduler.join(STOP_SECONDS)


def _prepare(app: Celery) -> None:
    app.finalize()
    # Threads started later find this application as the current one.
    app.set_default()
    app.conf.broker_transport_options = {
        **(app.conf.broker_transport_options or {}),
        "polling_interval": POLL_SECONDS,
    }


def _start(app: Celery, concurrency: int) -> tuple[WorkController, threading.Thread]:
    ready = threading.Event()

    def on_ready(consumer: Any) -> None:
        # Celery drains for 2 s at a time; acknowledgements and stops wait until it comes back.
        consumer.connection.drain_events = partial(_drain, consumer.connection.drain_events)
        ready.set()

    controller = WorkController(
        app=app,
        hostname=f"embedded-{uuid4().hex[:8]}@localhost",
        pool=DaemonPool,
        concurrency=concurrency,
        queues=list(QUEUES),
        prefetch_multiplier=PREFETCH,
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
        ready_callback=on_ready,
    )
    worker = threading.Thread(target=_run, args=(controller,), name="worker", daemon=True)
    worker.start()
    if not ready.wait(START_SECONDS):
        raise RuntimeError(f"the embedded worker did not start within {START_SECONDS:.0f} s")
    return controller, worker


def _drain(drain_events: Callable[..., Any], timeout: float | None = None, **options: Any) -> Any:
    return drain_events(timeout=TURN_SECONDS, **options)


def _run(controller: WorkController) -> None:
    try:
        controller.start()
    finally:
        connections.close_all()


def _stop(worker: threading.Thread) -> None:
    """A warm stop: what runs may end, what waits is left to the sweep of unclassified posts."""
    state.should_stop = 0
    worker.join()
    state.should_stop = None


def _beat(app: Celery, stop: threading.Event) -> None:
    """Celery's own loop sleeps through a stop; this one wakes at once."""
    service = Service(app, scheduler_cls=Scheduler)
    try:
        while not stop.is_set():
            stop.wait(_tick(service))
    finally:
        with suppress(DatabaseError):
            service.sync()
        connections.close_all()


def _tick(service: Service) -> float:
    """Send what is due; seconds until the next is."""
    try:
        return float(service.scheduler.tick())
    except DatabaseError as error:
        logger.warning("beat cannot read its schedule: %s", error)
        connections.close_all()
        return BEAT_RETRY_SECONDS
