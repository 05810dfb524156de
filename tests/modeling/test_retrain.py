"""When to retrain, and from what."""

from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Alert
from modeling.exceptions import ModelingError
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import retrain, train
from modeling.services.annotate import annotate_many
from tests.modeling.news import label, make_posts
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db


def test_without_a_reason_nothing_is_queued(champion: ModelVersion, scheme: LabelScheme) -> None:
    decision = retrain.check(scheme)
    assert (decision.status, decision.run) == ("not_needed", None)
    assert {"labels", "age_hours", "mean_confidence", "drift"} == set(decision.triggers)


def test_enough_new_labels_queue_one_run(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 3
    label(scheme, 3)
    decision = retrain.check(scheme)
    assert decision.is_new and decision.run is not None and decision.run.is_automatic
    assert decision.run.triggers["labels"] == {
        "value": 3,
        "threshold": 3,
        "fired": True,
        "unlabelled_posts": 0,
    }
    again = retrain.check(scheme)
    assert again.run == decision.run and not again.is_new


def test_labels_from_before_the_last_training_do_not_count(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 1
    label(scheme, 1)
    TrainingRun.objects.create(scheme=scheme, status="succeeded", started_at=timezone.now())
    assert not retrain.check(scheme).triggers["labels"]["fired"]


def test_force_skips_the_triggers(champion: ModelVersion, scheme: LabelScheme) -> None:
    decision = retrain.check(scheme, force=True)
    assert decision.is_new and decision.reason == "forced"


def test_after_a_failure_the_check_cools_down(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 1
    label(scheme, 1)
    run = TrainingRun.objects.create(scheme=scheme, status="failed", finished_at=timezone.now())
    decision = retrain.check(scheme)
    assert decision.status == "not_needed"
    assert decision.reason.startswith(f"run {run.pk} failed: the check waits until ")
    with time_machine.travel(timezone.now() + retrain.COOL_DOWN + timedelta(minutes=1)):
        assert retrain.check(scheme).is_new


def test_after_a_rejection_the_check_waits_and_then_asks_for_other_labels(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 2
    label(scheme, 2)
    began = timezone.now()
    run = TrainingRun.objects.create(
        scheme=scheme,
        status="rejected",
        created_at=began - timedelta(hours=1),
        started_at=began,
        finished_at=began + timedelta(hours=2),
    )
    label(scheme, 1)
    # It came while the run was training, which did not learn from it.
    assert retrain.evaluate_triggers(scheme)["labels"]["value"] == 1
    with time_machine.travel(began + timedelta(hours=3)):
        label(scheme, 1)
        decision = retrain.check(scheme)
        until = began + timedelta(hours=2) + retrain.COOL_DOWN
        assert (
            decision.reason == f"run {run.pk} was rejected by the gate: the check waits until "
            f"{until:%Y-%m-%d %H:%M} UTC"
        )
    with time_machine.travel(until + timedelta(minutes=1)):
        assert retrain.check(scheme).is_new


def test_a_rejected_training_is_not_done_again_with_the_same_labels(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 2
    label(scheme, 2)
    TrainingRun.objects.create(
        scheme=scheme, status="rejected", started_at=timezone.now(), finished_at=timezone.now()
    )
    with time_machine.travel(timezone.now() + timedelta(days=30)):
        decision = retrain.check(scheme)
    assert decision.status == "not_needed" and decision.triggers["labels"]["value"] == 0


ASKED = {
    "data": "/srv/tweets.csv",
    "data_host": "gpu-1",
    "text_column": "tweet",
    "label_column": "feeling",
    "teacher": "sentence-transformers/all-mpnet-base-v2",
    "arguments": {"epochs": 5, "base_model": "/srv/encoder"},
}


@pytest.mark.parametrize("force", [True, False], ids=["forced", "automatic"])
def test_a_retraining_is_asked_for_what_the_champion_was(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings, force: bool
) -> None:
    TrainingRun.objects.create(
        scheme=scheme, status="succeeded", version=champion, options={**ASKED, "note": "mine"}
    )
    # A later one, which was refused, was asked for something else.
    TrainingRun.objects.create(
        scheme=scheme,
        status="rejected",
        options={"data": "/srv/other.csv"},
        finished_at=timezone.now() - timedelta(days=2),
    )
    settings.MIN_SAMPLES_FOR_RETRAIN = 1
    label(scheme, 1)
    run = retrain.check(scheme, force=force).run
    assert run is not None and run.options == ASKED


@pytest.fixture
def knowing(champion: ModelVersion, settings: Settings) -> ModelVersion:
    """A champion that knows the scheme's labels, and self-training."""
    settings.SELF_TRAINING = True
    champion.reference = {"labels": {"negative": 1, "neutral": 1, "positive": 1}}
    champion.save()
    return champion


def test_self_training_is_put_over_what_the_champion_was_asked_for(
    knowing: ModelVersion, scheme: LabelScheme
) -> None:
    TrainingRun.objects.create(scheme=scheme, status="succeeded", version=knowing, options=ASKED)
    run = retrain.check(scheme, force=True).run
    assert run is not None and run.options == {
        **ASKED,
        "teacher": str(knowing.version),
        "arguments": {
            **ASKED["arguments"],  # type: ignore[dict-item]
            "distillation_weight": retrain.SELF_TRAINING_WEIGHT,
        },
    }


def test_the_teacher_of_self_training_is_not_handed_on(
    knowing: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    first = retrain.check(scheme, force=True).run
    assert first is not None and first.options["teacher"] == str(knowing.version)
    first.status, first.version = TrainingRun.Status.SUCCEEDED, knowing
    first.save()
    settings.SELF_TRAINING = False
    second = retrain.check(scheme, force=True).run
    assert second is not None and second.options == {}


def test_a_file_that_is_gone_is_named_in_the_run_and_in_an_alert(
    champion: ModelVersion, scheme: LabelScheme, tmp_path: Path, settings: Settings
) -> None:
    settings.VAR_DIR = tmp_path
    data = str(tmp_path / "gone.csv")
    TrainingRun.objects.create(
        scheme=scheme, status="succeeded", version=champion, options={"data": data}
    )
    run = retrain.check(scheme, force=True).run
    assert run is not None
    with pytest.raises(ModelingError):
        train.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "failed" and data in run.error and "`manage.py train`" in run.error
    assert data in Alert.objects.standing().get(kind="training").message


def test_a_run_whose_process_died_is_there_to_be_taken_again(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    old = timezone.now() - timedelta(minutes=3)
    run = TrainingRun.objects.create(
        scheme=scheme, status="running", heartbeat_at=old, worker="elsewhere:7", attempts=1
    )
    decision = retrain.check(scheme)
    assert (decision.run, decision.status, decision.is_new) == (run, "queued", True)
    run.refresh_from_db()
    assert run.status == "interrupted" and "elsewhere:7 died" in run.error


def test_a_run_whose_process_died_again_and_again_has_failed(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    old = timezone.now() - timedelta(minutes=3)
    run = TrainingRun.objects.create(
        scheme=scheme, status="running", heartbeat_at=old, failures=2, progress=0.4, message="epoch"
    )
    assert not retrain.check(scheme).is_new
    run.refresh_from_db()
    assert run.status == "failed"
    assert run.error == "it failed 3 times, the last time: its process died at 40%, epoch"


def test_a_run_that_still_says_something_is_left_alone(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    run = TrainingRun.objects.create(
        scheme=scheme,
        status="running",
        created_at=timezone.now() - timedelta(hours=5),
        heartbeat_at=timezone.now() - timedelta(minutes=1),
    )
    decision = retrain.check(scheme, force=True)
    assert (decision.run, decision.status, decision.is_new) == (run, "running", False)


def test_a_replaced_label_counts_once(champion: ModelVersion, scheme: LabelScheme) -> None:
    post = make_posts(["a b c"])[0]
    annotate_many(scheme, {post.pk: "neutral"})
    annotate_many(scheme, {post.pk: "positive"})
    assert retrain.check(scheme).triggers["labels"]["value"] == 1


def test_force_does_not_wait_after_a_failure(champion: ModelVersion, scheme: LabelScheme) -> None:
    TrainingRun.objects.create(scheme=scheme, status="failed", finished_at=timezone.now())
    assert retrain.check(scheme, force=True).is_new


def test_a_person_who_forces_a_run_is_named(
    champion: ModelVersion, scheme: LabelScheme, admin_user: User
) -> None:
    run = retrain.check(scheme, force=True, by=admin_user).run
    assert run is not None
    assert run.requested_by == admin_user and not run.is_automatic


@pytest.mark.django_db(transaction=True)
def test_checks_at_once_queue_one_run_and_all_name_it(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    outcomes = at_once(lambda: retrain.check(scheme, force=True), 4)
    run = TrainingRun.objects.get()
    decisions = [outcome for outcome in outcomes if isinstance(outcome, retrain.Decision)]
    assert len(decisions) == 4, outcomes
    assert {decision.run for decision in decisions} == {run}
    assert sum(decision.is_new for decision in decisions) == 1
