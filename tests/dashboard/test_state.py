"""What a page says of sources: gaps, connections, budgets, standing alerts."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from dashboard import selectors, state
from dashboard.events import GapEvent, StandingAlert
from dashboard.state import Watch
from ingestion.models import Connection, Gap, MonthlyUsage, Post, Stream
from ingestion.selectors import source_states
from modeling.models import LabelScheme

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def gap(now: datetime, *, minutes: float, length: float | None = 2, **fields: Any) -> Gap:
    """An outage that began so many minutes ago; without a length it goes on."""
    started_at = now - timedelta(minutes=minutes)
    ended_at = None if length is None else started_at + timedelta(minutes=length)
    values = {
        "source": "x",
        "started_at": started_at,
        "ended_at": ended_at,
        "cause": "network",
        "state": Gap.State.OPEN if length is None else Gap.State.PENDING,
    }
    return Gap.objects.create(**{**values, **fields})


def shown(stream: Stream | None = None, range_key: str = "1h") -> list[GapEvent]:
    return state.gaps(selectors.make_view(range_key, [] if stream is None else [stream.pk]))


def alerts(now: datetime) -> list[StandingAlert]:
    return state.standing_alerts(source_states(now), now)


def connection(now: datetime, **fields: Any) -> Connection:
    values = {
        "source": "x",
        "status": Connection.Status.CONNECTED,
        "lease_owner": "me",
        "lease_expires_at": now + timedelta(seconds=10),
        "last_event_at": now,
    }
    return Connection.objects.create(**{**values, **fields})


def test_gaps_of_the_view_are_told_newest_first(scheme: LabelScheme, now: datetime) -> None:
    gap(now, minutes=200)
    older = gap(now, minutes=30, state=Gap.State.PARTIAL, recovered=85, expected=100)
    newer = gap(now, minutes=5, length=None)
    first, second = shown()
    assert (first["id"], first["ended_at"], first["state"]) == (newer.pk, None, "open")
    assert (second["id"], second["completeness"], second["name"]) == (older.pk, 0.85, "X")


def test_a_view_of_one_stream_shows_its_source_s_gaps(scheme: LabelScheme, now: datetime) -> None:
    toots = Stream.objects.create(name="toots", source="mastodon", query="#cats")
    gap(now, minutes=10)
    theirs = gap(now, minutes=10, source="mastodon")
    assert [event["id"] for event in shown(toots)] == [theirs.pk]
    assert len(shown()) == 2


def test_a_reconnection_that_missed_nothing_is_not_worth_a_word(
    scheme: LabelScheme, now: datetime
) -> None:
    gap(now, minutes=10, length=0.005, state=Gap.State.FILLED)
    assert shown() == []


def test_a_source_says_how_it_fares(now: datetime) -> None:
    connection(now, spilled_bytes=5000)
    MonthlyUsage.objects.create(
        source="x", month=now.date().replace(day=1), posts_read=50, budget=100
    )
    Stream.objects.create(name="dear", query="a", held_at=now, held_reason="it is dear")
    Post.objects.create(source="x", external_id="1", text="hi", created_at=now)
    (told,) = state.sources(source_states(now))
    assert (told["words"], told["rate"], told["used"], told["budget"]) == ("connected", 1, 50, 100)
    assert (told["waiting_bytes"], told["held"]) == (5000, ["dear: it is dear"])


def test_a_process_that_is_gone_is_not_connected(now: datetime) -> None:
    connection(now, lease_expires_at=now - timedelta(seconds=30))
    (told,) = state.sources(source_states(now))
    assert told["status"] == "lost"
    assert [alert["key"] for alert in alerts(now)] == ["failed:x"]


def test_what_needs_a_human_is_told_for_as_long_as_it_does(now: datetime) -> None:
    connection(now, status=Connection.Status.WAITING)
    gap(now, minutes=0.5, length=None, detail="reset")
    assert alerts(now) == []
    later = now + timedelta(minutes=2)
    Connection.objects.update(lease_expires_at=later + timedelta(seconds=5))
    (away,) = alerts(later)
    assert away["kind"] == "stream" and "reset" in away["message"]
    Gap.objects.update(state=Gap.State.FILLED, ended_at=now)
    assert alerts(later) == []


def test_an_outage_of_days_is_told_with_its_date(now: datetime) -> None:
    gap(now, minutes=3 * 24 * 60, length=None)
    (away,) = alerts(now)
    assert f" since {now - timedelta(days=3):%-d %b %H:%M} UTC: " in away["message"]


def test_a_stop_on_purpose_alarms_nobody(now: datetime) -> None:
    connection(now, status=Connection.Status.STOPPED, lease_owner="", lease_expires_at=None)
    gap(now, minutes=30, length=None, cause="stopped")
    assert alerts(now) == []


@pytest.mark.parametrize(("read", "warns"), [(79, False), (80, True)])
def test_a_budget_warns_at_80_percent(now: datetime, read: int, warns: bool) -> None:
    MonthlyUsage.objects.create(
        source="x", month=now.date().replace(day=1), posts_read=read, budget=100
    )
    assert bool(alerts(now)) is warns


def test_a_watch_tells_each_change_once(now: datetime) -> None:
    row = connection(now)
    watch = Watch()
    first = watch.look()
    assert first.gaps == [] and first.sources is not None
    assert watch.look().sources is None
    opened = gap(now, minutes=0, length=None)
    assert [event["state"] for event in watch.look().gaps] == ["open"]
    assert watch.look().gaps == []
    Gap.objects.filter(pk=opened.pk).update(state=Gap.State.FILLED, ended_at=now)
    Connection.objects.filter(pk=row.pk).update(status=Connection.Status.WAITING)
    seen = watch.look()
    assert [event["state"] for event in seen.gaps] == ["filled"]
    assert seen.sources is not None and seen.sources[0]["status"] == "waiting"
    # Settled: nobody looks at it any more.
    assert watch.look().gaps == []


def test_the_page_has_gaps_and_sources_before_its_socket(
    client: Client, scheme: LabelScheme, now: datetime
) -> None:
    connection(now)
    gap(now, minutes=1)
    page = client.get("/", {"range": "1h"}, headers={"accept": "text/html"}).content.decode()
    assert '"cause": "network"' in page
    assert 'id="source-list"' in page
