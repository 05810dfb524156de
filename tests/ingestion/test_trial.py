"""Trying a query on stored posts before anybody pays for it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from ingestion.exceptions import BadQuery
from ingestion.services import store, trial
from ingestion.services.trial import try_query
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db


def posts(count: int, **fields: Any) -> None:
    """So many posts, evenly over the last day."""
    step = timedelta(days=1) / count
    now = timezone.now()
    store([incoming(created_at=now - step * (i + 1), **fields) for i in range(count)])


def test_what_cannot_be_judged_is_named_and_taken_to_match() -> None:
    posts(3, text="cats")
    tried = try_query("cats has:images -is:retweet")
    assert (tried.tried, tried.matched) == (3, 3)
    assert tried.unsupported == ["has:", "is:"]


def test_languages_count_with_their_regions() -> None:
    store([incoming(text="cats", lang=lang) for lang in ("en", "en-GB", "de", "")])
    assert try_query("cats", languages=["en"]).matched == 2
    assert try_query("cats", languages=["en", "de"]).matched == 3
    with pytest.raises(BadQuery, match="no language code"):
        try_query("cats", languages=["en OR cats"])


def test_a_rate_is_told_of_the_source_s_own_posts(settings: Settings) -> None:
    settings.TWITTER_POST_PRICE = 0.005
    posts(150, text="cats")
    posts(50, text="dogs")
    posts(40, text="cats", source="bluesky")
    tried = try_query("cats", source="x")
    assert (tried.of, tried.tried, tried.matched) == ("x", 200, 150)
    assert tried.posts_per_day == pytest.approx(150, rel=0.01)
    assert tried.cost_month_usd == pytest.approx(150 * 30 * 0.005, rel=0.01)


def test_of_too_few_posts_no_rate_is_told() -> None:
    posts(5, text="cats")
    posts(20, text="cats", source="bluesky")
    tried = try_query("cats", source="x")
    assert (tried.of, tried.tried, tried.matched) == ("", 25, 25)
    assert tried.posts_per_day is None and tried.cost_month_usd is None


def test_a_free_source_costs_nothing() -> None:
    posts(trial.ENOUGH, text="cats", source="bluesky")
    tried = try_query("cats", source="bluesky")
    assert tried.posts_per_day and tried.cost_month_usd == 0


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("public | food", 2),
        ("public:local", 4),
        ("#cats OR #dogs", 2),
        ("#cats #dogs | food", 1),
    ],
)
def test_a_query_of_mastodon_is_read_as_its_streams_read_it(query: str, matched: int) -> None:
    texts = ("#cats eat food", "#dogs sleep", "food", "weather")
    store([incoming(text=text, source="mastodon") for text in texts])
    assert try_query(query, source="mastodon").matched == matched


@pytest.mark.parametrize("source", ["rss", "file"])
def test_what_takes_all_cannot_be_tried(source: str) -> None:
    with pytest.raises(BadQuery, match="nothing to try"):
        try_query("https://example.org/feed", source=source)


def test_only_current_posts_of_the_last_week_and_no_more_than_the_limit(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Callable
) -> None:
    posts(40, text="cats")
    store([incoming(text="cats", created_at=timezone.now() - timedelta(days=8))])
    with django_assert_num_queries(2):
        tried = try_query("cats", source="x", limit=50)
    assert (tried.tried, len(tried.examples)) == (40, trial.EXAMPLES)
    monkeypatch.setattr(trial, "TRIED", 10)
    assert try_query("cats").tried == 10


def test_without_posts_nothing_is_claimed() -> None:
    tried = try_query("cats", source="x")
    assert (tried.tried, tried.share, tried.posts_per_day) == (0, 0.0, None)
