"""When to retrain, and what the quality report sees."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from ingestion.signals import alert_raised
from modeling.exceptions import NoChampion
from modeling.ml import reference
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import classify, quality, retrain
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
    assert decision.run.triggers["labels"] == {"value": 3, "threshold": 3, "fired": True}
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


def test_a_run_that_no_worker_took_is_marked(champion: ModelVersion, scheme: LabelScheme) -> None:
    old = timezone.now() - retrain.STALE - timedelta(minutes=1)
    run = TrainingRun.objects.create(scheme=scheme, status="queued", created_at=old)
    assert retrain.check(scheme, force=True).is_new
    run.refresh_from_db()
    assert run.status == "failed" and "queue `train`" in run.error


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
        statistics={"words": {"psi": 0.7}, "links": {"psi": 0.1}},
    )
    assert retrain.check(scheme).triggers["drift"] == {
        "value": 0.7,
        "threshold": 0.25,
        "fired": False,
    }
    annotate_many(scheme, {make_posts(["a b c"])[0].pk: "neutral"})
    assert retrain.check(scheme).triggers["drift"]["fired"]


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


@pytest.fixture
def alerts() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def listen(**kwargs: Any) -> None:
        heard.append({key: kwargs[key] for key in ("kind", "message", "active")})

    alert_raised.connect(listen)
    yield heard
    alert_raised.disconnect(listen)


def test_shifted_posts_are_drift_and_an_alert_that_closes(
    champion: ModelVersion, scheme: LabelScheme, alerts: list[dict[str, Any]]
) -> None:
    calm = [f"a quiet post number {i} about the game today" for i in range(250)]
    probabilities = serving_probabilities(calm)
    champion.reference = reference.build(calm, probabilities, ("negative", "neutral", "positive"))
    champion.save()
    classify.classify_posts([p.pk for p in make_posts(calm)])
    report = quality.build_report(scheme)
    assert report.post_count == 250
    assert not report.has_drift, report.statistics
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        loud = [f"WHAT?!! NUMBER {i} @you #SHOUT" for i in range(250)]
        classify.classify_posts([p.pk for p in make_posts(loud)])
        report = quality.build_report(scheme)
        assert report.has_drift
        assert report.statistics["upper_share"]["verdict"] == "drift"
        assert retrain.check(scheme).triggers["drift"]["value"] > 0.25
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        classify.classify_posts([p.pk for p in make_posts(calm)])
        quality.build_report(scheme)
    assert [(alert["kind"], alert["active"]) for alert in alerts] == [
        ("drift", True),
        ("drift", False),
    ]
    assert "upper_share" in alerts[0]["message"]
    assert alerts[1]["message"] == "incoming posts resemble the training data again"


def serving_probabilities(texts: list[str]) -> np.ndarray:
    items = classify.classify_texts(texts, channel="test").items
    return np.array([list(item.scores.values()) for item in items])


def test_few_posts_are_no_drift(champion: ModelVersion, scheme: LabelScheme) -> None:
    texts = [f"a quiet post number {i}" for i in range(20)]
    labels = ("negative", "neutral", "positive")
    champion.reference = reference.build(texts, serving_probabilities(texts), labels)
    champion.save()
    classify.classify_posts([p.pk for p in make_posts(["LOUD!!!! #ONE"] * 20)])
    report = quality.build_report(scheme)
    assert {entry["verdict"] for entry in report.statistics.values()} == {"too_few"}
    assert report.summary["duplicate_share"] == 0.95


def test_without_a_champion_there_is_no_report(scheme: LabelScheme) -> None:
    with pytest.raises(NoChampion):
        quality.build_report(scheme)


def test_a_report_sums_the_window_up(champion: ModelVersion, scheme: LabelScheme) -> None:
    make_posts(["the food awful today", "the food awful  today", "the song wonderful today"])
    Post.objects.filter(text__contains="song").update(lang="en")
    classify.classify_pending()
    summary = quality.build_report(scheme).summary
    assert summary["sampled"] == 3
    assert summary["categories"] == {"negative": 2, "positive": 1}
    assert summary["languages"] == {"unknown": 2, "en": 1}
    assert summary["sources"] == {"x": 3}
    assert summary["duplicate_share"] == pytest.approx(1 / 3, abs=1e-4)
    assert 1 / 3 < summary["mean_confidence"] <= 1


def test_posts_outside_the_window_and_deleted_ones_are_left_out(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    old, deleted, _ = make_posts(["one day", "two days", "three days"])
    classify.classify_pending()
    old.predictions.update(created_at=timezone.now() - timedelta(hours=3))
    Post.objects.filter(pk=deleted.pk).update(deleted_at=timezone.now(), text="")
    assert quality.build_report(scheme, window=timedelta(hours=1)).post_count == 1


def test_a_version_without_a_reference_is_reported_without_distances(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    make_posts(["hello there"])
    classify.classify_pending()
    report = quality.build_report(scheme)
    assert report.statistics == {} and not report.has_drift
