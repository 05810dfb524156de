"""The ticker: one a process, computes each tick once and hands it to every viewer.

It asks the database rather than listening to messages, so that posts which another process
(`manage.py stream`, a Celery worker) stored and judged appear too, with or without Redis.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from dashboard import selectors
from dashboard.events import ModelEvent, Tick
from dashboard.news import News
from dashboard.state import NOTHING, Watch

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
# Without news a tick still tells rate and lag so often.
IDLE_SECONDS = 1.0
STATE_SECONDS = 1.0
# A viewer that is more ticks behind than this starts again from a snapshot.
BACKLOG = 20


class Viewer:
    """One browser's bounded queue. `skipped` says that it missed something."""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._ready = asyncio.Event()
        self.skipped = False

    def offer(self, message: str) -> None:
        if len(self._messages) >= BACKLOG:
            self._messages.clear()
            self.skipped = True
        self._messages.append(message)
        self._ready.set()

    async def next(self) -> str:
        """The next message; waits for it."""
        while not self._messages:
            self._ready.clear()
            await self._ready.wait()
        return self._messages.popleft()


class Ticker:
    """Runs while somebody watches."""

    def __init__(self) -> None:
        self.sequence = 0
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._rate: tuple[float, float | None] = (0.0, None)
        self._seen = NOTHING
        self._model: ModelEvent | None = None

    async def join(self, viewer: Viewer) -> None:
        """Send `viewer` everything from now on."""
        self._viewers.add(viewer)
        # Of viewers that come at once the first starts the run; a second run would tick double.
        async with self._starting:
            if self._task is None or self._task.done():
                news, watch = await database_sync_to_async(lambda: (News(), Watch()))()
                self._task = asyncio.create_task(self._run(news, watch))

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, news: News, watch: Watch) -> None:
        told_at = figured_at = float("-inf")
        while True:
            started = time.monotonic()
            try:
                if started - figured_at >= STATE_SECONDS:
                    await self._look_at_model()
                    self._rate = await database_sync_to_async(selectors.rate)()
                    self._seen = self._seen.then(await database_sync_to_async(watch.look)())
                    figured_at = started
                if await self._tick(news, is_due=started - told_at >= IDLE_SECONDS):
                    told_at = started
            except DatabaseError as error:
                # The page says 'no news' by itself; the ticker goes on when the database is back.
                logger.warning("the live page cannot read the database: %s", error)
                await asyncio.sleep(IDLE_SECONDS)
            await asyncio.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - started)))

    async def _look_at_model(self) -> None:
        model = await database_sync_to_async(selectors.serving_model)()
        if self._model is not None and model != self._model:
            self._broadcast(dict(model))
        self._model = model

    async def _tick(self, news: News, *, is_due: bool) -> bool:
        """Send what is new; True when something was sent."""
        happened = await database_sync_to_async(news.read)()
        if not any(happened) and not any(self._seen) and not is_due:
            return False
        self.sequence += 1
        rate, lag = self._rate
        seen, self._seen = self._seen, NOTHING
        self._broadcast(
            dict(
                Tick(
                    type="tick",
                    sequence=self.sequence,
                    counts=happened.counts,
                    posts=happened.posts,
                    withdrawn=happened.withdrawn,
                    gaps=seen.gaps,
                    sources=seen.sources,
                    alerts=seen.alerts,
                    rate=rate,
                    lag_seconds=lag,
                )
            )
        )
        return True

    def _broadcast(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False)
        for viewer in self._viewers:
            viewer.offer(text)


class Shared:
    """Work that many ask for at once is done once for all of them.

    Who asks while it is under way gets the next result: whatever one gets was begun after one
    asked for it.
    """

    def __init__(self) -> None:
        self._next: dict[Hashable, asyncio.Task[str]] = {}
        self._running: dict[Hashable, asyncio.Task[str]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[str]]) -> str:
        """What `make` gives, by whoever of those that ask for `key` is first."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._make(key, make))
        # One that gives up takes it from nobody else.
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[str]]) -> str:
        if earlier := self._running.get(key):
            await asyncio.wait([earlier])
        task = self._running[key] = self._next.pop(key)
        try:
            return await make()
        finally:
            if self._running.get(key) is task:
                del self._running[key]


_tickers: WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = WeakKeyDictionary()


def ticker() -> Ticker:
    """The ticker of the running event loop."""
    return _tickers.setdefault(asyncio.get_running_loop(), Ticker())


_snapshots: WeakKeyDictionary[asyncio.AbstractEventLoop, Shared] = WeakKeyDictionary()


def snapshots() -> Shared:
    """The snapshots that viewers of the running event loop wait for."""
    return _snapshots.setdefault(asyncio.get_running_loop(), Shared())
