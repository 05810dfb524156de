"""The websocket, with a real client against the real server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import websockets
from channels.db import database_sync_to_async
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from dashboard import live
from dashboard.live import BACKLOG, Viewer
from ingestion.models import Connection, Gap
from ingestion.services import forget, store
from ingestion.signals import alert_raised
from modeling.models import ModelVersion, TrainingRun
from modeling.services import classify, runs
from modeling.services.promote import promote
from tests.dashboard.factories import make_post, make_stream
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db(transaction=True)

# What does not come at all has not come by then.
PATIENCE_SECONDS = 30


async def connect(site: str, query: str = "", **options: Any) -> websockets.ClientConnection:
    address = site.replace("http", "ws") + f"/ws/live/{query}"
    return await websockets.connect(address, **{"origin": site, **options})


async def next_of(
    socket: websockets.ClientConnection, kind: str, **fields: object
) -> dict[str, Any]:
    """The next message of a kind with these fields."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] == kind and fields.items() <= message.items():
                return message
    raise AssertionError("the socket was closed")


@database_sync_to_async
def judge(text: str = "the game wonderful today", **fields: Any) -> int:
    post = make_post(text, **fields)
    classify.classify_posts([post.pk])
    return post.pk


async def told_in_ticks(socket: websockets.ClientConnection, key: str) -> Any:
    """What the next tick that has something under `key` says there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (told := (await next_of(socket, "tick"))[key]):
            pass
        return told


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
        *("gaps", "sources", "alerts", "training"),
    }
    assert first["view"]["totals"] == {"positive": 1}
    assert first["posts"][0]["category"] == "positive"
    assert first["model"]["version"] == "1"


async def test_a_new_post_is_in_the_next_tick_but_one_at_the_latest(
    live_site: str, champion: ModelVersion
) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        pk = await judge("the game awful today")
        (ticker,) = [each for each in list(live._tickers.values()) if each._viewers]
        # One may be in the making.
        latest = ticker.sequence + 2
        tick = await anext(ticks_with_news(socket))
    assert tick["sequence"] <= latest
    # So the page has it within two seconds of its judgement.
    assert 2 * live.TICK_SECONDS < 2
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
    numbers: list[int] = []
    began = time.monotonic()
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        while len(numbers) < 8:
            await judge()
            numbers.append((await next_of(socket, "tick"))["sequence"])
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    # The first comes at once.
    assert len(numbers) <= 4 * (time.monotonic() - began) + 1


async def test_a_promotion_is_told(
    live_site: str, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        await next_of(socket, "tick")
        version = await database_sync_to_async(make_version)(2)
        await database_sync_to_async(promote)(version)
        assert (await next_of(socket, "model"))["version"] == "2"


async def test_a_training_is_told_as_it_moves(live_site: str, champion: ModelVersion) -> None:
    run = await TrainingRun.objects.acreate(scheme=champion.scheme)
    async with await connect(live_site) as socket:
        snapshot = await next_of(socket, "snapshot")
        assert (snapshot["training"]["run"], snapshot["training"]["status"]) == (run.pk, "queued")
        taken = await database_sync_to_async(runs.take)(run.pk)
        assert (await next_of(socket, "training", run=run.pk))["status"] == "running"
        report = runs.Reporter(taken, None)
        await database_sync_to_async(report.phase)(0.4, "epoch 1/2")
        moved = await next_of(socket, "training", run=run.pk)
        assert (moved["progress"], moved["message"]) == (0.4, "epoch 1/2")
        await database_sync_to_async(runs.end)(taken, "failed", error="no disk left")
        ended = await next_of(socket, "training", run=run.pk)
        assert (ended["status"], ended["reason"]) == ("failed", "no disk left")


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


async def test_a_deleted_post_is_taken_back(live_site: str, champion: ModelVersion) -> None:
    pk = await judge("the game awful today", external_id="7")
    async with await connect(live_site) as socket:
        assert [post["id"] for post in (await next_of(socket, "snapshot"))["posts"]] == [pk]
        await database_sync_to_async(forget)("file", ["7"])
        tick = await anext(ticks_with_news(socket))
        assert tick["withdrawn"] == [pk] and tick["posts"] == []
        (count,) = tick["counts"]
        assert (count["category"], count["stream"], count["count"]) == ("negative", None, -1)
    async with await connect(live_site) as socket:
        snapshot = await next_of(socket, "snapshot")
        assert snapshot["posts"] == [] and snapshot["view"]["totals"].get("negative", 0) == 0


async def test_an_edit_takes_the_place_of_what_it_edits(
    live_site: str, champion: ModelVersion
) -> None:
    @database_sync_to_async
    def edit() -> int:
        text, history = "the game wonderful today", ("7",)
        (pk,) = store(
            [incoming(source="file", external_id="8", text=text, edit_history=history)],
            announce=False,
        ).post_ids
        classify.classify_posts([pk])
        return pk

    first = await judge("the game awful today", external_id="7")
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        second = await edit()
        told: dict[str, int] = {}
        listed: set[int] = set()
        async for tick in ticks_with_news(socket):
            for count in tick["counts"]:
                told[count["category"]] = told.get(count["category"], 0) + count["count"]
            listed |= {post["id"] for post in tick["posts"]}
            listed -= set(tick["withdrawn"])
            if len(told) == 2:
                break
    assert told == {"negative": -1, "positive": 1}
    assert listed == {second} and first != second


async def test_a_post_that_is_judged_and_deleted_between_two_looks_counts_nothing(
    live_site: str, champion: ModelVersion
) -> None:
    @database_sync_to_async
    def judge_and_delete() -> int:
        post = make_post("the game awful today", external_id="7")
        classify.classify_posts([post.pk])
        forget("file", ["7"])
        return post.pk

    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        pk = await judge_and_delete()
        total, withdrawn = 0, []
        while pk not in withdrawn:
            tick = await next_of(socket, "tick")
            total += sum(count["count"] for count in tick["counts"])
            withdrawn += tick["withdrawn"]
            assert all(post["text"] for post in tick["posts"])
    assert total == 0


async def test_an_outage_is_told_when_it_begins_and_when_it_is_over(
    live_site: str, champion: ModelVersion
) -> None:
    @database_sync_to_async
    def begin() -> None:
        with transaction.atomic():
            Gap.objects.create(source="x", started_at=timezone.now(), cause="network")
            Connection.objects.create(source="x", status="failed", last_error="check the token")

    @database_sync_to_async
    def end() -> None:
        ended = {"ended_at": timezone.now(), "recovered": 85, "expected": 100}
        with transaction.atomic():
            Gap.objects.update(state="partial", **ended)
            Connection.objects.update(status="stopped", last_error="")

    async with await connect(live_site) as socket:
        snapshot = await next_of(socket, "snapshot")
        assert snapshot["gaps"] == snapshot["sources"] == snapshot["alerts"] == []
        await begin()
        (gap,) = await told_in_ticks(socket, "gaps")
        assert (gap["state"], gap["ended_at"]) == ("open", None)
    async with await connect(live_site) as socket:
        snapshot = await next_of(socket, "snapshot")
        assert snapshot["gaps"] == [gap]
        assert snapshot["sources"][0]["reason"] == "check the token"
        assert [alert["key"] for alert in snapshot["alerts"]] == ["failed:x"]
        await end()
        (gap,) = await told_in_ticks(socket, "gaps")
        assert (gap["state"], gap["completeness"]) == ("partial", 0.85)
    async with await connect(live_site) as socket:
        snapshot = await next_of(socket, "snapshot")
        assert snapshot["alerts"] == [] and snapshot["sources"][0]["status"] == "stopped"


async def test_sources_and_alerts_are_told_when_they_change(
    live_site: str, champion: ModelVersion
) -> None:
    async with await connect(live_site) as socket:
        await next_of(socket, "snapshot")
        await database_sync_to_async(Connection.objects.create)(
            source="x", status="failed", last_error="check the token"
        )
        tick = await next_of(socket, "tick")
        while not tick["alerts"]:
            tick = await next_of(socket, "tick")
        assert tick["sources"][0]["words"] == "failed: needs attention"
        assert [alert["key"] for alert in tick["alerts"]] == ["failed:x"]
        await database_sync_to_async(Connection.objects.update)(status="stopped")
        while tick["alerts"] != []:
            tick = await next_of(socket, "tick")
        assert tick["sources"][0]["status"] == "stopped"
