"""Which posts a view holds, and how its chart is cut into bins."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import time_machine

from dashboard import presenters, selectors
from dashboard.selectors import RANGES, View, make_view
from tests.dashboard.factories import judge, judged, make_post, make_posts, make_stream

NOW = datetime(2026, 3, 1, 12, 7, 41, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


def charted(view: View) -> dict[str, int]:
    counts = selectors.timeline(view)["counts"]
    return {key: sum(values) for key, values in counts.items() if any(values)}


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([], "15m"),
        ([5], "15m"),
        ([40, 1], "1h"),
        ([60 * 24 * 400, 1], "1h"),
        ([50], "1h"),
        ([61], "all"),
        ([60 * 24 * 400], "all"),
    ],
)
def test_without_a_wish_the_view_holds_the_newest_posts(ages: list[int], expected: str) -> None:
    for minutes in ages:
        judged(at=ago(minutes=minutes))
    view = make_view()
    assert view.range_key == expected
    assert bool(selectors.totals(view)) == bool(ages)


@pytest.mark.parametrize(
    ("range_key", "width"),
    [("15m", 60), ("1h", 60), ("6h", 300), ("24h", 3600), ("7d", 10800), ("30d", 86400)],
)
def test_bins_are_even_and_reach_to_now(range_key: str, width: int) -> None:
    bins = [
        datetime.fromisoformat(text) for text in selectors.timeline(make_view(range_key))["bins"]
    ]
    assert {(b - a).total_seconds() for a, b in pairwise(bins)} == {width}
    assert bins[-1] <= NOW < bins[-1] + timedelta(seconds=width)
    length = RANGES[range_key]
    assert length is not None and bins[0] <= NOW - length
    assert bins[0].timestamp() % width == 0


@pytest.mark.parametrize("range_key", list(RANGES))
def test_the_chart_s_bars_add_up_to_the_totals(range_key: str) -> None:
    for number in range(60):
        minutes = 1.37**number / 1000
        if minutes < 60 * 24 * 365 * 8:
            judged(at=ago(minutes=minutes), category=("negative", "positive")[number % 2])
    view = make_view(range_key)
    assert charted(view) == selectors.totals(view)
    assert sum(charted(view).values()) > 10


def test_a_post_just_before_the_first_bin_is_left_out_everywhere() -> None:
    view = make_view("6h")
    judged("the game out today", at=view.first - timedelta(seconds=1))
    judged("the game in today", at=view.first)
    assert selectors.totals(view) == charted(view) == {"positive": 1}
    assert [post["text"] for post in selectors.newest_posts(view)] == ["the game in today"]


@pytest.mark.parametrize("days", [0.01, 1, 30, 200, 2000])
def test_whatever_the_span_the_chart_has_few_bins_and_every_post(days: float) -> None:
    judge(make_post(at=ago(days=days)), make_post(at=ago(days=days / 2)), make_post(at=NOW))
    view = make_view("all")
    assert len(selectors.timeline(view)["bins"]) <= selectors.MAXIMUM_BINS + 2
    assert charted(view) == {"positive": 3}


def test_old_posts_fill_the_chart_to_its_right_edge() -> None:
    judge(make_post(at=datetime(2015, 2, 17, tzinfo=UTC)))
    judge(make_post(at=datetime(2015, 2, 24, tzinfo=UTC)))
    series = selectors.timeline(make_view())
    assert series["bins"][0].startswith("2015-02-17") and series["bins"][-1].startswith("2015-02")
    assert series["counts"]["positive"][0] == series["counts"]["positive"][-1] == 1


def test_a_view_of_a_stream_looks_at_that_stream_s_times() -> None:
    quiet = make_stream("quiet")
    judged(at=NOW)
    judged(at=datetime(2015, 2, 24, tzinfo=UTC), streams=[quiet])
    view = make_view(None, [quiet.pk])
    assert (view.range_key, selectors.totals(view)) == ("all", {"positive": 1})


def test_a_stream_that_is_not_there_holds_nothing() -> None:
    judged()
    view = make_view("all", [4711])
    assert selectors.totals(view) == {} and selectors.newest_posts(view) == []
    assert presenters.present(view)["headline"] == "Waiting for the first posts."


def test_newest_posts_are_bounded_and_newest_first() -> None:
    posts = make_posts(selectors.NEWEST + 5, at=NOW)
    judge(*posts)
    ids = [post["id"] for post in selectors.newest_posts(make_view("15m"))]
    assert ids == [post.pk for post in reversed(posts[5:])]


def test_net_sentiment_is_the_mean_polarity() -> None:
    categories = selectors.categories()
    assert selectors.net_sentiment({"positive": 3, "neutral": 4, "negative": 1}, categories) == 0.25
    assert selectors.net_sentiment({"unknown": 3}, categories) is None
    assert selectors.net_sentiment({}, categories) is None


def test_rate_counts_the_last_minute_and_lag_is_its_mean() -> None:
    early = make_post(received_at=ago(seconds=40))
    late = make_post(received_at=ago(seconds=30))
    old = make_post()
    judge(early, created_at=ago(seconds=39))
    judge(late, created_at=ago(seconds=27))
    judge(old, created_at=ago(seconds=61))
    assert selectors.rate() == (2, 2.0)


def test_without_recent_judgements_there_is_no_lag() -> None:
    assert selectors.rate() == (0, None)


def test_words_that_set_a_sentiment_apart_are_found_within_the_view() -> None:
    for number in range(6):
        judged(f"the luggage is lost again {number}", category="negative")
        judged(f"the concert was a joy {number}", category="positive")
        judged(f"ancient dinosaurs {number}", category="negative", at=ago(days=3))
    terms = selectors.distinctive_terms(make_view("1h"))
    words = {key: {term["word"] for term in found} for key, found in terms.items()}
    assert "luggage" in words["negative"] and "concert" in words["positive"]
    assert "dinosaurs" not in words["negative"] and "luggage" not in words["positive"]
    strengths = [term["z"] for term in terms["negative"]]
    assert strengths == sorted(strengths, reverse=True)
    assert {term["count"] for term in terms["negative"]} == {6}
