"""Budgets of paid sources: counted, forecast, warned of, and kept."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from prometheus_client import REGISTRY
from pytest_django import Settings

from ingestion.models import DailyUsage, MonthlyUsage, Post, Stream
from ingestion.services import spend, store, usage
from ingestion.signals import alert_raised
from ingestion.sources.x import XSource
from tests.conftest import wait_until
from tests.ingestion.factories import incoming, stream
from tests.x_api import XApi

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _database(transactional_db: None) -> None:
    """Alerts leave after the commit."""


@pytest.fixture
def alerts() -> Iterator[list[tuple[str, bool]]]:
    heard: list[tuple[str, bool]] = []

    def listen(kind: str, message: str, active: bool, **kwargs: Any) -> None:
        heard.append((message, active))

    alert_raised.connect(listen)
    yield heard
    alert_raised.disconnect(listen)


def read(of: Stream, posts: int, day: date | None = None) -> None:
    usage.count("x", {None: posts, of.pk: posts}, day=day or NOON.date())


def follow(**fields: Any) -> Stream:
    """A stream that has been there since the month began."""
    made = stream(**fields)
    Stream.objects.filter(pk=made.pk).update(created_at=NOON.replace(day=1))
    return made


def state(of: Stream) -> tuple[bool, int | None]:
    of.refresh_from_db()
    return of.held_at is not None, of.sample_percent


def test_posts_are_counted_with_the_transaction_that_stores_them() -> None:
    cats, dogs = stream(), stream()
    both = incoming(stream_ids=frozenset({cats.pk, dogs.pk}))
    store([both, incoming(stream_ids=frozenset({cats.pk})), incoming()])
    store([both])
    rows = {row.stream_id: row.posts_read for row in DailyUsage.objects.all()}
    assert rows == {None: 3, cats.pk: 2, dogs.pk: 1}
    assert usage.totals([cats.pk, dogs.pk]) == {cats.pk: 2, dogs.pk: 1}


def test_the_month_and_its_forecast() -> None:
    cats = follow()
    with time_machine.travel(NOON, tick=False):
        read(cats, 100, NOON.date())
        read(cats, 200, NOON.date() - timedelta(days=1))
        read(cats, 700, NOON.date() - timedelta(days=9))
        read(cats, 5000, NOON.date() - timedelta(days=30))
        found = usage.usage_of("x")
    of_cats = found[cats.pk]
    assert (of_cats.month, of_cats.today, of_cats.peak) == (1000, 100, 700)
    # 300 posts in a day and a half; ten and a half days are left.
    assert of_cats.daily_rate == pytest.approx(200)
    assert of_cats.forecast(NOON) == 1000 + 2100
    assert of_cats.cost == pytest.approx(5.0)
    assert found[None].month == 1000


def test_without_a_budget_nothing_is_held() -> None:
    cats = follow()
    with time_machine.travel(NOON):
        read(cats, 10**9)
        assert not spend.govern("x")
    assert state(cats) == (False, None)


def test_at_80_percent_people_are_told_once(
    settings: Settings, alerts: list[tuple[str, bool]]
) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    cats = follow()
    with time_machine.travel(NOON):
        read(cats, 790)
        spend.govern("x")
        assert alerts == []
        read(cats, 20)
        spend.govern("x")
        spend.govern("x")
        assert len(alerts) == 1
        assert alerts[0][1] and "810 of 1,000" in alerts[0][0]
    row = MonthlyUsage.objects.get(stream=None)
    assert (row.posts_read, row.budget) == (810, 1000)
    settings.TWITTER_MONTHLY_POST_BUDGET = 100_000
    with time_machine.travel(NOON):
        spend.govern("x")
    assert not alerts[-1][1]


def test_before_the_budget_is_gone_the_dearest_stream_is_held(
    settings: Settings, alerts: list[tuple[str, bool]]
) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 100_000
    dear, cheap = follow(name="dear"), follow(name="cheap")
    with time_machine.travel(NOON):
        read(dear, 95_000)
        read(cheap, 300)
        assert spend.govern("x")
        assert state(dear) == (True, None)
        assert state(cheap) == (False, None)
        assert "dearest" in dear.held_reason
        assert any("“dear” is held" in message for message, _ in alerts)
        # It stays so: a held stream reads nothing, which must not let it out again.
        assert not spend.govern("x")
        with time_machine.travel(NOON + timedelta(days=3)):
            assert not spend.govern("x")
        assert list(Stream.objects.followed()) == [cheap]


def test_a_stream_may_take_a_sample_instead(settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 100_000
    dear, cheap = follow(over_budget="sample"), follow()
    with time_machine.travel(NOON):
        for day in range(1, 20):
            read(dear, 5_000, NOON.date().replace(day=day))
        read(cheap, 30)
        spend.govern("x")
        is_held, percent = state(dear)
        # 5,000 posts are left for ten days and a half.
        assert not is_held and percent is not None and 5 <= percent <= 20
        # Each change of the sample changes the rule: it is left alone while it fits roughly.
        read(cheap, 5)
        assert not spend.govern("x")


def test_when_nearly_nothing_is_left_all_are_held(settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 10_000
    dear, cheap = follow(over_budget="sample"), follow()
    with time_machine.travel(NOON):
        read(dear, 9_960)
        spend.govern("x")
    assert state(dear) == state(cheap) == (True, None)
    assert "used up" in cheap.held_reason


def test_a_new_month_or_a_higher_budget_lets_go(
    settings: Settings, alerts: list[tuple[str, bool]]
) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    cats = follow(name="cats")
    with time_machine.travel(NOON):
        read(cats, 1000)
        spend.govern("x")
        assert state(cats) == (True, None)
        settings.TWITTER_MONTHLY_POST_BUDGET = 5000
        assert spend.govern("x")
        assert state(cats) == (False, None)
        settings.TWITTER_MONTHLY_POST_BUDGET = 1000
        spend.govern("x")
        assert state(cats) == (True, None)
    with time_machine.travel(datetime(2026, 12, 1, 0, 0, 5, tzinfo=UTC)):
        assert spend.govern("x")
        assert state(cats) == (False, None)
    assert not MonthlyUsage.objects.filter(alerted_at__isnull=False).exists()
    assert [active for _, active in alerts][-2:] == [False, False]


def test_a_stream_s_own_budget_holds_it_alone(settings: Settings) -> None:
    own, other = follow(monthly_budget=100), follow()
    with time_machine.travel(NOON):
        read(own, 100)
        read(other, 100)
        spend.govern("x")
    assert state(own) == (True, None)
    assert state(other) == (False, None)


def test_what_x_itself_reports_counts_when_it_is_more(settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    cats = follow()
    with XApi() as x:
        x.posts_read = 1000
        source = XSource(x.token, x.url)
        assert spend.check_usage(source, "x") == 1000
    spend.govern("x")
    assert state(cats) == (True, None)
    assert not spend.may_read("x")


@pytest.mark.parametrize(
    ("reset_day", "reported", "expected"),
    # Ours were 300 in October, 50 at the beginning of November; others read 20 on the account.
    [(1, 70, 70), (25, 370, 70), (10, 20, 70)],
)
def test_a_billing_month_of_x_s_own_is_held_against_the_calendar_s(
    reset_day: int, reported: int, expected: int
) -> None:
    cats = follow()
    read(cats, 300, date(2026, 10, 30))
    read(cats, 50, date(2026, 11, 3))
    with XApi() as x, time_machine.travel(NOON):
        x.cap_reset_day, x.posts_read = reset_day, reported
        assert spend.check_usage(XSource(x.token, x.url), "x") == expected
        assert usage.usage_of("x")[None].used == expected


def test_the_budget_ends_the_stream_before_it_is_gone(settings: Settings, run: Callable) -> None:
    """Every post costs: what is delivered must stay below the budget, by X's own count."""
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    cats = stream(query="cats")
    store([incoming(stream_ids=frozenset({cats.pk})) for _ in range(900)])
    with XApi(keep_alive_seconds=0.2) as x, run(XSource(x.token, x.url)):
        x.wait_for_stream()
        for number in range(200):
            x.publish(f"cats {number}")
            # Near the end one by one: a slow governor is given as much time as it needs.
            ahead = 5 if number < 45 else 1
            stored_by = x.posts_read - ahead + 900
            wait_until(lambda least=stored_by: Post.objects.count() > least or not x.streams)
            if not x.streams:
                break
        assert 40 <= x.posts_read < 100
        assert state(cats) == (True, None)
        # The budget is raised: it goes on by itself.
        settings.TWITTER_MONTHLY_POST_BUDGET = 5000
        x.wait_for_stream(connects=2)


@pytest.mark.parametrize(("budget", "share"), [(1000, 0.25), (0, 0.0)])
def test_the_share_of_the_budget_is_a_metric(settings: Settings, budget: int, share: float) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = budget
    cats = follow()
    with time_machine.travel(NOON):
        read(cats, 250)
        spend.govern("x")
    assert REGISTRY.get_sample_value("sentiment_budget_used_ratio", {"source": "x"}) == share
