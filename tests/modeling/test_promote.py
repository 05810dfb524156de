"""What serves: promotion, the ledger, rolling back, and MLflow's mirror of it."""

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connections, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from modeling import registry, serving, tasks
from modeling.exceptions import GateRefused, ModelingError
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services.promote import (
    NothingToRollBack,
    NotLoadable,
    promote,
    rollback,
    set_challenger,
    sync_alias,
)
from modeling.signals import version_promoted
from tests.conftest import wait_until
from tests.modeling.threads import at_once
from tests.verdicts import refusal

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
    assert (entry.promoted_by, entry.actor) == (admin_user, "boss")
    assert entry.reason == "sounder on irony"
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
    champion: ModelVersion, make_version: Versions, labelled: LabelScheme
) -> None:
    promote(make_version(1, scheme=labelled))
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


@pytest.mark.django_db(transaction=True)
def test_killed_between_the_row_and_the_alias_the_champion_is_whole_and_the_alias_mended(
    tiny_model: Any, make_version: Versions, mlflow_store: Settings, manage: Any
) -> None:
    import mlflow

    def alias() -> int:
        found = mlflow.MlflowClient().get_model_version_by_alias("sentiment", "champion")
        return int(found.version)

    first, second = (
        registry.register(
            tiny_model, scheme_key="sentiment", parameters={}, metrics={}, training_run=number
        ).version
        for number in (1, 2)
    )
    promote(make_version(first))
    # Takes every call and answers none: the process gets no further than the commit.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = manage(
            *("promote", str(make_version(second).version)),
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
        wait_until(lambda: Promotion.objects.filter(version__version=second).exists(), seconds=60)
        process.kill()
        process.communicate()
    assert ModelVersion.objects.champions().get().version == second
    assert serving.champion().version == str(second)
    assert alias() == first
    # MLflow may have been away for days.
    Promotion.objects.update(promoted_at=timezone.now() - timedelta(days=3))
    tasks.check_retraining()
    assert alias() == second
    serving.reset()


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
    # MLflow's own retries take four minutes.
    assert time.monotonic() - started < 60
    assert ModelVersion.objects.champions().get().version == 1
    assert "the database row says what serves" in caplog.text


def test_what_served_at_a_moment_is_one_query(
    champion: ModelVersion,
    make_version: Versions,
    labelled: LabelScheme,
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    entries = [promote(make_version(number), actor="training run 1") for number in (2, 3)]
    entries.append(promote(make_version(1, scheme=labelled)))
    start = champion.created_at
    for hours, entry in enumerate(entries, start=1):
        assert entry is not None
        Promotion.objects.filter(pk=entry.pk).update(promoted_at=start + timedelta(hours=hours))

    def served(hours: float) -> list[tuple[str, int]]:
        lines = Promotion.objects.at(start + timedelta(hours=hours))
        return sorted(lines.values_list("scheme__key", "version__version"))

    with django_assert_num_queries(3):
        assert served(0.5) == []
        assert served(1.5) == [("sentiment", 2)]
        assert served(3) == [("mood", 1), ("sentiment", 3)]


def test_a_version_that_cannot_be_loaded_is_not_promoted(
    champion: ModelVersion, make_version: Versions
) -> None:
    broken = make_version(2, artifact_digests={"model.onnx": "0" * 64})
    for attempt in (lambda: promote(broken), lambda: promote(broken, reason="now", override=True)):
        with pytest.raises(NotLoadable, match="version 2 is not promoted, it cannot be loaded"):
            attempt()
    with pytest.raises(NotLoadable):
        set_challenger(broken)
    assert ModelVersion.objects.champions().get() == champion
    assert not Promotion.objects.exists()


def refused(make_version: Versions, scheme: LabelScheme) -> ModelVersion:
    """Another model than the champion, which the gate has judged and refused."""
    version = make_version(2, gate=refusal(scheme))
    del version.artifact_digests["sentiment.json"]
    version.save()
    return version


def test_what_the_gate_refuses_takes_an_override_and_a_reason(
    champion: ModelVersion, make_version: Versions
) -> None:
    version = refused(make_version, champion.scheme)
    with pytest.raises(GateRefused, match="the gate refuses version 2: it falls"):
        promote(version)
    with pytest.raises(GateRefused, match="say why"):
        promote(version, reason=" ", override=True)
    assert not Promotion.objects.exists()
    entry = promote(version, reason="the test labels are wrong", override=True)
    assert entry is not None
    assert entry.reason == "gate overridden: the test labels are wrong"
    # The way back asks no gate.
    assert rollback(champion.scheme, actor="command line (ann)", reason="complaints") == champion
    latest = Promotion.objects.first()
    assert latest is not None and latest.actor == "command line (ann)"
    assert latest.reason == "rollback from version 2: complaints"


def test_the_challenger_is_one_and_the_champion_is_none(
    champion: ModelVersion, make_version: Versions
) -> None:
    first, second = make_version(2), make_version(3)
    set_challenger(first)
    set_challenger(second)
    stages = dict(ModelVersion.objects.values_list("version", "stage"))
    assert stages == {1: "champion", 2: "candidate", 3: "challenger"}
    with pytest.raises(ModelingError, match="is the champion"):
        set_challenger(champion)
    set_challenger(None, champion.scheme)
    assert not ModelVersion.objects.filter(stage="challenger").exists()


def test_aliases_that_a_crash_left_behind_are_put_right(
    tiny_model: Any, make_version: Versions, scheme: LabelScheme, mlflow_store: Settings
) -> None:
    import mlflow

    numbers = [
        registry.register(tiny_model, scheme_key="sentiment", parameters={}, metrics={}).version
        for _ in range(2)
    ]
    registry.set_alias("sentiment", "champion", numbers[0])
    registry.set_alias("sentiment", "challenger", numbers[1])
    make_version(numbers[0], stage="archived")
    make_version(numbers[1], stage="champion")
    for _ in range(2):
        sync_alias(scheme)
        model = mlflow.MlflowClient().get_registered_model("sentiment")
        assert {name: int(number) for name, number in model.aliases.items()} == {
            "champion": numbers[1]
        }


@pytest.mark.django_db(transaction=True)
def test_requests_go_on_across_promotions_and_none_fails(
    champion: ModelVersion, make_version: Versions
) -> None:
    answers: list[list[str]] = [[] for _ in range(3)]
    errors: list[Exception] = []
    stop = threading.Event()

    def ask(mine: list[str]) -> None:
        try:
            while not stop.is_set():
                served = serving.champion()
                (item,) = served.classify(["the food awful today"])
                assert item.label == "negative"
                mine.append(served.version)
        except Exception as error:  # handed to the test
            errors.append(error)
        finally:
            connections.close_all()

    def heard(version: str) -> bool:
        return bool(errors) or all(mine and mine[-1] == version for mine in answers)

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    try:
        # Who asks for the first time after a promotion never hears of the version before.
        wait_until(partial(heard, "1"), seconds=30)
        for number in (2, 3):
            promote(make_version(number))
            wait_until(partial(heard, str(number)), seconds=30)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    for mine in answers:
        # From one version to the next, never back.
        assert [key for key, _ in itertools.groupby(mine)] == ["1", "2", "3"]
