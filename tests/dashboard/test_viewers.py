"""Many browsers at once, and browsers that come back, vanish, or cannot keep up."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from dashboard import consumers, live
from dashboard.live import Shared, Ticker, Viewer
from tests.conftest import wait_until
from tests.dashboard.factories import judge, judged, make_posts

pytestmark = pytest.mark.django_db(transaction=True)

judged_post = database_sync_to_async(judged)
Message = dict[str, Any]


@asynccontextmanager
async def browser(site: str, **options: Any) -> AsyncIterator[websockets.ClientConnection]:
    address = site.replace("http", "ws") + "/ws/live/"
    async with websockets.connect(address, **{"origin": site, **options}) as socket:
        yield socket


async def read(socket: websockets.ClientConnection) -> Message:
    async with asyncio.timeout(30):
        message: Message = json.loads(await socket.recv())
        return message


async def read_until(socket: websockets.ClientConnection, kind: str) -> list[Message]:
    """Every message up to the first of a kind."""
    messages = [await read(socket)]
    while messages[-1]["type"] != kind:
        messages.append(await read(socket))
    return messages


def watching() -> int:
    """Viewers on every loop of this process; the server runs in a thread of it."""
    return sum(len(ticker._viewers) for ticker in list(live._tickers.values()))


async def test_browsers_that_come_at_once_share_one_run() -> None:
    ticker = Ticker()
    viewers = [Viewer() for _ in range(8)]
    await asyncio.gather(*(ticker.join(viewer) for viewer in viewers))
    runs = [task for task in asyncio.all_tasks() if "Ticker._run" in repr(task.get_coro())]
    assert len(runs) == 1
    messages = {await viewer.next() for viewer in viewers}
    assert len(messages) == 1
    for viewer in viewers:
        ticker.leave(viewer)
    await asyncio.wait(runs, timeout=30)
    assert runs[0].cancelled()


async def test_what_many_ask_for_at_once_is_made_once_and_after_they_asked() -> None:
    shared, begun, gate = Shared(), [], asyncio.Event()

    async def make() -> str:
        begun.append(len(begun))
        await gate.wait()
        return f"made {begun[-1]}"

    def ask(key: str) -> asyncio.Task[str]:
        return asyncio.create_task(shared.get(key, make))

    first = [ask("a") for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert begun == [0]
    late = [ask("a") for _ in range(3)]
    late[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*first) == ["made 0"] * 3
    assert await asyncio.gather(*late[1:]) == ["made 1"] * 2
    assert await ask("b") == "made 2" and await ask("a") == "made 3"
    assert not shared._next and not shared._running


async def test_what_cannot_be_made_is_told_to_all_and_tried_anew() -> None:
    shared = Shared()

    async def fail() -> str:
        raise ValueError("away")

    async def make() -> str:
        return "made"

    told = await asyncio.gather(*(shared.get("a", fail) for _ in range(2)), return_exceptions=True)
    assert [str(error) for error in told] == ["away", "away"]
    assert await shared.get("a", make) == "made"


async def test_everybody_is_told_the_same(live_site: str) -> None:
    async with browser(live_site) as first, browser(live_site) as second:
        for socket in (first, second):
            await read_until(socket, "snapshot")
        post = await judged_post()
        told = []
        for socket in (first, second):
            while not (tick := (await read_until(socket, "tick"))[-1])["posts"]:
                pass
            told.append(tick)
    assert told[0] == told[1]
    assert told[0]["posts"][0]["id"] == post.pk


async def test_who_comes_back_finds_what_was_missed(live_site: str) -> None:
    async with browser(live_site) as socket:
        assert (await read(socket))["posts"] == []
    post = await judged_post()
    async with browser(live_site) as socket:
        assert [told["id"] for told in (await read(socket))["posts"]] == [post.pk]


async def test_a_browser_that_vanishes_is_forgotten(
    live_site: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        async with browser(live_site) as socket:
            await read_until(socket, "tick")
            socket.transport.abort()
    # Before its snapshot is read, too.
    async with browser(live_site) as socket:
        socket.transport.abort()
    await asyncio.to_thread(wait_until, lambda: watching() == 0)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_asking_for_snapshots_never_puts_one_behind_newer_ticks(live_site: str) -> None:
    async with browser(live_site) as socket:
        sequence = (await read(socket))["sequence"]
        for _ in range(6):
            await socket.send("snapshot")
            await judged_post()
            for message in await read_until(socket, "tick"):
                # What the page does: drops what it knows, and never finds a gap.
                if message["type"] == "tick" and message["sequence"] > sequence:
                    assert message["sequence"] == sequence + 1
                if message["type"] == "snapshot":
                    assert message["sequence"] >= sequence
                sequence = max(sequence, message.get("sequence", 0))


async def test_a_browser_that_reads_slowly_is_skipped_ahead(
    live_site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BACKLOG", 2)
    async with browser(live_site, compression=None, max_queue=1, max_size=None) as socket:
        await read_until(socket, "snapshot")
        async with browser(live_site, max_size=None) as quick:
            # Far more than the sockets' buffers hold, while only the quick one reads.
            for number in range(16):
                posts = await database_sync_to_async(make_posts)(30, f"{number} " + "x" * 30_000)
                await database_sync_to_async(judge)(*posts)
                while not (await read_until(quick, "tick"))[-1]["posts"]:
                    pass
        messages = await read_until(socket, "snapshot")
        after = await read_until(socket, "tick")
    missed = 16 - sum(bool(message.get("posts")) for message in messages[:-1])
    assert missed > 0
    assert messages[-1]["view"]["totals"] == {"positive": 16 * 30}
    assert all(message["type"] in {"tick", "model"} for message in after)


async def test_when_the_database_is_away_the_browser_is_told_to_try_again(live_site: str) -> None:
    @database_sync_to_async
    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    await rename("dashboard_sentimentbucket", "elsewhere")
    try:
        async with browser(live_site) as socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await read(socket)
    finally:
        await rename("elsewhere", "dashboard_sentimentbucket")
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
    async with browser(live_site) as socket:
        assert (await read(socket))["type"] == "snapshot"


async def test_who_is_signed_in_may_watch_a_closed_site(live_site: str, settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True

    @database_sync_to_async
    def cookie() -> str:
        client = Client()
        client.force_login(User.objects.create_user("ada"))
        return f"sessionid={client.cookies['sessionid'].value}"

    async with browser(live_site, additional_headers={"Cookie": await cookie()}) as socket:
        assert (await read(socket))["type"] == "snapshot"


def end_session(ada: User) -> None:
    Session.objects.all().delete()


def close_account(ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)


def change_password(ada: User) -> None:
    ada.set_password("another-long-password")
    ada.save()


@pytest.mark.parametrize("ends", [end_session, close_account, change_password])
async def test_an_open_page_ends_with_the_right_to_watch(
    live_site: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ends: Callable[[User], None],
) -> None:
    settings.API_REQUIRE_AUTH = True
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.0)

    @database_sync_to_async
    def signed_in() -> tuple[User, str]:
        user, client = User.objects.create_user("ada"), Client()
        client.force_login(user)
        return user, f"sessionid={client.cookies['sessionid'].value}"

    ada, cookie = await signed_in()
    async with browser(live_site, additional_headers={"Cookie": cookie}) as socket:
        # It has been looked at and goes on.
        for _ in range(2):
            await read_until(socket, "tick")
        await database_sync_to_async(ends)(ada)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            async with asyncio.timeout(30):
                while True:
                    await socket.recv()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == consumers.SIGN_IN
    await asyncio.to_thread(wait_until, lambda: watching() == 0)


async def test_a_page_of_an_open_site_stays_without_a_session(
    live_site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.0)
    async with browser(live_site) as socket:
        for _ in range(3):
            await read_until(socket, "tick")


async def test_a_client_that_names_no_origin_is_refused(live_site: str) -> None:
    with pytest.raises(websockets.InvalidStatus):
        async with browser(live_site, origin=None):
            pass


async def test_a_query_that_means_nothing_still_has_a_snapshot(live_site: str) -> None:
    address = live_site.replace("http", "ws") + f"/ws/live/?range=%ff&stream={'9' * 30}"
    async with websockets.connect(address, origin=websockets.Origin(live_site)) as socket:
        view = (await read(socket))["view"]
    assert (view["range"], view["streams"]) == ("15m", [])


async def test_sequences_of_quiet_ticks_go_on_by_one(live_site: str) -> None:
    async with browser(live_site) as socket:
        snapshot = await read(socket)
        ticks = [(await read_until(socket, "tick"))[-1] for _ in range(3)]
    numbers = [snapshot["sequence"], *(tick["sequence"] for tick in ticks)]
    assert {b - a for a, b in itertools.pairwise(numbers)} == {1}
    assert all(tick["counts"] == tick["posts"] == [] for tick in ticks)
