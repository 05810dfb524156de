"""What is paid for: counted once a day for each post, and kept within every budget."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings
from time_machine import Traveller

from ingestion.models import DailyUsage, Gap, Post, RecentSearch, Stream
from ingestion.selectors import source_states
from ingestion.services import gaps, spend, store, usage
from ingestion.services.deletions import look_up_deletions
from ingestion.services.importing import ImportSummary, import_file
from ingestion.services.search import search_recent
from ingestion.sources.files import PostFile
from ingestion.sources.x import XSource
from tests.ingestion.factories import incoming, stream
from tests.x_api import SEARCH, XApi
from tests.x_api_refusals import Refusal

pytestmark = pytest.mark.django_db(transaction=True)
State = RecentSearch.State
LOOK_UP = "/2/tweets"


@pytest.fixture(autouse=True)
def noon() -> Iterator[Traveller]:
    """In the middle of a day and of a month, from where tests travel."""
    with time_machine.travel(datetime(2026, 11, 18, 12, tzinfo=UTC), tick=False) as clock:
        yield clock


@pytest.fixture
def x(settings: Settings) -> Iterator[XApi]:
    """The stand-in, where this process looks for X."""
    with XApi() as api:
        settings.TWITTER_BEARER_TOKEN = api.token
        settings.TWITTER_API_BASE_URL = api.url
        settings.TWITTER_SEARCH_LAG_SECONDS = 0
        settings.TWITTER_MONTHLY_POST_BUDGET = 0
        yield api


def live(x: XApi) -> XSource:
    return XSource(x.token, x.url, search_lag_seconds=0)


def ago(**time: float) -> datetime:
    return timezone.now() - timedelta(**time)


def publish(x: XApi, posts: int, word: str = "cats", **time: float) -> list[str]:
    """Posts one second after the other, the last one `time` ago; oldest first."""
    last = ago(**(time or {"hours": 1}))
    return [
        x.publish(f"{word} {number}", at=last - timedelta(seconds=posts - number))
        for number in range(posts)
    ]


def import_posts_of_x(path: Path, ids: Sequence[str], to: Stream | None = None) -> None:
    path.write_text(
        "\n".join(
            json.dumps(
                {"data": {"id": key, "text": "old", "created_at": "2026-01-01T00:00:00.000Z"}}
            )
            for key in ids
        )
    )
    summary = ImportSummary()
    file = PostFile(path) if to is None else PostFile(path, stream_ids=frozenset({to.pk}))
    for _ in import_file(file, summary):
        pass
    assert summary.saved == Post.objects.filter(source="x").count() == len(ids)


def read(source: str = "x") -> dict[int | None, int]:
    """Posts that counted as read of each stream, and under None of all."""
    rows = DailyUsage.objects.filter(source=source)
    found: dict[int | None, int] = {}
    for row in rows:
        found[row.stream_id] = found.get(row.stream_id, 0) + row.posts_read + row.looked_up
    return found


def follow(**fields: Any) -> Stream:
    made = stream(**fields)
    Stream.objects.filter(pk=made.pk).update(created_at=ago(days=10))
    return made


def gap(**fields: Any) -> Gap:
    values = {"started_at": ago(hours=5), "ended_at": ago(minutes=5), "state": Gap.State.PENDING}
    return Gap.objects.create(
        **{"source": "x", "cause": "network", "next_attempt_at": ago(minutes=1), **values, **fields}
    )


def look_ups(x: XApi) -> list[int]:
    return [len(query["ids"].split(",")) for query in x.asked(LOOK_UP)]


# --- imports


def test_an_import_of_x_s_posts_holds_no_stream(tmp_path: Path, settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    cats = follow(query="cats")
    import_posts_of_x(tmp_path / "x.jsonl", [str(10**18 + n) for n in range(1500)], cats)
    whole = usage.usage_of("x")[None]
    assert (whole.month, whole.per_minute) == (0, 0)
    rates = {state.connection.source: state.posts_a_minute for state in source_states()}
    assert rates["x"] == 0
    assert spend.may_read("x")
    assert not spend.govern("x")
    cats.refresh_from_db()
    assert cats.held_at is None
    # They were read all the same: from files.
    assert read("file") == {None: 1500, cats.pk: 1500}
    assert usage.usage_of("x")[cats.pk].month == 0


def test_imported_posts_are_looked_up_within_the_allowance_alone(
    x: XApi, tmp_path: Path, settings: Settings
) -> None:
    settings.TWITTER_DELETION_CHECKS_PER_DAY = 150
    import_posts_of_x(tmp_path / "x.jsonl", publish(x, 300))
    with time_machine.travel(timezone.now() + timedelta(hours=2), tick=False):
        for _ in range(4):
            look_up_deletions(live(x))
        assert look_ups(x) == [100, 50]
        assert read() == {None: 150}


def test_of_a_day_only_what_x_delivered_is_looked_up_for_nothing(
    x: XApi, tmp_path: Path, settings: Settings
) -> None:
    settings.TWITTER_DELETION_CHECKS_PER_DAY = 0
    import_posts_of_x(tmp_path / "x.jsonl", publish(x, 20))
    publish(x, 3, "dogs")
    search_recent("dogs")
    with time_machine.travel(timezone.now() + timedelta(hours=2), tick=False):
        look_up_deletions(live(x))
    assert look_ups(x) == [3]
    assert read() == {None: 3}


def test_an_imported_post_that_x_delivers_later_is_paid_for(x: XApi, tmp_path: Path) -> None:
    import_posts_of_x(tmp_path / "x.jsonl", publish(x, 20))
    assert read() == {}
    search_recent("cats")
    assert read() == {None: 20}


# --- posts that are read again


def test_a_post_counts_once_on_each_day_on_which_it_is_read(
    noon: Traveller,
) -> None:
    cats, dogs = follow(), follow()
    posts = [incoming(stream_ids=frozenset({cats.pk})) for _ in range(3)]
    assert store(posts).counted == 3
    assert store(posts).counted == 0
    noon.shift(timedelta(days=1))
    again = store([*posts, posts[0], incoming(stream_ids=frozenset({dogs.pk}))])
    assert (again.counted, len(again.post_ids)) == (4, 1)
    assert store(posts).counted == 0
    assert read() == {None: 7, cats.pk: 6, dogs.pk: 1}
    days = DailyUsage.objects.filter(stream=None).order_by("day")
    assert list(days.values_list("posts_read", flat=True)) == [3, 4]


def test_what_waited_to_be_stored_counts_by_the_day_on_which_it_came(
    noon: Traveller,
) -> None:
    came = timezone.now()
    post = incoming(received_at=came)
    store([post])
    noon.shift(timedelta(days=1))
    # After a crash the buffer may hand it over once more.
    assert store([post]).counted == 0
    assert read() == {None: 1}


def test_free_sources_count_a_post_once(noon: Traveller) -> None:
    post = incoming(source="bluesky")
    store([post])
    noon.shift(timedelta(days=1))
    store([post])
    assert read("bluesky") == {None: 1}


def test_the_search_s_cost_and_the_usage_agree(
    x: XApi, noon: Traveller, settings: Settings
) -> None:
    settings.TWITTER_POST_PRICE = 0.005
    publish(x, 120)
    assert summary("cats") == (120, 0.6)
    # Within a day X bills a post once.
    assert summary("cats", "--restart") == (120, 0.0)
    assert read() == {None: 120}
    noon.shift(timedelta(days=1))
    assert summary("cats", "--restart") == (120, 0.6)
    assert read() == {None: 240}
    assert x.posts_read == 360


def summary(*arguments: str) -> tuple[int, float]:
    out = StringIO()
    call_command("search_recent", *arguments, "--json", stdout=out, stderr=StringIO())
    said = json.loads(out.getvalue())
    return said["posts_read"], said["cost_usd"]


def test_a_filled_gap_counts_what_was_known_since_yesterday(x: XApi, noon: Traveller) -> None:
    cats = follow(query="cats")
    publish(x, 10)
    search_recent("cats", stream=cats.name)
    noon.shift(timedelta(days=1))
    missed = gap(started_at=ago(days=1, hours=3))
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert (missed.state, missed.recovered) == (Gap.State.FILLED, 0)
    assert read() == {None: 20, cats.pk: 20}


# --- a stream's own budget


def test_a_fill_keeps_to_a_stream_s_own_budget_and_goes_on_with_the_others(x: XApi) -> None:
    small = follow(name="a small one", query="cats", monthly_budget=200)
    other = follow(name="other", query="dogs")
    publish(x, 1000, "cats")
    dogs = publish(x, 150, "dogs")
    missed = gap()
    assert gaps.fill_gaps(live(x)) == 1
    missed.refresh_from_db()
    assert missed.state == Gap.State.PARTIAL
    assert "a small one is not asked for: its budget of 200 posts" in missed.note
    assert "other" not in missed.note
    assert read() == {None: 350, small.pk: 200, other.pk: 150}
    assert other.posts.count() == len(dogs)
    # With a higher budget the rest is filled on request.
    Stream.objects.filter(pk=small.pk).update(monthly_budget=0)
    gaps.ask_to_fill([missed.pk])
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert (missed.state, missed.recovered) == (Gap.State.FILLED, 1150)
    assert x.posts_read == 1150


def test_a_stream_that_is_used_up_is_not_asked_for(x: XApi) -> None:
    small = follow(name="small", query="cats", monthly_budget=10)
    usage.count("x", {None: 10, small.pk: 10})
    publish(x, 3)
    missed = gap()
    # The governor has held it since the outage began.
    spend.govern("x")
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert missed.state == Gap.State.UNRECOVERABLE
    assert "small is not asked for: its budget of 10 posts" in missed.note
    assert x.asked(SEARCH) == []


def test_a_stream_that_was_held_all_the_time_misses_nothing(x: XApi) -> None:
    small = follow(name="small", query="cats", monthly_budget=10)
    follow(name="other", query="dogs")
    usage.count("x", {None: 10, small.pk: 10})
    Stream.objects.filter(pk=small.pk).update(held_at=ago(days=1))
    publish(x, 3, "dogs")
    missed = gap()
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert (missed.state, missed.recovered) == (Gap.State.FILLED, 3)
    assert "small" not in missed.note


def test_when_all_streams_are_held_a_gap_waits_for_the_account_s_budget(
    x: XApi, settings: Settings
) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 100
    follow(query="cats")
    usage.count("x", {None: 100})
    missed = gap()
    spend.govern("x")
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert missed.state == Gap.State.FILLING
    assert "budget" in missed.note
    settings.TWITTER_MONTHLY_POST_BUDGET = 0
    publish(x, 3)
    Gap.objects.update(next_attempt_at=ago(seconds=1))
    gaps.fill_gaps(live(x))
    missed.refresh_from_db()
    assert (missed.state, missed.recovered) == (Gap.State.FILLED, 3)


def test_a_search_for_a_stream_keeps_to_its_budget_and_says_so(x: XApi) -> None:
    cats = follow(name="Cats", monthly_budget=150)
    publish(x, 400)
    row = search_recent("cats", stream="Cats")
    assert (row.state, row.posts_read) == (State.STOPPED, 200)
    assert row.error.startswith("Stream Cats may read no more, its budget of 150 posts this month")
    assert search_recent("cats", stream="Cats").posts_read == 200
    Stream.objects.filter(pk=cats.pk).update(monthly_budget=1000)
    last = search_recent("cats", stream="Cats")
    assert (last.pk, last.state, last.posts_read) == (row.pk, State.DONE, 400)


# --- which search goes on


def test_an_interrupted_search_of_another_time_is_not_taken_for_this_one(x: XApi) -> None:
    old = publish(x, 5, days=5)
    new = publish(x, 120, hours=2)
    first = search_recent("cats", start=ago(days=1), max_posts=10)
    assert first.state == State.STOPPED
    second = search_recent("cats", start=ago(days=6))
    assert second.pk != first.pk
    assert (second.state, second.posts_read) == (State.DONE, 125)
    assert f"search {first.pk}, of another time, stays where it stopped" in second.error
    assert Post.objects.count() == len(old) + len(new)
    first.refresh_from_db()
    assert (first.state, first.error) == (State.STOPPED, "Left for a search of another time")
    # What is known by now is not read again.
    assert search_recent("cats", start=ago(days=6)).posts_read == 0


def test_a_narrower_time_is_not_answered_with_the_whole_week(x: XApi) -> None:
    publish(x, 200, days=3)
    publish(x, 20, hours=2)
    search_recent("cats", max_posts=10)
    row = search_recent("cats", start=ago(hours=12))
    assert (row.state, row.posts_read) == (State.DONE, 20)


@pytest.mark.parametrize("end", [None, timedelta(minutes=30)])
def test_the_same_time_or_none_goes_on(x: XApi, end: timedelta | None) -> None:
    publish(x, 120, hours=2)
    start, until = ago(days=1), None if end is None else timezone.now() - end
    first = search_recent("cats", start=start, end=until, max_posts=10)
    second = search_recent("cats", start=start, end=until, max_posts=10)
    third = search_recent("cats")
    assert first.pk == second.pk == third.pk
    assert (third.state, third.posts_read, third.error) == (State.DONE, 120, "")
    assert Post.objects.count() == 120


def test_the_last_days_stay_the_same_ones_however_late_it_goes_on(x: XApi, noon: Traveller) -> None:
    publish(x, 120, hours=2)
    first = search_recent("cats", last=timedelta(days=2), max_posts=10)
    noon.shift(timedelta(hours=5))
    assert search_recent("cats", last=timedelta(days=2)).pk == first.pk
    assert Post.objects.count() == 120
    # And of what came since, after a search that was finished.
    publish(x, 120, hours=1)
    newer = search_recent("cats", last=timedelta(days=2), max_posts=10)
    noon.shift(timedelta(hours=1))
    last = search_recent("cats", last=timedelta(days=2))
    assert (last.pk, last.posts_read, last.state) == (newer.pk, 120, State.DONE)
    publish(x, 20, seconds=1)
    stopped = search_recent("cats", max_posts=10)
    assert search_recent("cats", last=timedelta(days=1, hours=12)).pk == stopped.pk
    assert x.posts_read == 260


def test_what_stopped_beyond_the_reach_is_closed_and_a_new_search_begun(
    x: XApi, noon: Traveller
) -> None:
    publish(x, 120, hours=2)
    first = search_recent("cats", max_posts=10)
    noon.shift(timedelta(days=30))
    new = publish(x, 5, hours=1)
    second = search_recent("cats")
    first.refresh_from_db()
    assert first.state == State.DONE
    assert "7 days" in first.error
    assert second.pk != first.pk
    assert f"the rest of search {first.pk} is older" in second.error
    assert (second.state, second.posts_read) == (State.DONE, len(new))


def test_a_post_that_cannot_be_read_is_paid_for_too(x: XApi, settings: Settings) -> None:
    settings.TWITTER_POST_PRICE = 0.005
    page = {"data": [{"id": "1234567890123456789"}], "meta": {"oldest_id": "1234567890123456789"}}
    x.refuse(SEARCH, Refusal(200, page))
    assert summary("cats") == (1, 0.005)
    assert read() == {None: 1}
