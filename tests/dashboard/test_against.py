"""A view held against another stream, or another time."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.http import QueryDict
from django.test import Client

from dashboard import selectors, summary
from dashboard.selectors import NotComparable, view_of
from dashboard.selectors.comparison import share_difference
from ingestion.models import Stream
from tests.dashboard.factories import judge, judged, make_posts, make_stream, serving_version

NOW = datetime(2026, 3, 1, 12, 7, 41, tzinfo=UTC)
HTML = {"Accept": "text/html"}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


def compared(client: Client, query: str) -> dict[str, Any]:
    answer = client.get(f"/live/compare/?{query}")
    assert answer.status_code == 200, answer.content
    told: dict[str, Any] = answer.json()
    return told


def many(number: int, category: str, **fields: Any) -> None:
    streams = fields.pop("streams", ())
    posts = make_posts(number, **fields)
    for post in posts:
        post.streams.set(streams)
    judge(*posts, category=category)


@pytest.mark.parametrize("range_key", ["15m", "1h", "6h", "24h", "7d", "30d"])
def test_the_period_before_ends_where_the_view_begins(client: Client, range_key: str) -> None:
    view = view_of(QueryDict(f"range={range_key}"))
    second = timedelta(seconds=1)
    judged("in the view", at=view.first)
    judged("before it", at=view.first - second, category="negative")
    length = selectors.RANGES[range_key]
    assert length is not None
    judged("first of the other", at=view.first - length, category="negative")
    judged("too early", at=view.first - length - second, category="neutral")
    told = compared(client, f"range={range_key}&against=before")
    assert told["this"]["counts"] == {"positive": 1} and told["other"]["counts"] == {"negative": 2}
    assert told["other"]["sampled"] == 2
    assert told["other"]["end"] == told["this"]["start"]
    bins = told["bins"]["negative"]
    assert bins[0] == 1 and sum(bins) == 2
    assert told["shift_seconds"] == length.total_seconds()


@pytest.mark.parametrize("range_key", ["1h", "24h", "30d"])
def test_a_period_of_one_s_own_is_as_long_as_the_view_so_far(
    client: Client, range_key: str
) -> None:
    query = f"range={range_key}&against=since&since=2025-12-01T00:00Z"
    told = compared(client, query)
    start = datetime(2025, 12, 1, tzinfo=UTC)
    assert told["other"]["start"] == start.isoformat()
    end = datetime.fromisoformat(told["other"]["end"])
    view = view_of(QueryDict(query))
    assert timedelta(0) <= (view.end - view.first) - (end - start) < timedelta(minutes=1)
    judged("its last", at=end - timedelta(seconds=1))
    judged("after it", at=end, category="negative")
    judged("its first", at=start)
    assert compared(client, query)["other"]["counts"] == {"positive": 2}
    assert compared(client, f"{query}&q=its")["other"]["counts"] == {"positive": 2}


def test_two_streams_are_held_against_each_other(client: Client) -> None:
    one, two = make_stream("one"), make_stream("two")
    many(30, "positive", streams=[one], text="the #sunny weather")
    many(30, "negative", streams=[two], text="a #delayed train")
    told = compared(client, f"range=1h&stream={one.pk}&against={two.pk}")
    assert (told["kind"], told["stream"], told["shift_seconds"]) == ("stream", "two", 0)
    assert told["this"]["counts"] == {"positive": 30}
    assert told["other"]["counts"] == {"negative": 30}
    assert told["net"]["difference"] == 2 and not told["net"]["is_noise"]
    assert told["shares"]["positive"]["difference"] == 1
    assert told["shares"]["neutral"]["is_noise"]
    words = {side: {term["word"] for term in told["words"][side]} for side in ("this", "other")}
    assert "weather" in words["this"] and "train" in words["other"]
    tags = {side: {term["word"] for term in told["hashtags"][side]} for side in ("this", "other")}
    assert tags == {"this": {"#sunny"}, "other": {"#delayed"}}
    assert told["verdict"].startswith("Net sentiment is 2.00 higher than in “two” (95 %: +1.")


def test_a_stream_of_all_time_is_compared_within_the_view_s_time(client: Client) -> None:
    one, two = make_stream("one"), make_stream("two")
    judged(at=ago(days=900), streams=[one])
    judged(at=ago(days=800), streams=[one])
    judged("within", at=ago(days=850), streams=[two])
    judged("before", at=ago(days=999), streams=[two])
    judged("after", streams=[two])
    told = compared(client, f"range=all&stream={one.pk}&against={two.pk}")
    assert told["other"]["total"] == told["other"]["sampled"] == 1


def test_a_small_difference_of_few_posts_is_noise_and_of_many_is_none(client: Client) -> None:
    def told(times: int) -> dict[str, Any]:
        many(6 * times, "positive")
        many(4 * times, "negative")
        many(5 * times, "positive", at=ago(minutes=70))
        many(5 * times, "negative", at=ago(minutes=70))
        return compared(client, "range=1h&against=before")

    few = told(1)
    assert few["net"]["is_noise"] and few["shares"]["positive"]["is_noise"]
    assert "is within noise" in few["verdict"] and "the period before" in few["verdict"]
    lots = told(100)
    assert not lots["net"]["is_noise"] and not lots["shares"]["positive"]["is_noise"]
    share = lots["shares"]["positive"]
    assert share["difference"] == pytest.approx(0.1)
    assert 0.05 < share["low"] < 0.1 < share["high"] < 0.15


def test_the_interval_of_two_shares_is_newcombe_s() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80.
    this, other = {"positive": 56, "negative": 14}, {"positive": 48, "negative": 32}
    told = share_difference(this, other, "positive")
    assert (told["difference"], told["low"], told["high"]) == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=1e-4
    )


def test_without_posts_on_a_side_nothing_is_compared(client: Client) -> None:
    judged("the game #today")
    told = compared(client, "range=1h&against=before")
    assert told["net"] == {
        **dict.fromkeys(("other", "difference", "low", "high")),
        "this": 1,
        "is_noise": True,
    }
    assert told["words"] == {"this": [], "other": []}
    assert "No post in the period before was judged" in told["verdict"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("against=yesterday", "“yesterday” is nothing to compare with"),
        ("against=-1", "is nothing to compare with"),
        (f"against={'9' * 40}", "is nothing to compare with"),
        ("against=4711", "There is no stream 4711"),
        ("against=since", "is no time from which a period could begin"),
        ("against=since&since=2026-13-01", "is no time from which"),
        ("against=since&since=0001-01-01", "is no time from which"),
        ("against=since&since=2026-03-01T11:30Z", "Let it begin at 2026-03-01 10:07 UTC or before"),
        ("against=since&since=2029-01-01", "Let it begin at"),
        ("range=all&against=before", "Choose a shorter time range"),
        ("range=all&against=since&since=2020-01-01", "Choose a shorter time range"),
    ],
)
def test_what_cannot_be_compared_is_said(client: Client, query: str, message: str) -> None:
    judged()
    address = query if "range" in query else f"range=1h&{query}"
    page = client.get(f"/?{address}", headers=HTML)
    assert page.status_code == 200 and message in page.content.decode()
    assert 'id="compare"' not in page.content.decode()
    for path in ("compare/", "bins.csv"):
        answer = client.get(f"/live/{path}?{address}")
        assert answer.status_code == 400 and message in answer.json()["detail"]
    refused = client.get(f"/live/posts/?{address}&at=2026-03-01T12:00Z&side=other")
    assert refused.status_code == 400


def test_a_stream_is_not_compared_with_itself() -> None:
    stream = make_stream()
    query = QueryDict(f"range=1h&stream={stream.pk}&against={stream.pk}")
    with pytest.raises(NotComparable, match="not compared with itself"):
        selectors.against_of(query, view_of(query))


def test_without_a_wish_nothing_is_compared(client: Client) -> None:
    assert client.get("/live/compare/?range=1h").status_code == 400
    assert 'id="compare"' not in client.get("/?range=1h&against=", headers=HTML).content.decode()


def test_the_csv_file_holds_both_sides(client: Client) -> None:
    many(3, "positive")
    many(2, "negative", at=ago(minutes=15))
    answer = client.get("/live/bins.csv?range=15m&against=before")
    rows = list(csv.DictReader(StringIO(answer.content.decode())))
    last = rows[-1]
    assert (last["start"], last["other_start"]) == (
        "2026-03-01T12:07:00+00:00",
        "2026-03-01T11:52:00+00:00",
    )
    assert (last["positive"], last["other_negative"], last["other_total"]) == ("3", "0", "0")
    assert last["net_difference"] == last["other_net_sentiment"] == ""
    plain = client.get("/live/bins.csv?range=15m").content.decode()
    assert "other" not in plain


def test_the_other_side_s_bins_open_their_posts(client: Client) -> None:
    judged("here")
    judged("an hour ago", at=ago(minutes=65))
    at = (NOW - timedelta(minutes=65)).replace(second=0).isoformat().replace("+00:00", "Z")
    address = f"/live/posts/?range=1h&against=before&at={at}"
    assert client.get(address).json()["posts"] == []
    told = client.get(f"{address}&side=other").json()["posts"]
    assert [post["text"] for post in told] == ["an hour ago"]
    assert client.get(f"/live/posts/?range=1h&at={at}&side=other").status_code == 400


@pytest.mark.parametrize(
    "query", ["against=before", "against=since&since=2025-12-01T07:31Z", "against={stream}"]
)
@pytest.mark.parametrize("range_key", ["1h", "30d"])
def test_a_comparison_asks_few_queries_however_many_posts(
    client: Client, django_assert_max_num_queries: Callable, query: str, range_key: str
) -> None:
    streams = [make_stream(str(number)) for number in range(9)]
    for minutes in range(0, 400, 10):
        judged("the #game", lang="en", streams=streams[:3], at=ago(minutes=minutes))
    wanted = f"range={range_key}&stream={streams[0].pk}&lang=en&q=game&" + query.format(
        stream=streams[1].pk
    )
    with django_assert_max_num_queries(12):
        assert client.get(f"/?{wanted}", headers=HTML).status_code == 200
    for path, most in (("compare/", 10), ("bins.csv", 9)):
        with django_assert_max_num_queries(most):
            assert client.get(f"/live/{path}?{wanted}").status_code == 200


def test_the_page_s_form_says_what_is_compared(client: Client) -> None:
    stream = make_stream("trains & buses")
    html = client.get(f"/?range=1h&against={stream.pk}", headers=HTML).content.decode()
    assert f'name="against" value="{stream.pk}" checked' in html
    html = client.get("/?range=1h&against=since&since=%22x", headers=HTML).content.decode()
    assert 'value="since" checked' in html and 'data-at="&quot;x"' in html


def test_the_verdict_names_a_lower_side_too() -> None:
    serving_version()
    stream = Stream(name="b")
    apart = {"this": 0.1, "other": 0.4, "difference": -0.3, "low": -0.4, "high": -0.2}
    told: Any = {"kind": "stream", "stream": stream.name, "net": {**apart, "is_noise": False}}
    assert summary.verdict(told) == (
        "Net sentiment is 0.30 lower than in “b” (95 %: −0.40 to −0.20)."
    )
