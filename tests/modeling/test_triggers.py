"""What speaks for a retraining: each trigger, and what it leaves on the record."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import LabelScheme, ModelVersion, Prediction, QualityReport, TrainingRun
from modeling.services import retrain
from tests.modeling.news import label, make_posts

pytestmark = pytest.mark.django_db

# Of 200 labels that start a training, a tenth is news.
NEWS = 20


def trigger(scheme: LabelScheme, name: str) -> dict[str, Any]:
    return retrain.evaluate_triggers(scheme)[name]


def make_report(champion: ModelVersion, **fields: object) -> QualityReport:
    end = timezone.now() - timedelta(minutes=5)
    values = {"window_start": end - timedelta(days=1), "window_end": end, "post_count": 500}
    return QualityReport.objects.create(
        scheme=champion.scheme, model_version=champion, **{**values, **fields}
    )


def predict(champion: ModelVersion, posts: list[Post], confidence: float) -> None:
    category = champion.scheme.categories.first()
    assert category is not None
    Prediction.objects.bulk_create(
        Prediction(
            post=post,
            scheme=champion.scheme,
            model_version=champion,
            category=category,
            confidence=confidence,
            scores={},
            is_serving=True,
        )
        for post in posts
    )


def trained_long_ago(scheme: LabelScheme) -> None:
    long_ago = timezone.now() - timedelta(days=30)
    TrainingRun.objects.create(
        scheme=scheme, status="succeeded", created_at=long_ago, started_at=long_ago
    )


def test_age_fires_only_with_enough_to_learn(champion: ModelVersion, scheme: LabelScheme) -> None:
    trained_long_ago(scheme)
    label(scheme, NEWS - 1)
    decision = retrain.check(scheme)
    age = decision.triggers["age_hours"]
    assert not age["fired"] and age["value"] > age["threshold"]
    lack = "only 19 of the 20 newly labelled posts that it takes came in"
    assert age["held_back"] == lack
    assert (decision.status, decision.reason) == ("not_needed", f"age_hours would fire, but {lack}")
    label(scheme, 1)
    assert retrain.check(scheme).reason == "triggered by age_hours"


def test_where_few_labels_start_a_training_one_is_news(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 9
    trained_long_ago(scheme)
    label(scheme, 1)
    assert trigger(scheme, "age_hours")["fired"]


def test_unsure_judgements_fire_only_with_enough_to_learn(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    predict(champion, make_posts(["a b c"] * retrain.CONFIDENCE_SAMPLE), 0.4)
    label(scheme, NEWS - 1)
    found = trigger(scheme, "mean_confidence")
    assert (found["value"], found["fired"]) == (0.4, False) and "held_back" in found
    label(scheme, 1)
    found = trigger(scheme, "mean_confidence")
    assert (found["value"], found["threshold"], found["statistic"], found["fired"]) == (
        *(0.4, 0.55),
        *("mean_confidence", True),
    )


def test_the_mean_of_a_few_judgements_is_shown_but_starts_nothing(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    predict(champion, make_posts(["a b c"] * (retrain.CONFIDENCE_SAMPLE - 1)), 0.4)
    label(scheme, NEWS)
    found = trigger(scheme, "mean_confidence")
    assert (found["value"], found["predictions"], found["fired"]) == (0.4, 199, False)


STATISTICS = {
    "words": {"psi": 0.5, "threshold": 0.25, "verdict": "drift"},
    "links": {"psi": 0.1, "threshold": 0.25, "verdict": "ok"},
    # Its number is the smallest, and the furthest from what it may be.
    "embedding": {"mmd": 0.3, "threshold": 0.1, "verdict": "drift"},
    "domain_classifier": {"auc": 0.71, "threshold": 0.6, "verdict": "drift"},
}


def test_drift_fires_only_with_enough_to_learn_and_names_what_went_furthest(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    report = make_report(champion, has_drift=True, statistics=STATISTICS)
    label(scheme, 1)
    told = {
        "value": 0.3,
        "threshold": 0.1,
        "kind": "mmd",
        "statistic": "embedding",
        "drifted": ["words", "embedding", "domain_classifier"],
        "report": f"report {report.pk}, until {report.window_end:%Y-%m-%d %H:%M} UTC",
    }
    lack = "only 1 of the 20 newly labelled posts that it takes came in"
    assert trigger(scheme, "drift") == {**told, "fired": False, "held_back": lack}
    label(scheme, NEWS - 1)
    assert trigger(scheme, "drift") == {**told, "fired": True}


@pytest.mark.parametrize(("hours", "counts"), [(2.9, True), (3.1, False)], ids=["fresh", "old"])
def test_an_old_report_starts_nothing(
    champion: ModelVersion, scheme: LabelScheme, hours: float, counts: bool
) -> None:
    label(scheme, NEWS)
    make_report(
        champion,
        window_end=timezone.now() - timedelta(hours=hours),
        has_drift=True,
        statistics=STATISTICS,
        accuracy={"estimated": 0.41, "is_trusted": True},
    )
    found = retrain.evaluate_triggers(scheme)
    for name in ("drift", "mean_confidence"):
        assert found[name]["fired"] == counts
        assert (found[name]["report"] == "none within 3 hours") != counts
    assert (found["drift"]["value"] is None) != counts


def test_a_report_on_another_champion_starts_nothing(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    label(scheme, NEWS)
    make_report(champion, has_drift=True, statistics=STATISTICS)
    QualityReport.objects.update(model_version=None)
    assert not trigger(scheme, "drift")["fired"]


@pytest.mark.parametrize(
    ("is_trusted", "fires"), [(True, True), (False, False)], ids=["trusted", "not trusted"]
)
def test_a_low_estimated_accuracy_fires_where_it_can_be_trusted(
    champion: ModelVersion, scheme: LabelScheme, is_trusted: bool, fires: bool
) -> None:
    make_report(champion, accuracy={"estimated": 0.41, "is_trusted": is_trusted})
    predict(champion, make_posts(["a b c"] * retrain.CONFIDENCE_SAMPLE), 0.8)
    label(scheme, NEWS)
    found = trigger(scheme, "mean_confidence")
    assert found["fired"] == fires and found["mean_confidence"] == 0.8
    shown = (found["statistic"], found["value"], found["threshold"])
    assert shown == (("estimated_accuracy", 0.41, 0.6) if fires else ("mean_confidence", 0.8, 0.55))


def test_where_both_are_low_the_one_further_below_is_shown(
    champion: ModelVersion, scheme: LabelScheme
) -> None:
    make_report(champion, accuracy={"estimated": 0.59, "is_trusted": True})
    predict(champion, make_posts(["a b c"] * retrain.CONFIDENCE_SAMPLE), 0.4)
    label(scheme, NEWS)
    found = trigger(scheme, "mean_confidence")
    assert (found["statistic"], found["value"]) == ("mean_confidence", 0.4)
    assert found["estimated_accuracy"] == 0.59


def test_self_training_learns_from_enough_posts_without_a_label(
    champion: ModelVersion, scheme: LabelScheme, settings: Settings
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 3
    trained_long_ago(scheme)
    champion.reference = {"labels": {"negative": 1, "neutral": 1, "positive": 1}}
    champion.save()
    make_posts(["a b c", "d e f"])
    settings.SELF_TRAINING = True
    decision = retrain.check(scheme)
    assert decision.triggers["labels"]["unlabelled_posts"] == 2
    assert decision.reason.endswith("that it takes came in, and 2 of 3 without a label")
    make_posts(["g h i"])
    settings.SELF_TRAINING = False
    assert retrain.check(scheme).status == "not_needed"
    settings.SELF_TRAINING = True
    decision = retrain.check(scheme)
    assert decision.run is not None and decision.reason == "triggered by age_hours"
    assert decision.run.options["teacher"] == str(champion.version)
