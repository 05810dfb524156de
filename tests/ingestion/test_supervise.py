"""Streams that beat keeps alive in a worker's process."""

from collections.abc import Iterator

import pytest
from django.utils import timezone
from pytest_django import Settings

from ingestion.models import Connection, MonthlyUsage, Post
from ingestion.services import ensure_streams, stop_streams
from tests.conftest import wait_until
from tests.ingestion.factories import stream
from tests.x_api import XApi
from tests.x_api_refusals import unauthorized

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def x(settings: Settings) -> Iterator[XApi]:
    with XApi(keep_alive_seconds=1.0) as api:
        settings.TWITTER_API_BASE_URL = api.url
        settings.TWITTER_BEARER_TOKEN = api.token
        yield api
        stop_streams()


def test_a_source_with_active_streams_is_streamed_once(x: XApi) -> None:
    stream(query="cats")
    assert ensure_streams() == ["x"]
    assert ensure_streams() == []
    x.wait_for_stream()
    x.publish("cats")
    wait_until(lambda: Post.objects.exists())
    stop_streams()
    row = Connection.objects.get()
    assert (row.status, row.lease_owner, row.saved) == ("stopped", "", 1)
    assert MonthlyUsage.objects.get(stream=None).posts_read == 1


def test_without_a_token_nothing_happens(x: XApi, settings: Settings) -> None:
    settings.TWITTER_BEARER_TOKEN = ""
    stream(query="cats")
    assert ensure_streams() == []
    assert not Connection.objects.exists()


def test_without_an_active_stream_nothing_happens(x: XApi) -> None:
    stream(query="cats", is_active=False)
    assert ensure_streams() == []


def test_what_only_a_person_can_mend_is_not_hammered(x: XApi) -> None:
    cats = stream(query="cats")
    x.script.append(unauthorized())
    ensure_streams()
    wait_until(lambda: Connection.objects.filter(status="failed", lease_owner="").exists())
    stop_streams()
    assert ensure_streams() == []
    # Whoever edits a stream expects something to happen.
    cats.save()
    assert ensure_streams() == ["x"]


def test_a_stream_that_x_refused_is_followed_soon_after_it_is_corrected(x: XApi) -> None:
    bad = stream(query="-nothing")
    ensure_streams()
    wait_until(lambda: Connection.objects.filter(status="waiting").exists())
    bad.query = "cats"
    bad.save()
    x.wait_for_stream(connects=2)


def test_streams_that_the_budget_held_are_let_go_when_the_month_turns(
    x: XApi, settings: Settings
) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 1000
    stream(query="cats", held_at=timezone.now(), held_reason="used up last month")
    assert ensure_streams() == ["x"]
    x.wait_for_stream()
