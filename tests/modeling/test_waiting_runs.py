"""Runs that no worker takes, and what people are told of runs."""

from datetime import timedelta

import pytest
from celery.signals import before_task_publish
from django.contrib.auth.models import User
from django.utils import timezone

from ingestion.models import Alert
from modeling import tasks
from modeling.exceptions import BrokerAway
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import retrain, runs
from tests.brokers import broker_away

pytestmark = pytest.mark.django_db

LONG_AGO = runs.PATIENCE + timedelta(minutes=1)


def ago(**duration: float) -> object:
    return timezone.now() - timedelta(**duration)


def standing() -> list[str]:
    return list(Alert.objects.standing().filter(kind="training").values_list("message", flat=True))


@pytest.fixture
def stale(champion: ModelVersion, scheme: LabelScheme) -> TrainingRun:
    """A run that nobody has taken for a while."""
    return TrainingRun.objects.create(scheme=scheme, created_at=timezone.now() - LONG_AGO)


def test_a_run_that_nobody_takes_is_handed_over_again_and_told_of(
    stale: TrainingRun, scheme: LabelScheme
) -> None:
    for _ in range(2):
        decision = retrain.check(scheme)
        assert (decision.run, decision.status, decision.is_new) == (stale, "queued", True)
        assert (
            decision.reason == f"run {stale.pk} was not taken by a worker and is handed over again"
        )
        (message,) = standing()
        assert message.startswith(f"run {stale.pk} of 'sentiment' has waited since")
        assert message.endswith("is one listening on the queue `train`?")
    taken = runs.take(stale.pk)
    assert taken is not None and taken.status == "running" and standing() == []
    assert runs.take(stale.pk) is None


def test_a_run_waits_while_another_scheme_is_trained(
    stale: TrainingRun, scheme: LabelScheme, own_scheme: LabelScheme
) -> None:
    other = TrainingRun.objects.create(
        scheme=own_scheme, status="running", started_at=ago(hours=5), heartbeat_at=ago(minutes=1)
    )
    decision = retrain.check(scheme, force=True)
    assert (decision.run, decision.is_new) == (stale, False) and standing() == []
    # Whoever trained it has it next.
    runs.end(other, TrainingRun.Status.SUCCEEDED)
    assert not retrain.check(scheme).is_new and standing() == []
    TrainingRun.objects.filter(pk=other.pk).update(finished_at=timezone.now() - LONG_AGO)
    assert retrain.check(scheme).is_new and len(standing()) == 1


def test_a_run_does_not_wait_for_one_whose_process_died(
    stale: TrainingRun, scheme: LabelScheme, own_scheme: LabelScheme
) -> None:
    TrainingRun.objects.create(scheme=own_scheme, status="running", heartbeat_at=ago(minutes=3))
    assert retrain.check(scheme).is_new


def test_a_run_that_was_queued_just_now_is_left_alone(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    run = TrainingRun.objects.create(scheme=scheme, created_at=ago(minutes=14))
    decision = retrain.check(scheme, force=True)
    assert (decision.run, decision.status, decision.is_new) == (run, "queued", False)
    assert standing() == []


def test_an_interrupted_run_that_nobody_takes_is_told_of(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    run = TrainingRun.objects.create(
        scheme=scheme, status="interrupted", heartbeat_at=ago(minutes=14)
    )
    assert retrain.check(scheme).is_new and standing() == []
    TrainingRun.objects.update(heartbeat_at=timezone.now() - LONG_AGO)
    assert retrain.check(scheme).is_new and len(standing()) == 1
    run.refresh_from_db()
    runs.discard(run)
    assert standing() == []


def test_a_run_that_no_worker_could_be_told_of_is_kept_and_starts_with_the_next_check(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    run = retrain.check(scheme, force=True).run
    assert run is not None
    with broker_away(), pytest.raises(BrokerAway, match=f"run {run.pk} is kept"):
        tasks.hand_over(run)
    run.refresh_from_db()
    assert run.status == "queued" and "broker cannot be reached" in run.error
    decision = retrain.check(scheme)
    assert (decision.run, decision.is_new) == (run, True)
    tasks.hand_over(run)
    run.refresh_from_db()
    assert (run.status, run.error) == ("queued", "")
    assert not retrain.check(scheme).is_new


def test_what_is_sent_again_does_not_pile_up(
    champion: ModelVersion, scheme: LabelScheme, stale: TrainingRun
) -> None:
    """A worker that comes back finds the first message, and none of those sent long ago since."""
    lifetimes: list[object] = []

    def note(headers: dict[str, object], **kwargs: object) -> None:
        lifetimes.append(headers["expires"])

    before_task_publish.connect(note, sender="modeling.train")
    try:
        tasks.hand_over(stale)
        stale.created_at = timezone.now()
        tasks.hand_over(stale)
        stale.status = TrainingRun.Status.INTERRUPTED
        tasks.hand_over(stale)
    finally:
        before_task_publish.disconnect(note, sender="modeling.train")
    again, first, interrupted = lifetimes
    assert again is not None and first is None and interrupted is not None


def test_a_failure_is_told_until_a_training_succeeds(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    bad = TrainingRun.objects.create(scheme=scheme, status="running")
    runs.end(bad, TrainingRun.Status.FAILED, error="OSError: no disk left")
    said = f"run {bad.pk} of 'sentiment' failed: OSError: no disk left"
    assert standing() == [said]
    waiting = TrainingRun.objects.create(scheme=scheme)
    good = runs.take(waiting.pk)
    assert good is not None and standing() == [said]
    runs.end(good, TrainingRun.Status.SUCCEEDED)
    assert standing() == []
    closed = Alert.objects.get(kind="training").closing_message
    assert closed == f"run {good.pk} of 'sentiment' succeeded"


def test_another_scheme_s_success_closes_nothing(
    champion: ModelVersion, scheme: LabelScheme, own_scheme: LabelScheme
) -> None:
    bad = TrainingRun.objects.create(scheme=scheme, status="running")
    runs.end(bad, TrainingRun.Status.FAILED, error="no disk left")
    good = TrainingRun.objects.create(scheme=own_scheme, status="running")
    runs.end(good, TrainingRun.Status.SUCCEEDED)
    assert len(standing()) == 1


def test_what_the_gate_refuses_is_told_where_nobody_asked_for_it(
    champion: ModelVersion, scheme: LabelScheme, admin_user: User
) -> None:
    gate = {"passed": False, "reason": "macro recall 0.61 against 0.70"}
    asked = TrainingRun.objects.create(
        scheme=scheme, status="running", gate=gate, requested_by=admin_user
    )
    runs.end(asked, TrainingRun.Status.REJECTED)
    assert standing() == []
    by_itself = TrainingRun.objects.create(
        scheme=scheme, status="running", gate=gate, is_automatic=True
    )
    runs.end(by_itself, TrainingRun.Status.REJECTED)
    assert standing() == [
        f"run {by_itself.pk} of 'sentiment': candidate was not better: "
        "macro recall 0.61 against 0.70"
    ]
    good = TrainingRun.objects.create(scheme=scheme, status="running")
    runs.end(good, TrainingRun.Status.SUCCEEDED)
    assert standing() == []


def test_who_gives_a_run_up_needs_no_alert(champion: ModelVersion, scheme: LabelScheme) -> None:
    runs.discard(TrainingRun.objects.create(scheme=scheme, status="interrupted"))
    assert standing() == []
