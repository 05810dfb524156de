"""Collecting a query's last days: interrupted, gone on with, brought up to date."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from ingestion.exceptions import NeedsAttention, NetworkFault, NotConfigured
from ingestion.models import DailyUsage, Post, RecentSearch
from ingestion.services.search import SearchProgress, search_recent
from tests.conftest import wait_until
from tests.ingestion import factories
from tests.x_api import SEARCH, XApi
from tests.x_api_refusals import Refusal, rate_limited, timed_out, unauthorized

Manage = Callable[..., subprocess.Popen[str]]
State = RecentSearch.State


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi() as api:
        yield api


@pytest.fixture
def here(db: None, x: XApi, settings: Any) -> XApi:
    """The stand-in, where this process looks for X."""
    settings.TWITTER_BEARER_TOKEN = x.token
    settings.TWITTER_API_BASE_URL = x.url
    settings.TWITTER_SEARCH_LAG_SECONDS = 0
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    return x


def ago(**time: float) -> datetime:
    return timezone.now() - timedelta(**time)


def publish(x: XApi, posts: int, word: str = "cats", **time: float) -> list[str]:
    """Posts one second after the other, the last one `time` ago; newest first."""
    last = ago(**(time or {"hours": 1}))
    ids = [
        x.publish(f"{word} {number}", at=last - timedelta(seconds=posts - number))
        for number in range(posts)
    ]
    return ids[::-1]


def stored() -> set[str]:
    return set(Post.objects.values_list("external_id", flat=True))


def test_all_pages_are_stored_and_the_row_says_how_far(here: XApi) -> None:
    ids = publish(here, 250)
    shown: list[SearchProgress] = []
    row = search_recent("cats", progress=shown.append)
    assert stored() == set(ids)
    assert (row.state, row.posts_read, row.saved) == (State.DONE, 250, 250)
    assert (row.newest_id, row.oldest_id) == (ids[0], ids[-1])
    assert [progress.posts_read for progress in shown] == [0, 100, 200, 250]
    assert shown[-1].oldest_at is not None
    assert DailyUsage.objects.get(stream=None).posts_read == 250


def test_a_used_up_budget_ends_it_after_the_page_and_says_so(here: XApi, settings: Any) -> None:
    publish(here, 250)
    settings.TWITTER_MONTHLY_POST_BUDGET = 150
    row = search_recent("cats")
    assert (row.state, row.posts_read) == (State.STOPPED, 200)
    assert "budget" in row.error
    assert search_recent("cats").posts_read == 200
    settings.TWITTER_MONTHLY_POST_BUDGET = 0
    last = search_recent("cats")
    assert (last.pk, last.state, last.posts_read, last.error) == (row.pk, State.DONE, 250, "")


def test_without_hits_it_is_done_all_the_same(here: XApi) -> None:
    row = search_recent("cats")
    assert (row.state, row.posts_read, row.newest_id) == (State.DONE, 0, "")
    ids = publish(here, 3)
    assert search_recent("cats").posts_read == 3
    assert stored() == set(ids)


def test_posts_join_the_stream(here: XApi) -> None:
    cats = factories.stream(name="Cats")
    publish(here, 3)
    row = search_recent("cats", stream="Cats")
    assert row.stream == cats
    assert cats.posts.count() == 3


def test_a_stream_that_is_not_there_is_named(here: XApi) -> None:
    with pytest.raises(NotConfigured, match="'Cats'"):
        search_recent("cats", stream="Cats")
    assert not RecentSearch.objects.exists()


@pytest.mark.parametrize("query", ["", "  ", "x" * 1025])
def test_a_query_that_cannot_be_asked_is_refused(here: XApi, query: str) -> None:
    with pytest.raises(NotConfigured, match="query"):
        search_recent(query)


def test_enough_posts_end_it_after_a_page_and_it_goes_on_later(here: XApi) -> None:
    ids = publish(here, 250)
    first = search_recent("cats", max_posts=120)
    assert (first.state, first.posts_read) == (State.STOPPED, 120)
    assert {query["max_results"] for query in here.asked(SEARCH)} == {"60"}
    here.queries.clear()
    second = search_recent("cats")
    assert second.pk == first.pk
    assert (second.state, second.posts_read, second.saved) == (State.DONE, 250, 250)
    assert here.asked(SEARCH)[0]["until_id"] == ids[119]
    assert stored() == set(ids)
    assert (second.newest_id, second.oldest_id) == (ids[0], ids[-1])


def test_a_stop_ends_it_after_the_page(here: XApi) -> None:
    publish(here, 250)
    stop = threading.Event()

    def show(progress: SearchProgress) -> None:
        if progress.posts_read:
            stop.set()

    row = search_recent("cats", stop=stop, progress=show)
    assert (row.state, row.posts_read) == (State.STOPPED, 100)


def test_posts_of_the_meantime_are_read_after_the_interrupted_search(here: XApi) -> None:
    old = publish(here, 150, hours=2)
    search_recent("cats", max_posts=100)
    new = publish(here, 5, minutes=1)
    search_recent("cats")
    assert stored() == set(old)
    last = search_recent("cats")
    assert (last.state, last.posts_read) == (State.DONE, 5)
    assert stored() == set(old) | set(new)


def test_after_a_finished_search_only_newer_posts_are_read(here: XApi) -> None:
    old = publish(here, 20, hours=2)
    first = search_recent("cats")
    new = publish(here, 5, minutes=1)
    second = search_recent("cats")
    assert second.pk != first.pk
    assert (second.posts_read, second.saved) == (5, 5)
    assert here.asked(SEARCH)[-1]["since_id"] == old[0]
    assert search_recent("cats").posts_read == 0
    newest = publish(here, 1, seconds=1)
    assert search_recent("cats").posts_read == 1
    assert here.asked(SEARCH)[-1]["since_id"] == new[0]
    assert stored() == {*old, *new, *newest}


def test_a_search_for_newer_posts_that_was_interrupted_stays_one(here: XApi) -> None:
    old = publish(here, 20, hours=2)
    search_recent("cats")
    publish(here, 150, minutes=1)
    search_recent("cats", max_posts=100)
    here.queries.clear()
    assert search_recent("cats").posts_read == 150
    [asked] = here.asked(SEARCH)
    assert asked["since_id"] == old[0]
    assert "until_id" in asked


def test_older_posts_than_were_asked_for_are_read_when_wanted(here: XApi) -> None:
    old = publish(here, 5, days=3)
    new = publish(here, 5, hours=1)
    search_recent("cats", start=ago(days=1))
    assert stored() == set(new)
    search_recent("cats", start=ago(days=5))
    assert stored() == {*old, *new}
    # And from now on they count as read, through several searches.
    publish(here, 1, seconds=1)
    assert search_recent("cats", start=ago(days=5)).posts_read == 1
    assert search_recent("cats", start=ago(days=4)).posts_read == 0


def test_a_hole_between_two_searches_is_seen(here: XApi) -> None:
    publish(here, 2, days=5)
    search_recent("cats", end=ago(days=4))
    hole = publish(here, 3, days=3)
    publish(here, 2, hours=1)
    search_recent("cats", start=ago(days=1))
    assert not set(hole) & stored()
    search_recent("cats", start=ago(days=6))
    assert set(hole) <= stored()


def test_a_restart_reads_all_again_and_stores_once(here: XApi) -> None:
    publish(here, 20)
    search_recent("cats")
    row = search_recent("cats", resume=False)
    assert (row.posts_read, row.saved) == (20, 0)
    assert Post.objects.count() == 20


def test_different_streams_have_searches_of_their_own(here: XApi) -> None:
    cats = factories.stream(name="Cats")
    publish(here, 3)
    search_recent("cats")
    assert search_recent("cats", stream="Cats").posts_read == 3
    assert cats.posts.count() == Post.objects.count() == 3


def test_a_used_up_window_is_waited_out_in_words(here: XApi) -> None:
    publish(here, 150)
    here.search_window.limit = 1
    # Longer than the first page takes to be stored.
    here.window_seconds = 8
    shown: list[str] = []
    row = search_recent("cats", progress=lambda progress: shown.append(progress.message))
    assert (row.state, row.posts_read) == (State.DONE, 150)
    assert any("going on in" in message for message in shown)
    # After the wait by ids: no token lives for ever.
    assert "until_id" in here.asked(SEARCH)[-1]


def test_a_stop_ends_a_wait_at_once(here: XApi) -> None:
    here.refuse(SEARCH, rate_limited(600))
    stop = threading.Event()
    began = time.monotonic()
    row = search_recent(
        "cats", stop=stop, progress=lambda shown: stop.set() if shown.message else None
    )
    assert row.state == State.STOPPED
    assert time.monotonic() - began < 60


def test_faults_that_pass_are_waited_out(here: XApi) -> None:
    publish(here, 3)
    here.refuse(SEARCH, timed_out(), timed_out())
    assert search_recent("cats").state == State.DONE


def test_a_fault_that_stays_fails_and_the_next_run_goes_on(here: XApi) -> None:
    ids = publish(here, 150)
    search_recent("cats", max_posts=100)
    here.refuse(SEARCH, *[timed_out()] * 6)
    with pytest.raises(NetworkFault):
        search_recent("cats")
    row = RecentSearch.objects.get()
    assert row.state == State.FAILED
    assert "timed out" in row.error
    assert search_recent("cats").error == ""
    assert stored() == set(ids)


@pytest.mark.parametrize("query", ["-cats", "cats sample:5"])
def test_a_query_that_x_refuses_fails_in_its_words(here: XApi, query: str) -> None:
    with pytest.raises(NeedsAttention, match="errors processing"):
        search_recent(query)
    assert RecentSearch.objects.get().state == State.FAILED


def test_what_lies_beyond_the_reach_is_told(here: XApi) -> None:
    publish(here, 2, days=6)
    row = search_recent("cats", start=ago(days=30))
    assert (row.state, row.posts_read) == (State.DONE, 2)
    assert "7 days" in row.error


def test_a_post_that_cannot_be_read_is_told_and_counted_as_read(here: XApi) -> None:
    page = {"data": [{"id": "1234567890123456789"}], "meta": {"oldest_id": "1234567890123456789"}}
    here.refuse(SEARCH, Refusal(200, page))
    shown: list[str] = []
    row = search_recent("cats", progress=lambda progress: shown.append(progress.message))
    assert (row.posts_read, row.saved) == (1, 0)
    assert "1 posts could not be understood" in shown


def run(manage: Manage, x: XApi, *arguments: str) -> tuple[int, str, str]:
    process = manage("search_recent", *arguments, **x.environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.django_db(transaction=True)
def test_the_command_stores_tells_and_counts_the_cost(manage: Manage, x: XApi) -> None:
    ids = publish(x, 120)
    code, out, err = run(manage, x, "cats", "--json", "--max-posts", "100")
    assert code == 0, err
    assert "100 posts read" in err
    assert (json.loads(out)["state"], json.loads(out)["cost_usd"]) == ("stopped", 0.5)
    code, out, err = run(manage, x, "cats")
    assert code == 0, err
    assert "Finished: 20 posts read, 20 new, about $0.10" in out
    assert stored() == set(ids)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_clean_while_it_waits(
    manage: Manage, x: XApi, kind: signal.Signals
) -> None:
    publish(x, 150)
    x.search_window.limit = 1
    process = manage("search_recent", "cats", "--json", **x.environment)
    assert process.stderr is not None
    assert any("no more calls" in line for line in process.stderr)
    process.send_signal(kind)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["state"] == "stopped"
    assert Post.objects.count() == RecentSearch.objects.get().saved == 100


@pytest.mark.django_db(transaction=True)
def test_a_killed_command_goes_on_after_the_last_stored_page(manage: Manage, x: XApi) -> None:
    ids = publish(x, 150)
    x.search_window.limit = 1
    process = manage("search_recent", "cats", **x.environment)
    wait_until(lambda: len(x.asked(SEARCH)) == 2, 30)
    process.kill()
    process.communicate()
    assert RecentSearch.objects.get().state == State.RUNNING
    x.search_window.limit = 450
    code, out, err = run(manage, x, "cats", "--json")
    assert code == 0, err
    assert json.loads(out)["posts_read"] == 50
    assert stored() == set(ids)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_has_exit_code_1_and_says_what_to_check(manage: Manage, x: XApi) -> None:
    x.refuse(SEARCH, unauthorized())
    code, _, err = run(manage, x, "cats")
    assert code == 1
    assert "TWITTER_BEARER_TOKEN" in err
    assert x.token not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cats", "--days", "0"], "--days"),
        (["cats", "--days", "nan"], "--days"),
        (["cats", "--max-posts", "-1"], "--max-posts"),
        (["cats", "--since", "2999-01-01"], "future"),
        (["cats", "--since", "2020-01-02", "--until", "2020-01-01"], "--until"),
    ],
)
def test_wrong_usage_has_exit_code_2(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says) as caught:
        call_command("search_recent", *arguments)
    assert caught.value.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_without_a_token_the_command_says_which_variable(manage: Manage) -> None:
    process = manage("search_recent", "cats")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "TWITTER_BEARER_TOKEN" in err
