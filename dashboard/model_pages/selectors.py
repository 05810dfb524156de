"""What the pages about the model ask of the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.core.paginator import Page, Paginator
from django.db.models import Count, Model, QuerySet
from django.urls import reverse

from ingestion.models import Alert
from modeling.models import LabelScheme, ModelVersion, Promotion, QualityReport, TrainingRun

VERSIONS_A_PAGE = 20
ROWS_A_PAGE = 25
LEDGER_LINES = 25
# So many versions a menu offers; an address may name older ones.
CHOICES = 100
MAXIMUM_ALERTS = 10
SERVERS = {"http", "https"}


def versions(scheme: LabelScheme) -> QuerySet[ModelVersion]:
    """Newest first, with the run that made each; without what lists do not show."""
    return (
        scheme.versions.select_related("scheme", "training_run", "training_run__requested_by")
        .defer("reference", "artifact_digests")
        .order_by("-version")
    )


def version(scheme: LabelScheme, number: int) -> ModelVersion | None:
    """With all of its row. None where there is none."""
    found = scheme.versions.select_related(
        "scheme", "training_run", "training_run__requested_by"
    ).filter(version=number)
    return found.first()


def champion(scheme: LabelScheme) -> ModelVersion | None:
    return ModelVersion.objects.champions().filter(scheme=scheme).first()


def choices(scheme: LabelScheme) -> list[ModelVersion]:
    """What a menu of versions offers: number and stage of the newest."""
    rows = scheme.versions.only("version", "stage", "scheme_id").order_by("-version")
    return list(rows[:CHOICES])


def page_of(rows: QuerySet[Any], number: str | None, size: int = ROWS_A_PAGE) -> Page[Any]:
    """The page that an address asks for; the nearest one where it asks for none that exists."""
    return Paginator(rows, size).get_page(number)


def run_of(version: ModelVersion) -> TrainingRun | None:
    """The training that made a version; None for one that came in another way."""
    try:
        return version.training_run
    except ObjectDoesNotExist:
        return None


def ledger(scheme: LabelScheme) -> QuerySet[Promotion]:
    """Promotions, newest first."""
    return scheme.promotions.select_related("version", "previous", "scheme")


def promotions_of(version: ModelVersion) -> list[Promotion]:
    """When and why a version came to serve, newest first."""
    return list(version.promotions.select_related("version", "previous", "scheme")[:LEDGER_LINES])


def provenance(version: ModelVersion) -> dict[str, int]:
    """Stored posts of a version's data set, by split; the starter corpus has no posts."""
    counted = version.training_posts.values_list("split").annotate(posts=Count("pk"))
    return dict(counted.order_by("split"))


def file_alerts(version: ModelVersion) -> list[Alert]:
    """What was wrong with a version's files, standing or over, newest first."""
    said = f"version {version.version} cannot be loaded"
    alerts = Alert.objects.filter(
        kind="model", key=version.scheme.key, message__startswith=f"{said}:"
    )
    return list(alerts[:MAXIMUM_ALERTS])


def standing_alerts(scheme: LabelScheme) -> list[Alert]:
    """What needs a human now, of this scheme's model and of the posts that it judges."""
    alerts = Alert.objects.standing().filter(
        kind__in=["drift", "quality", "model", "training"], key=scheme.key
    )
    return list(alerts[:MAXIMUM_ALERTS])


def runs(scheme: LabelScheme) -> QuerySet[TrainingRun]:
    return scheme.runs.select_related("version", "requested_by")


def reports(scheme: LabelScheme) -> QuerySet[QualityReport]:
    return scheme.reports.select_related("model_version")


def schemes_to_choose(shown: LabelScheme) -> Sequence[LabelScheme]:
    """All schemes where there are several, none where there is no choice."""
    found = list(LabelScheme.objects.all())
    return found if len(found) > 1 or shown not in found else []


def mlflow_address(version: ModelVersion) -> str:
    """The version's page in MLflow, where that is a server; empty for a local store.

    Without a user and password that the setting may hold: a page is read by many.
    """
    parts = urlsplit(settings.MLFLOW_TRACKING_URI)
    if parts.scheme not in SERVERS:
        return ""
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/")
    key = version.scheme.key
    return f"{parts.scheme}://{host}{path}/#/models/{key}/versions/{version.version}"


def address(name: str, scheme: LabelScheme, *numbers: int) -> str:
    """A page's address; other schemes than the default one are named in it."""
    path = reverse(name, args=numbers)
    return path if scheme.key == LabelScheme.DEFAULT_KEY else f"{path}?scheme={scheme.key}"


def row_address(name: str, row: Model) -> str:
    """The row as the API tells it."""
    return f"/api/v1/{name}/{row.pk}/"
