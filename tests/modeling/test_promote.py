"""What serves: promotion, the ledger, rolling back, and MLflow's mirror of it."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from pytest_django.fixtures import Settings

from modeling import registry
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services.promote import NothingToRollBack, promote, rollback
from modeling.signals import version_promoted
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


@pytest.fixture
def announced() -> Iterator[list[int]]:
    heard: list[int] = []

    def listen(version: ModelVersion, **kwargs: Any) -> None:
        heard.append(version.version)

    version_promoted.connect(listen)
    yield heard
    version_promoted.disconnect(listen)


def test_promoting_archives_the_version_before(
    champion: ModelVersion, make_version: Versions
) -> None:
    other = make_version(2)
    promote(other)
    champion.refresh_from_db()
    assert champion.stage == ModelVersion.Stage.ARCHIVED
    assert ModelVersion.objects.champions().get() == other
    assert other.promoted_at is not None


def test_the_ledger_says_who_when_why_and_what_served_before(
    champion: ModelVersion, make_version: Versions, admin_user: User
) -> None:
    other = make_version(2)
    entry = promote(other, by=admin_user, reason="sounder on irony")
    assert entry is not None
    assert (entry.version, entry.previous) == (other, champion)
    assert (entry.promoted_by, entry.reason) == (admin_user, "sounder on irony")
    assert entry.promoted_at == other.promoted_at


def test_promoting_what_serves_already_changes_nothing(
    champion: ModelVersion, announced: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert promote(champion) is None
    assert Promotion.objects.count() == 0 and announced == []


def test_the_news_goes_out_after_the_commit_and_not_after_a_rollback(
    make_version: Versions, announced: list[int], django_capture_on_commit_callbacks: Any
) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        promote(make_version(1))
        raise RuntimeError("the caller fails")
    with django_capture_on_commit_callbacks(execute=True):
        promote(make_version(2))
        assert announced == []
    assert announced == [2]


def test_a_receiver_that_fails_does_not_undo_the_promotion(
    make_version: Versions, django_capture_on_commit_callbacks: Any
) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("no browser listens")

    version_promoted.connect(fail)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            promote(make_version(1))
    finally:
        version_promoted.disconnect(fail)
    assert ModelVersion.objects.champions().get().version == 1


def test_rolling_back_serves_the_champion_before(
    champion: ModelVersion, make_version: Versions, admin_user: User
) -> None:
    promote(make_version(2))
    assert rollback(champion.scheme, by=admin_user) == champion
    assert ModelVersion.objects.champions().get() == champion
    entry = Promotion.objects.first()
    assert entry is not None
    assert entry.reason == "rollback from version 2" and entry.promoted_by == admin_user


def test_without_an_earlier_champion_there_is_nothing_to_roll_back(
    scheme: LabelScheme, make_version: Versions
) -> None:
    with pytest.raises(NothingToRollBack, match="no earlier champion of 'sentiment'"):
        rollback(scheme)
    promote(make_version(1))
    with pytest.raises(NothingToRollBack):
        rollback(scheme)


def test_another_scheme_keeps_its_champion(
    champion: ModelVersion, make_version: Versions, own_scheme: LabelScheme
) -> None:
    promote(make_version(1, scheme=own_scheme))
    assert ModelVersion.objects.champions().count() == 2


def test_the_database_refuses_a_second_champion(
    champion: ModelVersion, make_version: Versions
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make_version(2, stage=ModelVersion.Stage.CHAMPION)


@pytest.mark.django_db(transaction=True)
def test_promotions_at_once_queue_and_leave_one_champion(
    champion: ModelVersion, make_version: Versions
) -> None:
    versions = [make_version(number) for number in range(2, 6)]
    turns = itertools.count()
    outcomes = at_once(lambda: promote(versions[next(turns)]), 4)
    assert all(isinstance(outcome, Promotion) for outcome in outcomes), outcomes
    assert ModelVersion.objects.champions().count() == 1
    # Each entry follows on the one before: no promotion overlooked another.
    ledger = list(Promotion.objects.order_by("id"))
    assert [entry.previous for entry in ledger] == [champion, *(e.version for e in ledger[:-1])]
    assert ModelVersion.objects.champions().get() == ledger[-1].version


def test_mlflow_mirrors_the_champion(
    tiny_model: Any,
    make_version: Versions,
    mlflow_store: Settings,
    django_capture_on_commit_callbacks: Any,
) -> None:
    import mlflow

    made = registry.register(tiny_model, scheme_key="sentiment", parameters={}, metrics={})
    with django_capture_on_commit_callbacks(execute=True):
        promote(make_version(made.version))
    alias = mlflow.MlflowClient().get_model_version_by_alias("sentiment", "champion")
    assert int(alias.version) == made.version


@pytest.mark.parametrize("address", ["sqlite:///{}/nothing.sqlite3", "http://127.0.0.1:9"])
def test_a_registry_that_is_away_costs_a_warning_and_seconds(
    address: str,
    tmp_path: Any,
    make_version: Versions,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.MLFLOW_TRACKING_URI = address.format(tmp_path)
    started = time.monotonic()
    with (
        caplog.at_level(logging.WARNING, "modeling"),
        django_capture_on_commit_callbacks(execute=True),
    ):
        promote(make_version(1))
    assert time.monotonic() - started < 30
    assert ModelVersion.objects.champions().get().version == 1
    assert "the database row says what serves" in caplog.text
