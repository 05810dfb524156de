"""When to retrain, and what the quality report sees."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import time_machine
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.exceptions import NoChampion
from modeling.ml import reference
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import classify, quality, retrain
from modeling.services.annotate import annotate_many
from modeling.signals import alert_raised

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


def test_a_run_whose_process_died_is_marked(champion: ModelVersion, scheme: LabelScheme) -> None:
    old = timezone.now() - retrain.STALE - timedelta(minutes=1)
    run = TrainingRun.objects.create(scheme=scheme, status="running", heartbeat_at=old)
    retrain.check(scheme)
    run.refresh_from_db()
    assert run.status == "failed" and "died" in run.error


@pytest.fixture
def alerts() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def listen(**kwargs: Any) -> None:
        heard.append({key: kwargs[key] for key in ("kind", "active")})

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
    assert alerts == [{"kind": "drift", "active": True}, {"kind": "drift", "active": False}]


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
