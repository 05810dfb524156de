"""The ledger of outages: opened, closed and filled."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from ingestion.events import CaughtUp, Connected, Event, Heartbeat
from ingestion.models import Connection, DailyUsage, Gap, Post, Stream
from ingestion.services import gaps, store
from ingestion.sources import Followed, Resume
from ingestion.sources.x import XSource
from tests.conftest import wait_until
from tests.ingestion.factories import incoming, stream
from tests.x_api import SEARCH, XApi
from tests.x_api_refusals import rate_limited, unauthorized

pytestmark = pytest.mark.django_db(transaction=True)
Run = Callable


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=0.2) as api:
        yield api


def source(x: XApi) -> XSource:
    return XSource(x.token, x.url, search_lag_seconds=0, stall_seconds=2)


def texts() -> set[str]:
    return set(Post.objects.values_list("text", flat=True))


def miss(x: XApi, text: str) -> None:
    """A post that no stream delivers: only a search finds it."""
    x.publish(text, at=timezone.now())


@pytest.mark.parametrize("how", ["close", "reset", "cut", "farewell"])
def test_what_was_posted_during_an_outage_comes_back(x: XApi, run: Run, how: str) -> None:
    stream(query="cats")
    with run(source(x)):
        x.wait_for_stream()
        x.publish("cats before")
        wait_until(lambda: Post.objects.exists())
        with x.lock:  # Nobody is let in again before something was missed.
            x.end(how)
            miss(x, "cats missed")
        x.wait_for_stream(connects=2)
        wait_until(lambda: Gap.objects.filter(state=Gap.State.FILLED).exists())
        # Not sooner: the search might find it before the stream's is stored.
        x.publish("cats after")
        wait_until(lambda: Post.objects.count() == 3)
    gap = Gap.objects.earliest("started_at")
    assert texts() == {"cats before", "cats missed", "cats after"}
    assert gap.cause == ("closed" if how in {"close", "farewell"} else "network")
    assert (gap.filled_by, gap.recovered, gap.completeness) == ("recent search", 1, 1.0)
    assert gap.ended_at is not None and gap.started_at < gap.ended_at
    # Search costs as much as the stream, and is counted with it.
    assert DailyUsage.objects.get(stream=None).posts_read == 3


def test_silence_is_an_outage_from_the_last_sign_of_life(x: XApi, run: Run) -> None:
    stream(query="cats")
    with run(source(x)):
        x.wait_for_stream()
        silent_since = timezone.now()
        x.stall()
        x.publish("cats missed")
        wait_until(lambda: texts() == {"cats missed"})
        gap = Gap.objects.get()
    assert gap.cause == "stalled"
    assert abs(gap.started_at - silent_since) < timedelta(seconds=5)
    # Not from when the silence was noticed, which takes two seconds.
    assert gap.ended_at is not None and gap.ended_at - gap.started_at > timedelta(seconds=1.9)


def test_what_was_posted_while_no_process_ran_comes_back(x: XApi, run: Run) -> None:
    stream(query="cats")
    with run(source(x)):
        x.wait_for_stream()
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
    stopped = Gap.objects.get()
    assert (stopped.state, stopped.cause) == (Gap.State.OPEN, gaps.STOPPED)
    x.publish("cats missed")
    with run(source(x)):
        wait_until(lambda: texts() == {"cats missed"})
    assert Gap.objects.get(pk=stopped.pk).state == Gap.State.FILLED


@pytest.mark.parametrize("status", ["stopped", "connected"])
def test_what_a_clock_that_was_ahead_has_noted_loses_nothing(
    x: XApi, run: Run, status: str
) -> None:
    stream(query="cats")
    with run(source(x)):
        x.wait_for_stream()
        x.publish("cats before")
        wait_until(lambda: Post.objects.exists())
    ahead = timezone.now() + timedelta(hours=1)
    Connection.objects.update(status=status, covered_until=ahead)
    if status == "connected":
        # It was killed, and noted nothing.
        Gap.objects.all().delete()
    else:
        Gap.objects.update(started_at=ahead)
    x.publish("cats missed")
    with run(source(x)):
        wait_until(lambda: texts() == {"cats before", "cats missed"})
        wait_until(lambda: Gap.objects.filter(state=Gap.State.FILLED).exists())
        x.publish("cats after")
        wait_until(lambda: "cats after" in texts())
    gap = Gap.objects.earliest("pk")
    assert gap.ended_at is not None and gap.started_at <= gap.ended_at < ahead
    covered = Connection.objects.get().covered_until
    assert covered is not None and covered < ahead


def test_what_was_posted_before_a_clock_that_is_behind_thinks_so_comes_back(x: XApi) -> None:
    stream(query="cats")
    now = timezone.now()
    Stream.objects.update(created_at=now - timedelta(days=1))
    gap = Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=2),
        ended_at=now - timedelta(minutes=1),
        cause="network",
        state=Gap.State.PENDING,
        next_attempt_at=now,
    )
    # Ours was half a minute behind: what came first after the gap was written by then.
    first = incoming(source="x", created_at=now - timedelta(seconds=30))
    store([first])
    Post.objects.update(received_at=now - timedelta(seconds=60))
    x.publish("cats missed", at=now - timedelta(seconds=40))
    assert gaps.fill_gaps(source(x)) == 1
    assert "cats missed" in texts()
    gap.refresh_from_db()
    assert (gap.state, gap.recovered) == (Gap.State.FILLED, 1)


def test_a_long_stop_on_purpose_is_not_filled_at_a_cost_unless_asked(
    x: XApi, run: Run, settings: Settings
) -> None:
    settings.GAP_FILL_AFTER_STOP_MINUTES = 0
    stream(query="cats")
    Connection.objects.create(
        source="x", status="stopped", covered_until=timezone.now() - timedelta(hours=1)
    )
    Stream.objects.update(created_at=timezone.now() - timedelta(days=1))
    x.publish("cats missed", at=timezone.now() - timedelta(minutes=30))
    with run(source(x)):
        wait_until(lambda: Gap.objects.filter(state=Gap.State.LEFT).exists())
        assert x.asked(SEARCH) == []
        gap = Gap.objects.get()
        assert "costs money" in gap.note
        assert gaps.ask_to_fill([gap.pk]) == 1
        wait_until(lambda: texts() == {"cats missed"})


def test_a_process_that_died_leaves_a_gap_for_the_next(x: XApi, run: Run) -> None:
    stream(query="cats")
    since = timezone.now() - timedelta(minutes=5)
    Connection.objects.create(source="x", status="connected", covered_until=since, cursor="42")
    with run(source(x)):
        x.wait_for_stream()
        wait_until(lambda: Gap.objects.exclude(state=Gap.State.OPEN).exists())
    gap = Gap.objects.earliest("started_at")
    assert (gap.cause, gap.started_at, gap.after_id) == ("process", since, "42")


def test_nothing_is_missed_while_nothing_is_followed(x: XApi, run: Run) -> None:
    cats = stream(query="cats")
    with run(source(x)):
        x.wait_for_stream()
        Stream.objects.update(is_active=False)
        wait_until(lambda: Connection.objects.filter(status="idle").exists())
        wait_until(lambda: not x.streams)
        Stream.objects.filter(pk=cats.pk).update(is_active=True)
        x.wait_for_stream(connects=2)
        x.publish("cats")
        wait_until(lambda: Post.objects.exists())
        assert not Gap.objects.exists()


def test_what_only_a_person_can_mend_leaves_an_open_gap_that_says_why(x: XApi, run: Run) -> None:
    stream(query="cats")
    with run(source(x)) as it:
        x.wait_for_stream()
        x.script.append(unauthorized())
        x.end("reset")
        wait_until(lambda: it.error is not None)
    gap = Gap.objects.get()
    assert gap.state == Gap.State.OPEN
    assert Connection.objects.get().status == "failed"
    with run(source(x)):
        x.wait_for_stream(connects=3)
        wait_until(lambda: Gap.objects.filter(pk=gap.pk, state=Gap.State.FILLED).exists())


def test_a_fill_waits_out_the_rate_limit_and_goes_on(x: XApi) -> None:
    cats = stream(query="cats")
    now = timezone.now()
    Stream.objects.update(created_at=now - timedelta(days=1))
    for minute in range(120):
        x.publish(f"cats {minute}", at=now - timedelta(seconds=200 + minute))
    gap = Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=10),
        ended_at=now - timedelta(minutes=1),
        cause="network",
        state=Gap.State.PENDING,
        next_attempt_at=now,
    )
    x.refuse(SEARCH, rate_limited(reset_in=60))
    live = source(x)
    assert gaps.fill_gaps(live) == 1
    gap.refresh_from_db()
    assert (gap.state, gap.attempts) == (Gap.State.FILLING, 0)
    assert gap.next_attempt_at is not None and gap.next_attempt_at > now + timedelta(seconds=50)
    assert gaps.fill_gaps(live) == 0
    Gap.objects.update(next_attempt_at=now)
    assert gaps.fill_gaps(live) == 1
    gap.refresh_from_db()
    assert (gap.state, gap.recovered) == (Gap.State.FILLED, 120)
    assert cats.posts.count() == 120


def test_an_interrupted_fill_goes_on_where_it_was(x: XApi) -> None:
    stream(query="cats")
    now = timezone.now()
    Stream.objects.update(created_at=now - timedelta(days=1))
    for second in range(150):
        x.publish(f"cats {second}", at=now - timedelta(seconds=100 + second))
    gap = Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=10),
        ended_at=now - timedelta(minutes=1),
        cause="network",
        state=Gap.State.PENDING,
        next_attempt_at=now,
    )
    # The second page fails.
    live = source(x)
    events = live.backfill(
        list(Stream.objects.all()),
        gap.started_at,
        gap.ended_at,
        "",  # type: ignore[arg-type]
    )
    filling = gaps._Filling(live, "x", gap, is_paid=True)
    while not gap.progress:
        filling._take(next(events))
    events.close()
    asked = len(x.asked(SEARCH))
    gap.refresh_from_db()
    assert gap.recovered == 100
    Gap.objects.update(state=Gap.State.FILLING, next_attempt_at=now)
    assert gaps.fill_gaps(live) == 1
    gap.refresh_from_db()
    assert (gap.state, gap.recovered, Post.objects.count()) == (Gap.State.FILLED, 150, 150)
    # Only what was not there yet was asked for again.
    assert len(x.asked(SEARCH)) == asked + 1


def test_a_gap_is_filled_by_one_at_a_time(x: XApi) -> None:
    stream(query="cats")
    now = timezone.now()
    gap = Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=10),
        ended_at=now,
        cause="network",
        state=Gap.State.PENDING,
        next_attempt_at=now,
    )
    assert gaps._claim(gap)
    assert not gaps._claim(gap)


def test_a_fill_waits_for_the_budget(x: XApi, settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 3
    cats = stream(query="cats")
    now = timezone.now()
    Stream.objects.update(created_at=now - timedelta(days=1))
    store([incoming(stream_ids=frozenset({cats.pk})) for _ in range(3)])
    x.publish("cats missed", at=now - timedelta(minutes=2))
    Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=10),
        ended_at=now - timedelta(minutes=1),
        cause="network",
        state=Gap.State.PENDING,
        next_attempt_at=now,
    )
    gaps.fill_gaps(source(x))
    gap = Gap.objects.get()
    assert gap.state == Gap.State.FILLING
    assert "budget" in gap.note
    assert x.asked(SEARCH) == []


def test_what_comes_before_lets_expect_how_much_is_missing() -> None:
    now = timezone.now()
    store([incoming(created_at=now - timedelta(minutes=30 + n)) for n in range(20)])
    gaps.open_gap("x", now - timedelta(minutes=20), "network", "reset", "")
    gap = gaps.close_gap(Silent(), now, replays=False)
    assert gap is not None
    # Twenty in the twenty-nine minutes since the first.
    assert gap.expected == pytest.approx(20 * 20 / 29, abs=1)
    assert gap.state == Gap.State.UNRECOVERABLE
    assert gap.completeness == 0.0


class Silent:
    """A source that can neither replay nor be asked for the past, as a third party may write."""

    name = "x"
    is_paid = False

    def follow(self, streams: list[Stream]) -> Followed:
        return Followed()

    def connect(self, resume: Resume) -> Iterator[Event]:
        yield Connected(replays=True)
        yield Heartbeat()
        yield CaughtUp("its own memory", is_complete=False, note="An hour is kept.")

    def disconnect(self) -> None: ...

    def parse(self, message: bytes) -> Iterator[Event]:
        return iter(())


def test_a_replay_keeps_the_gap_open_until_it_is_over() -> None:
    now = timezone.now()
    live = Silent()
    gaps.open_gap("x", now - timedelta(minutes=10), "network", "reset", "")
    gap = gaps.close_gap(live, now, replays=True)
    assert gap is not None and gap.state == Gap.State.OPEN
    store([incoming(created_at=now - timedelta(minutes=5)), incoming(created_at=now)])
    # Lost again in the middle: the same outage goes on.
    again = gaps.open_gap("x", now, "network", "reset", "")
    assert again.pk == gap.pk
    gaps.close_gap(live, now, replays=True)
    gaps.finish_replay(live, CaughtUp("its own memory", is_complete=False, note="An hour."))
    gap.refresh_from_db()
    assert (gap.state, gap.recovered, gap.note) == (Gap.State.PARTIAL, 2, "An hour.")


def test_a_source_is_down_in_one_gap_at_a_time() -> None:
    now = timezone.now()
    first = gaps.open_gap("x", now, "network", "reset", "")
    assert gaps.open_gap("x", now + timedelta(minutes=1), "closed", "closed", "").pk == first.pk
    assert Gap.objects.get().cause == "network"
