"""Labels come in; a worker finds them enough, trains, judges, promotes; every process serves it."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings as project
from pytest_django.fixtures import Settings

from ingestion import embedded
from ingestion.models import Post
from modeling import serving, tasks
from modeling.ml import text
from modeling.models import Annotation, LabelScheme, ModelVersion, TrainingRun
from modeling.services.annotate import annotate_many
from modeling.services.dataset import split_name
from tests.conftest import LABELS, end, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SHARED = (
    *("MODEL_NAME", "MAX_LENGTH", "BATCH_SIZE", "LEARNING_RATE", "NUM_EPOCHS"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_ROOT", "MIN_SAMPLES_FOR_RETRAIN"),
)


@contextmanager
def worker(settings: Settings, database_url: str) -> Iterator[None]:
    """A worker of all queues with this test's settings: a process of its own where Redis is."""
    if not project.REDIS_URL:
        with embedded.start_worker():
            yield
        return
    command = [sys.executable, "-m", "celery", "-A", "sentiment_site", "worker", "-P", "threads"]
    process = subprocess.Popen(
        [*command, "-c", "2", "-Q", "default,predict,train", "-l", "warning"],
        cwd=project.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            **{name: str(getattr(settings, name)) for name in SHARED},
        },
    )
    try:
        yield
    finally:
        end(process)


def ended(count: int) -> bool:
    runs = TrainingRun.objects.values_list("status", flat=True)
    return len(runs) == count and not set(runs) & set(TrainingRun.ACTIVE)


def test_labels_become_a_model_that_serves_and_bad_labels_do_not(
    labelled: LabelScheme,
    make_version: Callable[..., ModelVersion],
    tiny_settings: Settings,
    database_url: str,
) -> None:
    tiny_settings.MIN_SAMPLES_FOR_RETRAIN = 100
    make_version(7, scheme=labelled, stage="champion")
    assert serving.champion(labelled.key).version == "7"
    with worker(tiny_settings, database_url):
        tasks.check_retraining.delay()
        wait_until(lambda: ended(1), seconds=120)
        good = TrainingRun.objects.get()
        assert good.triggers["labels"]["fired"] and good.is_automatic
        assert good.status == TrainingRun.Status.SUCCEEDED, good.error or good.gate
        assert good.gate["passed"] and good.version is not None
        number = str(good.version.version)
        wait_until(lambda: serving.champion(labelled.key).version == number, seconds=30)
        entry = labelled.promotions.first()
        assert entry is not None and entry.actor == f"training run {good.pk}"

        # Somebody labels wrongly at random, but not what models are judged on.
        chance = random.Random(3)
        said = Annotation.objects.current().filter(scheme=labelled).order_by("post_id")
        wrong = {
            label.post_id: chance.choice([key for key in LABELS if key != label.category.key])
            for label in said.select_related("post", "category")
            if split_name(text.digest(label.post.text)) == "train"
        }
        assert len(wrong) > tiny_settings.MIN_SAMPLES_FOR_RETRAIN
        annotate_many(labelled, wrong)
        assert Annotation.objects.current().count() == Post.objects.count()
        tasks.check_retraining.delay()
        wait_until(lambda: ended(2), seconds=120)
    bad = TrainingRun.objects.latest("pk")
    assert bad.status == TrainingRun.Status.REJECTED, bad.error
    assert not bad.gate["passed"] and "macro recall" in bad.gate["reason"]
    assert bad.version is not None and bad.version.stage == ModelVersion.Stage.CANDIDATE
    assert serving.champion(labelled.key).version == number
