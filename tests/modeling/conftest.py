"""What several tests of modeling share: a labelled scheme and settings for a quick training."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import mlflow
import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling import serving
from modeling.ml import artifact, reference
from modeling.ml.arguments import Labelled, TrainingArguments
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.embedding import Embedder
from modeling.ml.export import export_onnx
from modeling.ml.training import fine_tune
from modeling.models import LabelScheme, ModelVersion
from modeling.services.annotate import annotate_many
from tests.conftest import LABELS, obvious_posts
from tests.modeling.watching import calm


@pytest.fixture
def own_scheme(db: None) -> LabelScheme:
    """A scheme of its own, so that the starter corpus stays out and training takes seconds."""
    scheme = LabelScheme.objects.create(key="mood", name="Mood")
    for position, key in enumerate(LABELS):
        scheme.categories.create(key=key, name=key.title(), position=position)
    return scheme


@pytest.fixture
def labelled(own_scheme: LabelScheme) -> LabelScheme:
    texts, labels = obvious_posts()
    posts = Post.objects.bulk_create(
        Post(source="file", external_id=f"l{i}", text=text, created_at=timezone.now())
        for i, text in enumerate(texts)
    )
    annotate_many(own_scheme, {p.pk: LABELS[y] for p, y in zip(posts, labels, strict=True)})
    return own_scheme


@pytest.fixture(scope="session")
def shuffled_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained as `tiny_model` is, on the same posts with shuffled labels."""
    folder = tmp_path_factory.mktemp("shuffled-model")
    texts, labels = obvious_posts()
    Random(1).shuffle(labels)
    data = Labelled(texts, labels)
    arguments = TrainingArguments(
        base_model=str(tiny_base), max_length=32, batch_size=16, learning_rate=3e-3, epochs=1
    )
    fine_tune(data, Labelled(texts[:60], labels[:60]), LABELS, arguments, folder)
    export_onnx(folder)
    return folder


@pytest.fixture(scope="session")
def empty_mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which it takes seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.sqlite3"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_store(settings: Settings, tmp_path: Path, empty_mlflow_store: Path) -> Settings:
    """A real MLflow store of the test's own."""
    shutil.copy(empty_mlflow_store, tmp_path)
    settings.MLFLOW_TRACKING_URI = f"sqlite:///{tmp_path}/mlflow.sqlite3"
    settings.MLFLOW_ARTIFACT_ROOT = str(tmp_path / "artifacts")
    return settings


@pytest.fixture
def tiny_settings(mlflow_store: Settings, tiny_base: Path, tmp_path: Path) -> Iterator[Settings]:
    """Settings by which a training takes seconds, and finds no other's checkpoints."""
    mlflow_store.VAR_DIR = tmp_path
    mlflow_store.MODEL_NAME = str(tiny_base)
    mlflow_store.MAX_LENGTH, mlflow_store.BATCH_SIZE = 32, 16
    mlflow_store.LEARNING_RATE, mlflow_store.NUM_EPOCHS = 3e-3, 8
    yield mlflow_store
    serving.reset()


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
    embed = Embedder(folder, classifier).embed
    sample = reference.make_sample(texts, probabilities, truth, embed)
    sample.write(folder)
    yield make_version(
        stage=ModelVersion.Stage.CHAMPION,
        artifact_uri=str(folder),
        artifact_digests=artifact.digests(folder),
        reference=reference.build(sample, LABELS),
    )
    serving.reset()
