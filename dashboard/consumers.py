"""The websocket `/ws/live/`."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from importlib import import_module
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseError
from django.http import QueryDict
from django.utils import translation

from dashboard import presenters, selectors, state
from dashboard.access import may_watch
from dashboard.events import Snapshot
from dashboard.languages import language_of
from dashboard.live import Viewer, snapshots, ticker
from dashboard.receivers import NEWS_GROUP
from ingestion.selectors import source_states

logger = logging.getLogger(__name__)

# The close code that tells the page to sign in rather than to try again.
SIGN_IN = 4401
TRY_AGAIN = 1013
# So long after a session has ended, or an account was closed, a page goes on at most.
LOOK_SECONDS = 60.0


class LiveConsumer(AsyncWebsocketConsumer):
    """A snapshot, then ticks; the query is the page's (`selectors.view_of`)."""

    groups = [NEWS_GROUP]

    async def connect(self) -> None:
        await self.accept()
        if not await database_sync_to_async(may_watch)(self.scope["user"]):
            await self.close(SIGN_IN)
            return
        self.language = language_of(self.scope)
        self.viewer = Viewer()
        self.pump = asyncio.create_task(self._pump())

    async def disconnect(self, code: int) -> None:
        if hasattr(self, "pump"):
            self.pump.cancel()
            await asyncio.wait([self.pump])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The page asks again after it missed something; anything else is ignored."""
        if text_data == "snapshot" and hasattr(self, "viewer"):
            # With the next message, by the pump: never a snapshot behind newer ticks.
            self.viewer.skipped = True

    async def alert(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(event["alert"]))

    async def training(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps(event["training"]))

    async def _pump(self) -> None:
        try:
            await self._follow()
        except DatabaseError as error:
            logger.warning("a live page's snapshot cannot be read: %s", error)
            await self.close(TRY_AGAIN)
        except OSError:
            # The browser is gone in mid-message; `disconnect` comes next.
            pass
        finally:
            ticker().leave(self.viewer)

    async def _follow(self) -> None:
        # Joins before it reads: what arrives in between comes twice rather than never.
        await ticker().join(self.viewer)
        await self._send_snapshot()
        clock = asyncio.get_running_loop().time
        # Who came at once does not ask at once.
        look_at = clock() + LOOK_SECONDS * random.random()
        while True:
            message = await self.viewer.next()
            if clock() >= look_at:
                if not await self._may_stay():
                    await self.close(SIGN_IN)
                    return
                look_at = clock() + LOOK_SECONDS
            if self.viewer.skipped:
                self.viewer.skipped = False
                await self._send_snapshot()
            await self.send(text_data=message)

    async def _may_stay(self) -> bool:
        """By what session and account are now; two questions at most."""
        if not settings.API_REQUIRE_AUTH:
            return True
        store = import_module(settings.SESSION_ENGINE).SessionStore
        return may_watch(await get_user({"session": store(self.scope["session"].session_key)}))

    async def _send_snapshot(self) -> None:
        # Of a server that starts anew all viewers come at once, most of them with one query.
        await self.send(
            text_data=await snapshots().get(
                (self.scope["query_string"], self.language), self._read_snapshot
            )
        )

    async def _read_snapshot(self) -> str:
        return await database_sync_to_async(self._snapshot)(ticker().sequence)

    def _snapshot(self, sequence: int) -> str:
        # The headline is in words, and viewers of one language share them.
        with translation.override(self.language):
            return self._told(sequence)

    def _told(self, sequence: int) -> str:
        view = selectors.view_of(QueryDict(self.scope["query_string"]))
        shown, posts = presenters.present_with_posts(view)
        rate, lag = selectors.rate()
        states = source_states()
        snapshot = Snapshot(
            type="snapshot",
            sequence=sequence,
            view=shown,
            posts=posts,
            gaps=state.gaps(view),
            sources=state.sources(states),
            alerts=state.standing_alerts(states),
            training=state.training(),
            model=selectors.serving_model(),
            rate=rate,
            lag_seconds=lag,
        )
        return json.dumps(snapshot, ensure_ascii=False)
