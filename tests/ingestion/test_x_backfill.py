"""What recent search gets back: windows, pages, progress, refusals."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from ingestion.events import CaughtUp, Checkpoint, Event, IncomingPost, Malformed
from ingestion.exceptions import NeedsAttention, RateLimited, Unavailable
from ingestion.models import Stream
from ingestion.sources import Backfills, LooksUp, ReportsUsage, Validates
from ingestion.sources.x import XSource
from ingestion.sources.x_search import Progress, Window, id_at, moment_of
from tests.x_api import SEARCH, XApi
from tests.x_api_refusals import Refusal, not_enrolled, rate_limited, unauthorized, unavailable

NOW = datetime(2026, 11, 24, 15, 0, 0, 123456, UTC)
CATS = Stream(pk=1, name="Cats", query="cats")
DOGS = Stream(pk=2, name="Dogs", query="dogs sample:50", languages=["en"])
TEN_SECONDS = timedelta(seconds=10)


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi() as api:
        yield api


def source(x: XApi) -> XSource:
    return XSource(x.token, x.url, search_lag_seconds=x.search_lag_seconds)


def fill(
    x: XApi, *streams: Stream, hours: float = 1, progress: str = "", until: datetime | None = None
) -> list[Event]:
    end = until or timezone.now()
    return list(source(x).backfill(streams, end - timedelta(hours=hours), end, progress))


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, IncomingPost)]


def ago(**time: float) -> datetime:
    return timezone.now() - timedelta(**time)


def test_the_source_offers_what_the_ledgers_ask_for(x: XApi) -> None:
    live = source(x)
    assert isinstance(live, Backfills)
    assert isinstance(live, LooksUp)
    assert isinstance(live, Validates)
    assert isinstance(live, ReportsUsage)


def test_what_nobody_heard_is_found_newest_first_and_reaches_its_stream(x: XApi) -> None:
    x.publish("cats too early", at=ago(hours=2))
    x.publish("cats one", at=ago(minutes=30), username="ann")
    x.publish("dogs one", at=ago(minutes=20))
    x.publish("cats two", at=ago(minutes=10))
    x.publish("dogs zwei", at=ago(minutes=5), lang="de")
    events = fill(x, CATS, DOGS)
    assert texts(events) == ["cats two", "cats one", "dogs one"]
    posts = [event for event in events if isinstance(event, IncomingPost)]
    assert [set(post.stream_ids) for post in posts] == [{1}, {1}, {2}]
    assert posts[1].author_username == "ann"
    assert events[-1] == CaughtUp(
        "recent search", note="keyword search leaves reposts out, so they may be missing"
    )
    assert [query["query"] for query in x.asked(SEARCH)] == ["cats", "(dogs) lang:en"]


def test_posts_of_the_very_last_moment_are_found(x: XApi) -> None:
    x.publish("cats now")
    assert texts(fill(x, CATS)) == ["cats now"]


def test_what_the_index_does_not_have_yet_is_asked_for_later(x: XApi) -> None:
    x.search_lag_seconds = 10
    began = time.time()
    with pytest.raises(RateLimited) as caught:
        fill(x, CATS)
    assert began + 9 < caught.value.retry_at < time.time() + 13
    assert x.asked(SEARCH) == []
    x.publish("cats then", at=ago(seconds=13))
    assert texts(fill(x, CATS, until=ago(seconds=12))) == ["cats then"]


def test_a_gap_longer_than_the_reach_is_filled_as_far_as_it_goes(x: XApi) -> None:
    x.publish("cats six days ago", at=ago(days=6))
    events = fill(x, CATS, hours=24 * 10)
    assert texts(events) == ["cats six days ago"]
    last = events[-1]
    assert isinstance(last, CaughtUp)
    assert not last.is_complete
    assert "7 days" in last.note


def test_a_gap_beyond_the_reach_asks_for_nothing(x: XApi) -> None:
    last = fill(x, CATS, hours=24, until=ago(days=8))[-1]
    assert isinstance(last, CaughtUp) and not last.is_complete
    assert x.asked(SEARCH) == []


def test_an_interrupted_fill_goes_on_by_ids(x: XApi) -> None:
    for number in range(150):
        x.publish(f"cats {number}", at=ago(minutes=50 - number / 10))
    x.refuse(SEARCH, Refusal(200, {"meta": {"result_count": 0}}))
    events = iter(source(x).backfill([DOGS, CATS], ago(hours=1), timezone.now(), ""))
    first: list[Event] = []
    while len(texts(first)) < 100 or not isinstance(first[-1], Checkpoint):
        first.append(next(events))
    checkpoint = first[-1]
    assert isinstance(checkpoint, Checkpoint)
    assert len(checkpoint.cursor) < 60
    assert json.loads(checkpoint.cursor)["2"] is True
    x.queries.clear()
    rest = fill(x, DOGS, CATS, progress=checkpoint.cursor)
    assert len(texts(rest)) == 50
    assert not set(texts(rest)) & set(texts(first))
    [asked] = x.asked(SEARCH)
    assert asked.keys() & {"since_id", "until_id", "start_time"} == {"since_id", "until_id"}


def test_a_page_follows_the_other_with_the_same_window(x: XApi) -> None:
    for number in range(250):
        x.publish(f"cats {number}", at=ago(minutes=50 - number / 10))
    events = fill(x, CATS)
    assert len(set(texts(events))) == 250
    asked = x.asked(SEARCH)
    assert [query.get("next_token") is not None for query in asked] == [False, True, True]
    assert len({(query["start_time"], query["end_time"]) for query in asked}) == 1
    assert {query["max_results"] for query in asked} == {"100"}


def test_what_one_stream_is_refused_does_not_stop_the_others(x: XApi) -> None:
    x.publish("cats one", at=ago(minutes=30))
    bad = Stream(pk=3, name="Bad", query="-only")
    events = fill(x, bad, CATS)
    assert texts(events) == ["cats one"]
    last = events[-1]
    assert isinstance(last, CaughtUp) and not last.is_complete
    assert "Bad: " in last.note
    assert "non-negation" in last.note
    checkpoint = [event for event in events if isinstance(event, Checkpoint)][-1]
    # Asked again after a break, so that the note is not lost.
    assert json.loads(checkpoint.cursor) == {"1": True}


def test_a_used_up_window_says_when_it_turns(x: XApi) -> None:
    x.refuse(SEARCH, rate_limited(reset_in=90))
    began = time.time()
    with pytest.raises(RateLimited) as caught:
        fill(x, CATS)
    assert began + 88 < caught.value.retry_at < time.time() + 92


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        (unauthorized(), NeedsAttention, "TWITTER_BEARER_TOKEN"),
        (not_enrolled(), NeedsAttention, "recent search"),
        (unavailable(), Unavailable, "trouble"),
        (Refusal(200, "<html>"), Unavailable, "JSON"),
        (Refusal(200, {}), None, ""),
    ],
)
def test_what_is_wrong_with_all_ends_the_fill(
    x: XApi, refusal: Refusal, error: type[Exception] | None, says: str
) -> None:
    x.refuse(SEARCH, refusal)
    if error is None:
        assert isinstance(fill(x, CATS)[-1], CaughtUp)
        return
    with pytest.raises(error, match=says):
        fill(x, CATS)


def test_a_post_that_cannot_be_read_is_told_and_the_page_goes_on(x: XApi) -> None:
    page = {
        "data": [
            {"id": "9", "text": "cats", "created_at": "2026-11-24T15:00:00.000Z"},
            {"id": "8", "text": "cats"},
            "neither",
        ],
        "meta": {"newest_id": "9", "oldest_id": "8"},
    }
    x.refuse(SEARCH, Refusal(200, page))
    events = fill(x, CATS)
    assert texts(events) == ["cats"]
    assert [e.reason for e in events if isinstance(e, Malformed)] == [
        "it has no created_at",
        "not an object",
    ]


def test_an_empty_page_with_a_token_is_no_end(x: XApi) -> None:
    x.publish("cats one", at=ago(minutes=30))
    token = f"t{'z' * 12}"
    x.refuse(SEARCH, Refusal(200, {"meta": {"result_count": 0, "next_token": token}}))
    assert texts(fill(x, CATS)) == ["cats one"]


def test_a_token_that_repeats_itself_ends_the_search(x: XApi) -> None:
    page = {"meta": {"result_count": 0, "next_token": "t1"}}
    x.refuse(SEARCH, *[Refusal(200, page)] * 5)
    assert isinstance(fill(x, CATS)[-1], CaughtUp)
    assert len(x.asked(SEARCH)) == 2


def test_x_s_new_spelling_of_fields_is_learnt_from_its_refusal(x: XApi) -> None:
    x.search_spelling = "post"
    x.publish("cats one", at=ago(minutes=30), note_post={"text": "cats, the whole story"})
    live = source(x)
    for _ in range(2):
        events = list(live.backfill([CATS], ago(hours=1), timezone.now(), ""))
        assert texts(events) == ["cats, the whole story"]
    assert len(x.asked(SEARCH)) == 3
    assert "referenced_posts" in x.asked(SEARCH)[-1]["post.fields"]


def test_plain_reposts_are_not_found(x: XApi) -> None:
    reposted = [{"type": "retweeted", "id": "5"}]
    x.publish("RT @ann: cats", at=ago(minutes=30), referenced_tweets=reposted)
    assert texts(fill(x, CATS)) == []


def test_ids_carry_their_time() -> None:
    moment = datetime(2026, 11, 24, 15, 0, 0, 123000, UTC)
    assert moment_of(str(id_at(moment))) == moment
    assert moment_of(str(id_at(moment) | 0x3FFFFF)) == moment
    assert moment_of("1") == datetime(2010, 11, 4, 1, 42, 54, 657000, UTC)
    assert moment_of("") is moment_of("-1") is moment_of("abc") is moment_of("²") is None


def test_a_window_of_times_is_whole_seconds_outwards() -> None:
    assert Window(NOW, NOW + timedelta(minutes=1)).parameters() == {
        "start_time": "2026-11-24T15:00:00Z",
        "end_time": "2026-11-24T15:01:01Z",
    }


def test_with_an_id_times_become_ids() -> None:
    start, end = NOW, NOW + timedelta(minutes=1)
    assert Window(start, end, until_id=str(id_at(end))).parameters() == {
        "since_id": str(id_at(start) - 1),
        "until_id": str(id_at(end)),
    }
    assert Window(start, end, since_id=str(id_at(start))).parameters() == {
        "since_id": str(id_at(start)),
        "until_id": str(id_at(end + timedelta(milliseconds=1))),
    }


def test_a_window_is_cut_to_what_x_can_search() -> None:
    window = Window(NOW - timedelta(days=9), NOW).within_reach(NOW, TEN_SECONDS)
    assert window.start is not None and NOW - window.start < timedelta(days=7)
    assert window.end == datetime(2026, 11, 24, 14, 59, 50, tzinfo=UTC)
    since = Window(since_id=str(id_at(NOW - timedelta(days=9)))).within_reach(NOW, TEN_SECONDS)
    assert moment_of(since.since_id) > NOW - timedelta(days=7)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("window", "is_empty"),
    [
        (Window(), False),
        (Window(NOW, NOW), True),
        (Window(NOW, NOW + TEN_SECONDS), False),
        (Window(NOW, until_id=str(id_at(NOW + TEN_SECONDS))), False),
        (Window(NOW, until_id=str(id_at(NOW - TEN_SECONDS))), True),
        (Window(since_id="20", until_id="20"), True),
        (Window(since_id="9", until_id="20"), False),
    ],
)
def test_an_empty_window_is_known(window: Window, is_empty: bool) -> None:
    assert window.is_empty == is_empty


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', '{"1": null}', '{"1": {"a": 2}}'])
def test_progress_of_somebody_else_s_begins_anew(text: str) -> None:
    progress = Progress(text)
    assert not progress.is_done(1)
    assert progress.until_id(1) == ""
