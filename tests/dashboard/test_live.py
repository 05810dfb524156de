"""The websocket, with a real client against the real server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import websockets
from channels.db import database_sync_to_async
from pytest_django.fixtures import Settings

from dashboard.live import BACKLOG, Viewer
from ingestion.signals import alert_raised
from modeling.models import ModelVersion
from modeling.services import classify
from modeling.services.promote import promote
from tests.dashboard.factories import make_post, make_stream

pytestmark = pytest.mark.django_db(transaction=True)


async def connect(site: str, query: str = "", **options: Any) -> websockets.ClientConnection:
    address = site.replace("http", "ws") + f"/ws/live/{query}"
    return await websockets.connect(address, **{"origin": site, **options})


async def next_of(socket: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind, within five seconds."""
    async with asyncio.timeout(5):
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == kind:
                return message
    raise AssertionError("the socket was closed")


@database_sync_to_async
def judge(text: str = "the game wonderful today", **fields: Any) -> int:
    post = make_post(text, **fields)
    classify.classify_posts([post.pk])
    return post.pk


async def ticks_with_news(socket: websockets.ClientConnection) -> AsyncIterator[dict[str, Any]]:
    while True:
        tick = await next_of(socket, "tick")
        if tick["counts"]:
            yield tick


async def test_a_snapshot_comes_first(live_site: str, champion: ModelVersion) -> None:
    await judge()
    async with await connect(live_site) as socket:
        first = json.loads(await socket.recv())
    assert first["type"] == "snapshot"
    assert set(first) == {
        *("type", "sequence", "view", "posts", "model", "rate", "lag_seconds"),
        *("gaps", "sources", "alerts"),
    }
    assert first["view"]["totals"] == {"positive": 1}
    assert first["posts"][0]["category"] == "positive"
    assert first["model"]["version"] == "1"


async def test_a_new_post_is_in_a_tick_within_two_seconds(
    live_site: str, champion: ModelVersion
) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        began = time.monotonic()
        pk = await judge("the game awful today")
        tick = await anext(ticks_with_news(socket))
    assert time.monotonic() - began < 2
    assert [post["id"] for post in tick["posts"]] == [pk]
    (count,) = tick["counts"]
    assert (count["category"], count["stream"], count["count"]) == ("negative", None, 1)


async def test_a_post_counts_overall_and_in_its_streams(
    live_site: str, champion: ModelVersion
) -> None:
    stream = await database_sync_to_async(make_stream)()
    async with await connect(live_site, f"?stream={stream.pk}&range=1h") as socket:
        await next_of(socket, "snapshot")
        await judge(streams=[stream])
        tick = await anext(ticks_with_news(socket))
    assert {count["stream"] for count in tick["counts"]} == {None, stream.pk}


async def test_ticks_are_numbered_without_gap_and_at_most_four_a_second(
    live_site: str, champion: ModelVersion
) -> None:
    numbers = []
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        began = time.monotonic()
        while time.monotonic() - began < 2:
            await judge()
            numbers.append((await next_of(socket, "tick"))["sequence"])
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    # One may fall on either end.
    assert len(numbers) <= 4 * (time.monotonic() - began) + 2


async def test_a_promotion_is_told(
    live_site: str, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        await next_of(socket, "tick")
        version = await database_sync_to_async(make_version)(2)
        await database_sync_to_async(promote)(version)
        assert (await next_of(socket, "model"))["version"] == "2"


async def test_an_alert_is_told(live_site: str, champion: ModelVersion) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        await database_sync_to_async(alert_raised.send_robust)(
            sender=None, kind="drift", message="posts have changed", active=True
        )
        alert = await next_of(socket, "alert")
    assert (alert["kind"], alert["message"]) == ("drift", "posts have changed")


async def test_asking_again_brings_a_snapshot(live_site: str, champion: ModelVersion) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        await socket.send("nonsense")
        await socket.send("snapshot")
        await next_of(socket, "snapshot")


async def test_strangers_are_told_to_sign_in(
    live_site: str, champion: ModelVersion, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = True
    async with await connect(live_site) as socket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


async def test_another_site_s_page_is_refused(live_site: str, champion: ModelVersion) -> None:
    with pytest.raises(websockets.InvalidStatus):
        await connect(live_site, origin="https://elsewhere.example")


async def test_a_slow_viewer_is_skipped_ahead_and_knows_it() -> None:
    viewer = Viewer()
    for number in range(BACKLOG + 3):
        viewer.offer(str(number))
    assert viewer.skipped
    assert await viewer.next() == str(BACKLOG)
