"""Asking X whether stored posts still stand."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from ingestion.models import DailyUsage, Post
from ingestion.services import store
from ingestion.services.deletions import look_up_deletions
from ingestion.sources.x import XSource
from tests.ingestion.factories import incoming
from tests.x_api import XApi

pytestmark = pytest.mark.django_db(transaction=True)
LOOK_UP = "/2/tweets"


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi() as api:
        yield api


@pytest.fixture
def noon(time_machine_noon: None) -> None:
    """Neither just after midnight nor just before."""


@pytest.fixture
def time_machine_noon() -> Iterator[None]:
    import time_machine

    now = timezone.now().replace(hour=12, minute=0)
    with time_machine.travel(now, tick=True):
        yield


def published(x: XApi, number: int, *, hours_ago: float) -> list[str]:
    moment = timezone.now() - timedelta(hours=hours_ago)
    ids = [x.publish(f"cats {n}", at=moment) for n in range(number)]
    store([incoming(external_id=key, created_at=moment, received_at=moment) for key in ids])
    Post.objects.filter(external_id__in=ids).update(checked_at=moment)
    return ids


def asked(x: XApi) -> list[int]:
    return [len(query["ids"].split(",")) for query in x.asked(LOOK_UP)]


@pytest.mark.usefixtures("noon")
def test_what_is_gone_is_forgotten_and_what_stands_stays(x: XApi) -> None:
    ids = published(x, 5, hours_ago=2)
    x.delete(ids[0])
    x.protect(ids[1])
    assert look_up_deletions(XSource(x.token, x.url)) == 2
    assert set(Post.objects.visible().values_list("external_id", flat=True)) == set(ids[2:])
    gone = Post.objects.get(external_id=ids[0])
    assert (gone.text, gone.author_id, gone.raw) == ("", "", None)


@pytest.mark.usefixtures("noon")
def test_the_day_s_own_posts_cost_nothing_and_are_asked_for_once_an_hour(
    x: XApi, settings: Settings
) -> None:
    settings.TWITTER_DELETION_CHECKS_PER_DAY = 0
    published(x, 130, hours_ago=2)
    published(x, 5, hours_ago=0.5)
    live = XSource(x.token, x.url)
    for _ in range(3):
        look_up_deletions(live)
    assert asked(x) == [100, 30]
    assert DailyUsage.objects.get(stream=None).looked_up == 0


@pytest.mark.usefixtures("noon")
def test_older_posts_are_asked_for_within_a_daily_allowance(x: XApi, settings: Settings) -> None:
    settings.TWITTER_DELETION_CHECKS_PER_DAY = 150
    published(x, 300, hours_ago=48)
    live = XSource(x.token, x.url)
    for _ in range(4):
        look_up_deletions(live)
    assert asked(x) == [100, 50]
    today = DailyUsage.objects.get(stream=None, day=timezone.now().date())
    assert today.looked_up == 150


@pytest.mark.usefixtures("noon")
def test_the_longest_unasked_come_first(x: XApi, settings: Settings) -> None:
    settings.TWITTER_DELETION_CHECKS_PER_DAY = 10
    newer = published(x, 10, hours_ago=48)
    older = published(x, 10, hours_ago=72)
    x.delete(older[0])
    x.delete(newer[0])
    assert look_up_deletions(XSource(x.token, x.url)) == 1
    assert Post.objects.get(external_id=older[0]).deleted_at is not None


@pytest.mark.usefixtures("noon")
def test_near_the_budget_s_end_older_posts_are_left(x: XApi, settings: Settings) -> None:
    settings.TWITTER_MONTHLY_POST_BUDGET = 10
    published(x, 10, hours_ago=48)
    store([incoming(external_id=f"9{n}") for n in range(10)])
    assert look_up_deletions(XSource(x.token, x.url)) == 0
    assert asked(x) == []
