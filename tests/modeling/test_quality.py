"""The report on incoming posts: what it sums up, when it alarms, what accuracy it expects."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from ingestion.models import Alert, Post
from modeling import serving
from modeling.exceptions import NoChampion
from modeling.ml import artifact, features, reference
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.embedding import Embedder
from modeling.models import Category, LabelScheme, ModelVersion, Prediction, TrainingPost
from modeling.services import classify, quality
from modeling.services.annotate import annotate
from tests.conftest import LABELS

# Alerts leave after the commit.
pytestmark = pytest.mark.django_db(transaction=True)

THINGS = ("game", "film", "train", "phone", "song", "city", "team", "food")
WORDS = ("love", "awful", "report", "great", "hate", "opens")


def calm(count: int, first: int = 20_000) -> list[str]:
    """Plain posts of many lengths, all different."""
    # Numbers without order: those of one call must not tell themselves from another's.
    return [
        f"the {THINGS[i % 8]} {WORDS[i % 6]} today number {i * 7919 % 99_991:05}"
        + " and so on" * (i % 5)
        for i in range(first, first + count)
    ]


@pytest.fixture
def watched(
    make_version: Callable[..., ModelVersion], tiny_model: Path, tmp_path: Path
) -> Iterator[ModelVersion]:
    """A champion with a reference of calm posts, whose labels are what the model says."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    classifier = SentimentClassifier(folder, threads=1)
    texts = calm(400, first=10_000)
    probabilities = classifier.predict_proba(texts)
    truth = probabilities.argmax(axis=1).tolist()
    reference.make_sample(texts, probabilities, truth, Embedder(folder, classifier).embed).write(
        folder
    )
    yield make_version(
        stage=ModelVersion.Stage.CHAMPION,
        artifact_uri=str(folder),
        artifact_digests=artifact.digests(folder),
        reference=reference.build(texts, probabilities, LABELS),
    )
    serving.reset()


