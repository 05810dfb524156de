"""Celery tasks: their names, their queues, and what they hand on."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from celery import current_app
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion import services as ingestion
from ingestion.models import Alert, Post
from modeling import serving, tasks
from modeling.exceptions import NotEnoughData
from modeling.models import LabelScheme, ModelVersion, Prediction, QualityReport, TrainingRun
from modeling.services import train
from tests.conftest import wait_until
from tests.ingestion.factories import incoming
from tests.modeling.news import label

QUEUES = {
    "modeling.classify_posts": "predict",
    "modeling.classify_pending": "predict",
    "modeling.train": "train",
    "modeling.check_quality": "default",
    "modeling.check_retraining": "default",
}


def make_post(**fields: object) -> Post:
    values = {"source": "x", "external_id": "1", "text": "hello", "created_at": timezone.now()}
    return Post.objects.create(**{**values, **fields})


@pytest.fixture
def eager() -> Iterator[None]:
    """Tasks run here instead of in a worker, which would not see the test's settings."""
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = False


@pytest.fixture(params=["sentiment", "mood"])
def broken(request: pytest.FixtureRequest) -> str:
    """The scheme that something is wrong with, be it the first or the last in turn."""
    key: str = request.param
    return key


@pytest.mark.parametrize("name", QUEUES)
def test_a_task_is_registered_and_routed(name: str) -> None:
    assert name in current_app.tasks
    route = current_app.amqp.router.route({}, name)
    assert getattr(route.get("queue"), "name", "default") == QUEUES[name]


def test_posts_are_classified_once(champion: ModelVersion) -> None:
    post = make_post()
    assert tasks.classify_posts([post.pk]) == 1
    assert tasks.classify_posts([post.pk]) == 0


def test_the_sweep_takes_what_arrived_lately(champion: ModelVersion) -> None:
    make_post(received_at=timezone.now() - timedelta(hours=tasks.SWEEP, minutes=1))
    fresh = make_post(external_id="2")
    assert tasks.classify_pending() == 1
    assert Prediction.objects.get().post == fresh


def test_before_there_is_a_model_posts_wait(scheme: LabelScheme) -> None:
    serving.reset()
    post = make_post()
    assert tasks.classify_posts([post.pk]) == 0
    assert tasks.classify_pending() == 0
    assert not Prediction.objects.exists()


def test_quality_is_checked_for_each_scheme_that_serves(
    champion: ModelVersion, own_scheme: LabelScheme
) -> None:
    tasks.check_quality()
    assert QualityReport.objects.get().scheme == champion.scheme


def test_a_check_without_a_reason_trains_nothing(
    champion: ModelVersion, own_scheme: LabelScheme
) -> None:
    tasks.check_retraining()
    assert not TrainingRun.objects.exists()


def test_a_scheme_whose_quality_check_fails_keeps_no_other_from_it_and_is_told_of(
    champion: ModelVersion,
    own_scheme: LabelScheme,
    make_version: Callable[..., ModelVersion],
    broken: str,
) -> None:
    make_version(7, scheme=own_scheme, stage="champion")
    row = ModelVersion.objects.get(scheme__key=broken)
    digests = row.artifact_digests
    # A row that was written by hand, badly.
    ModelVersion.objects.filter(pk=row.pk).update(artifact_digests=["model.onnx"])
    with pytest.raises(ExceptionGroup, match="quality check"):
        tasks.check_quality()
    assert QualityReport.objects.get().scheme.key != broken
    alert = Alert.objects.standing().get(kind="quality")
    assert alert.key == broken and "AttributeError" in alert.message
    ModelVersion.objects.filter(pk=row.pk).update(artifact_digests=digests)
    tasks.check_quality()
    assert not Alert.objects.standing().filter(kind="quality").exists()


def test_a_scheme_whose_retraining_check_fails_keeps_no_other_from_it(
    champion: ModelVersion,
    own_scheme: LabelScheme,
    make_version: Callable[..., ModelVersion],
    broken: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MIN_SAMPLES_FOR_RETRAIN = 1
    make_version(7, scheme=own_scheme, stage="champion")
    for version in ModelVersion.objects.all():
        label(version.scheme, 1)
    row = ModelVersion.objects.get(scheme__key=broken)
    now = timezone.now()
    QualityReport.objects.create(
        scheme=row.scheme,
        model_version=row,
        window_start=now,
        window_end=now,
        statistics={"words": 0.7},
    )
    with pytest.raises(ExceptionGroup, match="retraining check") as raised:
        tasks.check_retraining()
    assert len(raised.value.exceptions) == 1
    assert TrainingRun.objects.get().scheme.key != broken
    assert f"the retraining check of '{broken}' failed" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_check_takes_up_a_first_run_that_was_cut_short(
    own_scheme: LabelScheme, celery_worker: None
) -> None:
    run = TrainingRun.objects.create(
        scheme=own_scheme, status="interrupted", created_at=timezone.now() - timedelta(hours=1)
    )
    tasks.check_retraining()
    # There is nothing to learn from: what it says of that is that it was carried out.
    wait_until(lambda: TrainingRun.objects.get(pk=run.pk).status == "failed")
    assert "NotEnoughData" in TrainingRun.objects.get(pk=run.pk).error


def test_stored_posts_are_classified_by_a_worker(
    champion: ModelVersion, celery_worker: None
) -> None:
    ingestion.store([incoming(text="the food awful today") for _ in range(3)])
    wait_until(lambda: Prediction.objects.count() == 3, seconds=60)
    assert {p.category.key for p in Prediction.objects.select_related("category")} == {"negative"}


@pytest.mark.django_db(transaction=True)
def test_a_run_that_fails_says_so(own_scheme: LabelScheme) -> None:
    run = train.request_training(own_scheme)
    with pytest.raises(NotEnoughData, match="too few"):
        tasks.train(run.pk)
    run.refresh_from_db()
    assert run.status == TrainingRun.Status.FAILED


@pytest.mark.django_db(transaction=True)
def test_a_trigger_starts_a_training(
    labelled: LabelScheme,
    make_version: Callable[..., ModelVersion],
    tiny_settings: Settings,
    eager: None,
) -> None:
    tiny_settings.MIN_SAMPLES_FOR_RETRAIN = 100
    make_version(7, scheme=labelled, stage="champion")
    tasks.check_retraining()
    run = TrainingRun.objects.get()
    assert run.is_automatic and run.triggers["labels"]["fired"]
    assert run.status == TrainingRun.Status.SUCCEEDED, run.error
