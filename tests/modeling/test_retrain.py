"""When to retrain."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import classify, retrain
from modeling.services.annotate import annotate_many
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db


def make_posts(texts: list[str]) -> list[Post]:
    start = Post.objects.count()
    return Post.objects.bulk_create(
        Post(source="x", external_id=f"q{start + i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )


def test_without_a_reason_nothing_is_queued(champion: ModelVersion, scheme: LabelScheme) -> None:
    decision = retrain.check(scheme)
    assert (decision.status, decision.run) == ("not_needed", None)
    assert {"labels", "age_hours", "mean_confidence", "drift"} == set(decision.triggers)


def test_enough_new_labels_queue_one_run(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 3
    annotate_many(scheme, dict.fromkeys((p.pk for p in make_posts(["a b c"] * 3)), "neutral"))
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
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    TrainingRun.objects.create(scheme=scheme, status="succeeded")
    assert not retrain.check(scheme).triggers["labels"]["fired"]


def test_age_fires_only_with_something_new_to_learn(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    TrainingRun.objects.create(
        scheme=scheme, status="succeeded", created_at=timezone.now() - timedelta(days=30)
    )
    assert not retrain.check(scheme).triggers["age_hours"]["fired"]
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    assert retrain.check(scheme).triggers["age_hours"]["fired"]


def test_force_skips_the_triggers(champion: ModelVersion, scheme: LabelScheme) -> None:
    decision = retrain.check(scheme, force=True)
    assert decision.is_new and decision.reason == "forced"


def test_after_a_failure_the_check_cools_down(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 1
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    TrainingRun.objects.create(scheme=scheme, status="failed", finished_at=timezone.now())
    assert retrain.check(scheme).status == "not_needed"
    with time_machine.travel(timezone.now() + retrain.COOL_DOWN + timedelta(minutes=1)):
        assert retrain.check(scheme).is_new


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
        scheme=scheme, status="running", heartbeat_at=old, attempts=3, progress=0.4, message="epoch"
    )
    assert not retrain.check(scheme).is_new
    run.refresh_from_db()
    assert run.status == "failed"
    assert run.error == "the process that trained died 3 times, the last time at 40%, epoch"


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


def test_unsure_judgements_fire_only_with_something_new_to_learn(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_MEAN_CONFIDENCE = 1.0
    post = make_posts(["a b c"])[0]
    classify.classify_posts([post.pk])
    trigger = retrain.check(scheme).triggers["mean_confidence"]
    assert 0 < trigger["value"] < 1 and not trigger["fired"]
    annotate_many(scheme, {post.pk: "neutral"})
    decision = retrain.check(scheme)
    assert decision.triggers["mean_confidence"]["fired"]
    assert decision.reason == "triggered by mean_confidence"


def test_drift_fires_only_with_something_new_to_learn(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    now = timezone.now()
    scheme.reports.create(
        model_version=champion,
        window_start=now - timedelta(days=1),
        window_end=now,
        post_count=500,
        has_drift=True,
        statistics={"words": {"psi": 0.7, "verdict": "drift"}, "links": {"psi": 0.1}},
    )
    assert retrain.check(scheme).triggers["drift"] == {
        "value": 0.7,
        "threshold": 0.25,
        "drifted": ["words"],
        "fired": False,
    }
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    assert retrain.check(scheme).triggers["drift"]["fired"]


@pytest.mark.parametrize(
    ("is_trusted", "fires"), [(True, True), (False, False)], ids=["trusted", "not trusted"]
)
def test_a_low_estimated_accuracy_fires_where_it_can_be_trusted(
    champion: ModelVersion, scheme: LabelScheme, is_trusted: bool, fires: bool
) -> None:
    now = timezone.now()
    scheme.reports.create(
        model_version=champion,
        window_start=now - timedelta(days=1),
        window_end=now,
        accuracy={"estimated": 0.41, "is_trusted": is_trusted},
    )
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    assert retrain.check(scheme).triggers["mean_confidence"]["fired"] == fires


def test_self_training_learns_from_posts_without_a_label(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    TrainingRun.objects.create(
        scheme=scheme, status="succeeded", created_at=timezone.now() - timedelta(days=30)
    )
    ModelVersion.objects.update(reference={"labels": {"negative": 1, "neutral": 1, "positive": 1}})
    make_posts(["a b c", "d e f"])
    decision = retrain.check(scheme)
    assert decision.triggers["labels"]["unlabelled_posts"] == 2
    assert decision.status == "not_needed"
    settings.SELF_TRAINING = True
    decision = retrain.check(scheme)
    assert decision.run is not None and decision.reason == "triggered by age_hours"
    assert decision.run.options["teacher"] == str(champion.version)


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
