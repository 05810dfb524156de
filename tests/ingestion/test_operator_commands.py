"""`streams` and `usage`: what an operator reads in a terminal."""

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings
from pytest_django.fixtures import DjangoAssertNumQueries

from ingestion.models import Connection, Gap, MonthlyUsage
from ingestion.selectors import source_reports
from ingestion.services import store, usage
from tests.ingestion.factories import incoming, stream

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def connection(**fields: Any) -> Connection:
    now = timezone.now()
    values = {
        "source": "x",
        "status": "connected",
        "lease_owner": "me",
        "lease_expires_at": now + timedelta(seconds=10),
        "last_event_at": now,
    }
    return Connection.objects.create(**{**values, **fields})


def test_without_a_source_it_says_what_to_do() -> None:
    assert "manage.py stream" in run("streams")


def test_a_source_and_its_streams_on_lines_of_bounded_width(settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 10
    cats = stream(name="cats " * 15, query="cats OR " * 40)
    stream(name="dear", held_at=timezone.now(), held_reason="It is the dearest.")
    stream(name="bad", last_error="Rules must contain a non-negation term")
    stream(name="rest", is_active=False)
    connection(spilled_bytes=3 << 20, duplicates=7)
    store([incoming(stream_ids=frozenset({cats.pk})) for _ in range(3)])
    out = run("streams")
    assert "connected" in out and "30% of 10" in out and "7 duplicates" in out
    assert "3.0 MiB wait for the database" in out
    for words in ("held", "It is the dearest.", "refused", "non-negation", "paused"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 100


def test_gaps_of_the_day_and_how_much_of_it_is_covered() -> None:
    connection()
    now = timezone.now()
    Gap.objects.create(
        source="x",
        started_at=now - timedelta(hours=6),
        ended_at=now - timedelta(hours=3, minutes=36),
        cause="network",
        state=Gap.State.UNRECOVERABLE,
    )
    (report,) = source_reports(now)
    # 2.4 of 24 hours are missing.
    assert report.completeness == pytest.approx(0.9, abs=0.001)
    assert "1, 0 not filled yet, 90.0% of time covered" in run("streams")


def test_a_source_whose_process_died_is_told_and_exits_1() -> None:
    connection(lease_expires_at=timezone.now() - timedelta(minutes=1))
    with pytest.raises(CommandError, match="not streamed"):
        run("streams")
    (report,) = source_reports()
    assert report.is_failed and "process is gone" in report.words


def test_as_json_it_can_be_read_by_scripts() -> None:
    stream(name="cats")
    (report,) = json.loads(run("streams", "--json"))
    assert report["source"] == "x"
    assert report["streams"][0]["name"] == "cats"


@pytest.mark.parametrize("count", [1, 30])
def test_the_report_costs_as_many_queries_for_many_streams(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    connection()
    for _ in range(count):
        stream()
    with django_assert_num_queries(10):
        source_reports()


def test_a_query_is_tried_on_stored_posts() -> None:
    store([incoming(text="cats are here"), incoming(text="dogs"), incoming(text="no cats")])
    out = run("streams", "--try", "cats -no has:images")
    assert "1 of the newest 3 stored posts match" in out
    assert "Not judged here: has:" in out
    assert "cats are here" in out


def test_a_query_that_means_nothing_is_wrong_usage() -> None:
    with pytest.raises(CommandError) as caught:
        run("streams", "--try", "(cats")
    assert caught.value.returncode == 2


def test_usage_says_what_each_stream_and_day_cost(settings: Settings) -> None:
    settings.TWITTER_POST_PRICE = 0.005
    settings.TWITTER_MONTHLY_POST_BUDGET = 4000
    cats = stream(name="cats")
    today = timezone.now().date()
    usage.count("x", {None: 1000, cats.pk: 800}, day=today)
    out = run("usage", "--days", "1")
    assert "5.00" in out and "4.00" in out and "cats" in out
    assert "1,000 posts of 4,000 (25%), US$ 5.00" in out
    rows = json.loads(run("usage", "--json", "--days", "1"))
    assert {(row["stream"], row["posts"], row["cost"]) for row in rows["days"]} == {
        ("(all streams)", 1000, 5.0),
        ("cats", 800, 4.0),
    }


def test_usage_of_a_free_source_costs_nothing() -> None:
    store([incoming(source="rss")])
    assert json.loads(run("usage", "--json"))["days"][0]["cost"] == 0


@pytest.mark.parametrize("arguments", [("--month", "soon"), ("--days", "0")])
def test_usage_of_no_time_is_wrong_usage(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError) as caught:
        run("usage", *arguments)
    assert caught.value.returncode == 2


def test_usage_of_a_month_without_posts() -> None:
    assert "Nothing was read from 2020-02-01 to 2020-02-29" in run("usage", "--month", "2020-02")


def test_a_past_month_is_told_as_it_was() -> None:
    usage.count("x", {None: 1000}, day=date(2020, 2, 10))
    MonthlyUsage.objects.create(
        source="x",
        month=date(2020, 2, 1),
        budget=2000,
        reported=1200,
        reported_at=datetime(2020, 2, 29, 23, 45, tzinfo=UTC),
    )
    out = run("usage", "--month", "2020-02")
    assert "2020-02: 1,200 posts of 2,000 (60%), US$ 6.00" in out
    assert "X itself counts 1,200 of the account at 2020-02-29T23:45 UTC" in out
    assert "would end" not in out


def test_a_source_that_nobody_streams_yet_is_shown() -> None:
    stream(name="cats")
    assert "not streamed yet" in run("streams")


def test_a_source_that_waits_says_why_and_until_when() -> None:
    at = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
    connection(status="waiting", last_error="X sets connects apart", next_attempt_at=at)
    out = run("streams")
    assert "X sets connects apart" in out and "next attempt at 12:30:00 UTC" in out
    assert json.loads(run("streams", "--json"))[0]["next_attempt_at"] == at.isoformat()


def test_a_query_of_another_source_is_tried_in_its_language() -> None:
    store([incoming(text="#cats eat", source="mastodon"), incoming(text="food", source="mastodon")])
    out = run("streams", "--try", "#cats | eat", "--source", "mastodon")
    assert "1 of the newest 2 stored posts match" in out