def arrive(texts: list[str]) -> list[Post]:
    """Posts come in and are classified."""
    start = Post.objects.count()
    posts = Post.objects.bulk_create(
        Post(source="x", external_id=f"{start + i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )
    classify.classify_posts([post.pk for post in posts])
    return posts


def test_shifted_posts_are_drift_and_an_alert_that_closes(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(calm(150))
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok", report.statistics
    assert report.accuracy["is_trusted"]
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        arrive([f"WHAT?!! NUMBER {i} @you #SHOUT" for i in range(150)])
        report = quality.build_report(scheme)
        assert report.has_drift
        moved = report.statistics["upper_share"]
        assert moved["verdict"] == "drift"
        assert moved["reference_mean"] < 0.2 < 0.5 < moved["window_mean"]
        assert report.statistics["embedding"]["verdict"] == "drift"
        assert set(report.summary["telltale"]) == set(features.NAMES)
        assert report.summary["telltale"]["upper_share"] > 0
        assert report.statistics["domain_classifier"]["auc"] > 0.9
        assert not report.accuracy["is_trusted"]
        told = [report.accuracy["reason"]]
        with translation.override("de"):
            quality.build_report(scheme)
        told.append(Alert.objects.standing().get(kind="drift", key=scheme.key).message)
        # In words, and in English whoever asked.
        assert all("share of capitals" in one and "_" not in one for one in told), told
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        # A quiet hour is no sign that it is over.
        assert quality.build_report(scheme).summary["verdict"] == "too_few"
        assert Alert.objects.standing().count() == 1
        arrive(calm(150, first=30_000))
        quality.build_report(scheme)
    alert = Alert.objects.get()
    assert alert.closing_message == "incoming posts resemble the training data again"


def test_a_text_that_everybody_repeats_is_one_opinion(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(["LOUD!!!! #ONE"] * 200)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "too_few" and report.statistics == {}
    assert report.summary["duplicate_share"] == 0.995


def test_an_estimate_that_hangs_on_one_text_is_not_trusted(
    watched: ModelVersion, scheme: LabelScheme
) -> None:
    arrive(calm(100) + ["the game love today"] * 99)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok" and report.accuracy["is_trusted"]
    arrive(["the game love today"] * 30)
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "ok" and not report.accuracy["is_trusted"]
    assert report.accuracy["reason"].startswith("one text makes up 56% of the posts")


def test_without_a_champion_there_is_no_report(scheme: LabelScheme) -> None:
    with pytest.raises(NoChampion):
        quality.build_report(scheme)


def test_a_version_without_a_reference_says_so(champion: ModelVersion, scheme: LabelScheme) -> None:
    arrive(calm(60))
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference"
    assert report.accuracy["estimated"] and not report.accuracy["is_trusted"]


def test_an_altered_reference_is_not_used(watched: ModelVersion, scheme: LabelScheme) -> None:
    arrive(calm(60))
    (Path(watched.artifact_uri) / reference.REFERENCE_FILE).write_bytes(b"altered")
    report = quality.build_report(scheme)
    assert report.summary["verdict"] == "no_reference"
    assert "not the file that was registered" in report.summary["problem"]


def test_a_report_sums_the_window_up(champion: ModelVersion, scheme: LabelScheme) -> None:
    arrive(["the food awful today", "the food awful  today", "the song wonderful today", " "])
    Post.objects.filter(text__contains="song").update(lang="en")
    report = quality.build_report(scheme)
    summary = report.summary
    assert (report.post_count, summary["sampled"]) == (4, 4)
    assert summary["categories"]["negative"] >= 2
    assert summary["language_shares"] == {"unknown": 0.75, "en": 0.25}
    assert summary["sources"] == {"x": 4}
    assert (summary["duplicate_share"], summary["empty_share"]) == (0.25, 0.25)
    assert sum(summary["confidence_histogram"]) == 4


def test_only_the_champion_s_own_judgements_of_the_window_count(
    make_version: Callable[..., ModelVersion], scheme: LabelScheme
) -> None:
    first = make_version(1, stage="champion")
    arrive(calm(3))
    ModelVersion.objects.filter(pk=first.pk).update(stage="archived")
    make_version(2, stage="champion")
    serving.reset()
    kept, old, gone = arrive(calm(3, first=10))
    Prediction.objects.filter(post=old).update(created_at=timezone.now() - timedelta(days=2))
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    report = quality.build_report(scheme)
    assert (report.post_count, report.summary["sampled"]) == (4, 1)
    serving.reset()


def test_late_labels_are_held_against_the_estimate(
    watched: ModelVersion, scheme: LabelScheme, admin_user: Any
) -> None:
    posts = arrive(calm(80))
    report = quality.build_report(scheme)
    assert report.accuracy["estimated"] > 0.9 and "true" not in report.accuracy
    predicted = dict(Prediction.objects.values_list("post_id", "category_id"))
    for index, post in enumerate(posts[:20]):
        right = Category.objects.get(pk=predicted[post.pk])
        wrong = scheme.categories.exclude(pk=right.pk)[0]
        annotate(post, right if index % 4 else wrong, annotator=admin_user)
    assert quality.fill_in_truth(scheme) == 1
    assert quality.fill_in_truth(scheme) == 0
    report.refresh_from_db()
    told = report.accuracy
    assert (told["true"], told["labelled"]) == (0.75, 20)
    assert told["true_low"] < 0.75 < told["true_high"]
    assert told["estimated_on_labelled"] == pytest.approx(
        report.summary["mean_confidence"], abs=0.1
    )


def test_labels_are_held_against_what_served_and_had_not_learned_from_them(
    watched: ModelVersion,
    scheme: LabelScheme,
    make_version: Callable[..., ModelVersion],
    admin_user: Any,
) -> None:
    posts = arrive(calm(20))
    other = make_version(2)
    wrong = scheme.categories.last()
    Prediction.objects.bulk_create(
        Prediction(
            post=post,
            model_version=other,
            scheme=scheme,
            category=wrong,
            confidence=0.4,
            scores={},
            is_serving=False,
        )
        for post in posts
    )
    report = quality.build_report(scheme)
    for post in posts:
        annotate(post, post.predictions.serving().get().category, annotator=admin_user)
    # The other version learned from all of them, the one that serves from the first five.
    for version, learned in ((other, posts), (watched, posts[:5])):
        TrainingPost.objects.bulk_create(
            TrainingPost(version=version, post=post, split=TrainingPost.Split.TRAIN)
            for post in learned
        )
    TrainingPost.objects.bulk_create(
        TrainingPost(version=watched, post=post, split=TrainingPost.Split.TEST)
        for post in posts[5:]
    )
    quality.fill_in_truth(scheme)
    report.refresh_from_db()
    assert (report.accuracy["true"], report.accuracy["labelled"]) == (1.0, 15)


def test_the_command_and_the_route_tell_the_same(
    watched: ModelVersion, scheme: LabelScheme, client: Client, admin_user: Any
) -> None:
    arrive(calm(60))
    out = StringIO()
    call_command("check_quality", "--json", stdout=out)
    told = json.loads(out.getvalue())
    answer = client.get("/data/quality").json()
    assert answer["status"] == told["verdict"] == "ok"
    assert answer["statistics"] == told["statistics"]
    assert answer["accuracy"] == told["accuracy"]
    out = StringIO()
    call_command("check_quality", stdout=out)
    assert "posts are like the training data" in out.getvalue()
    assert "estimated accuracy" in out.getvalue()
    client.force_login(admin_user)
    page = client.get("/admin/modeling/qualityreport/").content.decode()
    assert f"{told['accuracy']['estimated']:.1%}" in page
