"""The whole of a training: gather, fine-tune, register, gate, promote. Really done, once."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling import serving
from modeling.exceptions import NotEnoughData, TrainingInProgress
from modeling.models import Annotation, LabelScheme, ModelVersion, Promotion, TrainingRun
from modeling.services import gate, train
from modeling.services.annotate import annotate_many
from modeling.services.dataset import gather, split_name
from modeling.services.promote import rollback
from tests.conftest import obvious_posts

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def own_scheme(db: None) -> LabelScheme:
    """A scheme of its own, so that the starter corpus stays out and training takes seconds."""
    scheme = LabelScheme.objects.create(key="mood", name="Mood")
    for position, key in enumerate(("negative", "neutral", "positive")):
        scheme.categories.create(key=key, name=key.title(), position=position)
    return scheme


@pytest.fixture
def labelled(own_scheme: LabelScheme) -> LabelScheme:
    texts, labels = obvious_posts()
    posts = Post.objects.bulk_create(
        Post(source="file", external_id=f"l{i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )
    keys = ("negative", "neutral", "positive")
    annotate_many(own_scheme, {p.pk: keys[y] for p, y in zip(posts, labels, strict=True)})
    return own_scheme


@pytest.fixture
def tiny_settings(settings: Settings, tiny_base: Path, tmp_path: Path) -> Iterator[Settings]:
    settings.MODEL_NAME = str(tiny_base)
    settings.MAX_LENGTH, settings.BATCH_SIZE = 32, 16
    settings.LEARNING_RATE, settings.NUM_EPOCHS = 3e-3, 8
    settings.MLFLOW_TRACKING_URI = f"sqlite:///{tmp_path}/mlflow.sqlite3"
    settings.MLFLOW_ARTIFACT_ROOT = str(tmp_path / "artifacts")
    yield settings
    serving.reset()


def test_a_training_ends_with_a_registered_champion_and_a_worse_one_is_refused(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    run = train.request_training(labelled, reason="test")
    with pytest.raises(TrainingInProgress):
        train.request_training(labelled)
    seen: list[float] = []
    run = train.execute(run.pk, progress=lambda share, message: seen.append(share))
    assert run.status == TrainingRun.Status.SUCCEEDED, run.error
    assert seen[-1] == 1.0
    version = ModelVersion.objects.champions().get(scheme=labelled)
    assert run.version == version and version.version == 1
    assert version.metrics["test"]["macro_recall"] > 0.8
    assert version.train_size + version.validation_size + version.test_size == 180
    _check_registry(version)
    assert serving.champion("mood").version == "1"
    assert train.execute(run.pk).version == version

    _shuffle_labels(labelled)
    worse = train.execute(train.request_training(labelled).pk)
    assert worse.status == TrainingRun.Status.REJECTED
    assert worse.gate["passed"] is False
    assert ModelVersion.objects.champions().get(scheme=labelled) == version
    assert ModelVersion.objects.filter(scheme=labelled).count() == 2
    assert Promotion.objects.filter(scheme=labelled).count() == 1


def _check_registry(version: ModelVersion) -> None:
    client = mlflow.MlflowClient()
    alias = client.get_model_version_by_alias("mood", "champion")
    assert int(alias.version) == version.version
    run = client.get_run(version.run_id)
    assert run.data.params["dataset_digest"] == version.dataset_digest
    assert run.data.metrics["test_macro_recall"] == pytest.approx(
        version.metrics["test"]["macro_recall"]
    )
    assert len(client.get_metric_history(version.run_id, "loss")) == 8
    names = {item.path for item in client.list_artifacts(version.run_id, "model")}
    assert "model/model.safetensors" in names


def _shuffle_labels(scheme: LabelScheme) -> None:
    """Wrong labels in the training set alone: the held-out posts stay true."""
    from modeling.ml import text

    order = {"negative": "positive", "positive": "neutral", "neutral": "negative"}
    rows = Annotation.objects.current().filter(scheme=scheme).select_related("post", "category")
    wrong = {
        row.post_id: order[row.category.key]
        for row in rows
        if split_name(text.digest(row.post.text)) == "train"
    }
    annotate_many(scheme, wrong)


def test_a_failure_is_noted_on_the_run_and_raised(own_scheme: LabelScheme) -> None:
    run = train.request_training(own_scheme)
    with pytest.raises(NotEnoughData, match="too few"):
        train.execute(run.pk)
    run.refresh_from_db()
    assert run.status == TrainingRun.Status.FAILED
    assert "too few" in run.error and run.finished_at is not None


def test_the_first_version_passes_the_gate(
    labelled: LabelScheme, classifier: serving.SentimentClassifier
) -> None:
    verdict = gate.judge(gather(labelled), classifier, None)
    assert verdict.passed and verdict.reason == "the first version"
    same = gate.judge(gather(labelled), classifier, classifier)
    assert same.passed and same.figures["candidate"] == same.figures["champion"]


def test_rolling_back_serves_the_champion_before(
    champion: ModelVersion, make_version: object, scheme: LabelScheme
) -> None:
    from modeling.services.promote import NothingToRollBack, promote

    with pytest.raises(NothingToRollBack):
        rollback(scheme)
    promote(make_version(2))  # type: ignore[operator]
    assert rollback(scheme) == champion
    champion.refresh_from_db()
    assert champion.stage == ModelVersion.Stage.CHAMPION
