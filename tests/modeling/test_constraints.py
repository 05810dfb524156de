"""What the database itself refuses."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from ingestion.models import Post
from modeling.models import (
    Annotation,
    Category,
    Experiment,
    LabelScheme,
    ModelVersion,
    Prediction,
    QualityReport,
    TrainingRun,
)

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


def refused(make: Callable[[], Any], constraint: str) -> bool:
    """Whether the database refuses what `make` writes; SQLite names columns, not constraints."""
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        make()
    message = str(raised.value)
    return constraint in message or message.startswith("UNIQUE constraint failed")


def test_a_category_key_is_used_once_a_scheme(scheme: LabelScheme) -> None:
    assert refused(
        lambda: Category.objects.create(scheme=scheme, key="neutral"), "category_key_once_a_scheme"
    )


def test_polarity_stays_between_minus_one_and_one(scheme: LabelScheme) -> None:
    assert refused(
        lambda: Category.objects.create(scheme=scheme, key="x", polarity=2),
        "category_polarity_range",
    )


def test_a_colour_is_written_in_hexadecimal(scheme: LabelScheme) -> None:
    with pytest.raises(ValidationError, match="#rrggbb"):
        Category(scheme=scheme, key="x", name="X", color="red").full_clean()


def test_a_version_number_is_used_once_a_scheme(make_version: Versions) -> None:
    make_version(1)
    assert refused(lambda: make_version(1), "version_once_a_scheme")


def test_one_challenger_a_scheme(make_version: Versions) -> None:
    make_version(1, stage="challenger")
    assert refused(lambda: make_version(2, stage="challenger"), "version_one_challenger")


def test_a_temperature_is_positive(make_version: Versions) -> None:
    assert refused(lambda: make_version(1, temperature=0), "version_temperature")


@pytest.fixture
def prediction(make_version: Versions, scheme: LabelScheme) -> Callable[..., Prediction]:
    version = make_version(1)
    post = Post.objects.create(source="x", external_id="1", text="a", created_at=timezone.now())
    category = scheme.categories.get(key="neutral")

    def make(**fields: Any) -> Prediction:
        values: dict[str, Any] = {
            "post": post,
            "scheme": scheme,
            "model_version": version,
            "category": category,
            "confidence": 0.5,
            "scores": {},
        }
        return Prediction.objects.create(**{**values, **fields})

    return make


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_confidence_is_a_probability(
    prediction: Callable[..., Prediction], confidence: float
) -> None:
    assert refused(lambda: prediction(confidence=confidence), "prediction_confidence")


def test_a_version_judges_a_post_once(prediction: Callable[..., Prediction]) -> None:
    prediction(is_serving=False)
    assert refused(lambda: prediction(is_serving=False), "prediction_once_a_version")


def test_a_challenger_judges_beside_the_champion(
    prediction: Callable[..., Prediction], make_version: Versions
) -> None:
    prediction()
    prediction(model_version=make_version(2), is_serving=False)
    assert Prediction.objects.serving().count() == 1
    assert Prediction.objects.count() == 2


def test_one_active_run_a_scheme(scheme: LabelScheme) -> None:
    TrainingRun.objects.create(scheme=scheme, status="running")
    assert refused(
        lambda: TrainingRun.objects.create(scheme=scheme, status="queued"),
        "run_one_active_a_scheme",
    )


def test_progress_is_a_share(scheme: LabelScheme) -> None:
    assert refused(
        lambda: TrainingRun.objects.create(scheme=scheme, progress=1.5), "run_progress_range"
    )


def test_a_window_ends_after_it_began(scheme: LabelScheme) -> None:
    now = timezone.now()
    assert refused(
        lambda: QualityReport.objects.create(
            scheme=scheme, window_start=now, window_end=now - timedelta(hours=1)
        ),
        "report_window_order",
    )


def test_an_experiment_needs_two_versions_and_a_share(
    make_version: Versions, scheme: LabelScheme
) -> None:
    one, two = make_version(1), make_version(2)

    def make(**fields: Any) -> Experiment:
        values = {"scheme": scheme, "champion": one, "challenger": two}
        return Experiment.objects.create(**{**values, **fields})

    assert refused(lambda: make(challenger=one), "experiment_two_versions")
    assert refused(lambda: make(share=0), "experiment_share_range")
    make(stopped_at=timezone.now())
    make()
    assert refused(make, "experiment_one_running")


def test_two_imported_labels_of_a_post_cannot_both_be_in_force(scheme: LabelScheme) -> None:
    post = Post.objects.create(source="x", external_id="1", text="a", created_at=timezone.now())
    category = scheme.categories.get(key="neutral")

    def make(**fields: Any) -> Annotation:
        values = {"post": post, "scheme": scheme, "category": category, "origin": "import"}
        return Annotation.objects.create(**{**values, **fields})

    make()
    assert refused(make, "annotation_one_import")
    # People who are gone, however many.
    make(origin="human")
    make(origin="human")


def test_what_judged_posts_cannot_be_deleted(prediction: Callable[..., Prediction]) -> None:
    made = prediction()
    with pytest.raises(ProtectedError):
        made.model_version.delete()
    with pytest.raises(ProtectedError):
        made.category.delete()
