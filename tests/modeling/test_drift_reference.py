"""What incoming posts are held against: posts as they arrive, not those that people labelled."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.ml import features, reference, text
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.reference import Sample
from modeling.models import LabelScheme, TrainingRun
from modeling.services import drift_reference, quality, train
from modeling.services.dataset import gather, split_name
from tests.modeling.watching import calm

pytestmark = pytest.mark.django_db(transaction=True)


def stored(texts: list[str], age: timedelta = timedelta(hours=1), **fields: object) -> list[Post]:
    start = Post.objects.count()
    moment = timezone.now() - age
    return Post.objects.bulk_create(
        Post(
            source="file",
            external_id=f"arrived-{start + i}",
            text=one,
            created_at=moment,
            received_at=moment,
            **fields,
        )
        for i, one in enumerate(texts)
    )


@pytest.fixture
def begun(labelled: LabelScheme) -> TrainingRun:
    return TrainingRun.objects.create(scheme=labelled, started_at=timezone.now())


def drawn(run: TrainingRun, learned: tuple[str, ...] = ()) -> list[str]:
    return drift_reference.arrivals(run, [*gather(run.scheme).train.texts, *learned])


def test_current_posts_of_the_last_week_are_drawn(begun: TrainingRun) -> None:
    fresh = calm(220)
    stored(fresh)
    stored(calm(5, first=40_000), timedelta(days=8))
    stored(calm(5, first=50_000), timedelta(hours=-1))
    stored(calm(5, first=60_000), deleted_at=timezone.now())
    stored(calm(5, first=70_000), is_superseded=True)
    # Beside those with a label that the model is not taught.
    texts = drawn(begun)
    assert {one for one in texts if "number" in one} == set(fresh)
    assert drawn(begun) == texts


def test_what_a_model_learned_is_not_drawn_and_no_text_twice(begun: TrainingRun) -> None:
    fresh = calm(260)
    stored([*fresh, *fresh[:100]])
    texts = drawn(begun, learned=tuple(one.upper() for one in fresh[:40]))
    assert sorted(one for one in texts if "number" in one) == sorted(fresh[40:])
    taught = {text.digest(one) for one in gather(begun.scheme).train.texts}
    assert not taught & {text.digest(one) for one in texts}


def test_too_few_arrivals_are_none(begun: TrainingRun) -> None:
    labelled = Post.objects.values_list("text", flat=True)
    held_out = sum(split_name(text.digest(one)) != "train" for one in labelled)
    stored(calm(reference.MINIMUM - held_out - 1))
    assert drawn(begun) == []
    stored(calm(1, first=90_000))
    assert len(drawn(begun)) == reference.MINIMUM


def test_of_many_arrivals_some_are_drawn_from_all_of_them(
    begun: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_reference, "_READ", 300)
    fresh = calm(900)
    stored(fresh)
    texts = drawn(begun)
    assert drawn(begun) == texts
    assert 200 <= len(texts) <= 300
    places = sorted(fresh.index(one) for one in texts if one in fresh)
    assert places[0] < 100 and places[-1] > 800


def test_a_training_s_reference_is_of_the_posts_that_arrive(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    tiny_settings.NUM_EPOCHS = 1
    stored(calm(300))
    said: list[str] = []
    run = train.request_training(labelled)
    run = train.execute(run.pk, progress=lambda share, message: said.append(message))
    assert run.version is not None
    assert "making the reference that drift is measured against" in said
    sample = Sample.read(Path(run.version.artifact_uri))
    assert sample is not None
    held_out = run.version.validation_size + run.version.test_size
    assert len(sample.labelled) == held_out
    assert len(sample.ordinary) == run.version.reference["size"] >= 300
    assert sample.ordinary.truth.max() == reference.UNKNOWN
    assert run.version.reference["mean_confidence"] == pytest.approx(
        float(sample.ordinary.probabilities.max(axis=1).mean())
    )


def test_without_arrivals_the_labelled_posts_are_the_reference(
    labelled: LabelScheme,
    begun: TrainingRun,
    tiny_model: Path,
    classifier: SentimentClassifier,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    dataset = gather(labelled)
    picture = drift_reference.make_reference(begun, dataset, folder, classifier)
    sample = Sample.read(folder)
    assert sample is not None and sample.ordinary is sample
    assert picture["size"] == len(sample) == len(dataset.validation) + len(dataset.test)


def stream(count: int, generator: np.random.Generator) -> Sample:
    """Posts of one source that never changes, and a model that is right as often as it believes."""
    probabilities = generator.dirichlet([0.6, 0.6, 0.6], count)
    truth = (probabilities.cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    none = np.zeros((count, 0))
    return Sample(
        generator.normal(size=(count, len(features.NAMES))), probabilities, truth, none, none
    )


def rows_of(sample: Sample, rows: np.ndarray, *, is_labelled: bool = True) -> Sample:
    truth = sample.truth[rows] if is_labelled else np.full(len(rows), reference.UNKNOWN)
    return Sample(
        sample.features[rows],
        sample.probabilities[rows],
        truth,
        sample.embeddings[rows],
        sample.projection,
    )


def both(first: Sample, second: Sample) -> Sample:
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("features", "probabilities", "truth", "embeddings")
    }
    return Sample(**parts, projection=first.projection)


def held(sample: Sample, window: Sample) -> tuple[quality.Comparison, dict[str, Any]]:
    confidence = window.probabilities.max(axis=1)
    compared = quality.compare(
        sample, window.features, confidence, window.probabilities.argmax(axis=1), None
    )
    texts = [str(i) for i in range(len(window))]
    return compared, quality.estimate(sample, confidence, texts, compared)


def test_labels_of_unsure_posts_make_no_drift_and_no_trust() -> None:
    generator = np.random.default_rng(11)
    posts = stream(4000, generator)
    ranked = np.sort(posts.probabilities, axis=1)
    unsure = np.argsort(ranked[:, 2] - ranked[:, 1])[:400]
    fair = generator.choice(4000, 100, replace=False)
    labelled = rows_of(posts, np.concatenate([unsure, fair]))
    arrived = rows_of(posts, generator.choice(4000, 1000, replace=False), is_labelled=False)
    told = [held(both(labelled, arrived), stream(500, generator)) for _ in range(10)]
    assert [compared.verdict for compared, _ in told] == ["ok"] * 10
    # What the model is right about among such labels says little of the window.
    assert not any(accuracy["is_trusted"] for _, accuracy in told)
    assert all("unlike the labelled ones" in accuracy["reason"] for _, accuracy in told)
    alone = held(labelled, stream(500, generator))[0]
    assert alone.has_drift and "confidence" in alone.drifted


def test_labels_of_a_fair_draw_are_trusted_beside_arrivals() -> None:
    generator = np.random.default_rng(12)
    posts = stream(3000, generator)
    labelled = rows_of(posts, np.arange(600))
    arrived = rows_of(posts, np.arange(600, 3000), is_labelled=False)
    window = stream(800, generator)
    compared, accuracy = held(both(labelled, arrived), window)
    assert compared.verdict == "ok" and accuracy["is_trusted"], accuracy
    right = float((window.probabilities.argmax(axis=1) == window.truth).mean())
    assert accuracy["low"] < right < accuracy["high"]
    few = both(rows_of(posts, np.arange(reference.MINIMUM - 1)), arrived)
    assert held(few, window)[1]["reason"].startswith("too few labelled posts were held back")
