"""The resources under `/api/v1/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api import filters, serializers
from api.exports import CHUNK, EXPORTS, Export, attachment
from api.filtering import StrictFilters
from api.pagination import NewestFirst
from api.permissions import IsSignedIn, MayWrite, Scope
from ingestion.models import Alert, Post
from modeling.models import (
    Annotation,
    Category,
    Experiment,
    LabelScheme,
    ModelVersion,
    Prediction,
    Promotion,
    QualityReport,
    TrainingRun,
)
from modeling.services.annotate import annotate
from modeling.services.promote import promote, rollback


class Listed(mixins.ListModelMixin, viewsets.GenericViewSet):
    """A list with filters, an order and cursor paging; as CSV or NDJSON it is streamed whole."""

    pagination_class = NewestFirst
    filter_backends = [StrictFilters, filters.OneOrder]
    # Columns without NULL alone: paging compares them.
    ordering_fields: Sequence[str] = ("id",)

    def get_renderers(self) -> list[BaseRenderer]:
        renderers = super().get_renderers()
        if getattr(self, "action", None) == "list":
            renderers += [export() for export in EXPORTS]
        return renderers

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        export = request.accepted_renderer
        queryset = self.filter_queryset(self.get_queryset())
        if isinstance(export, Export):
            name = str(queryset.model._meta.verbose_name_plural).replace(" ", "-")
            row: Any = self.get_serializer()
            chunks = self._chunks(queryset)
            return attachment(request._request, export, chunks, name, list(row.fields))
        page = self.paginate_queryset(queryset)
        return self.get_paginated_response(self.rows(page or []))

    def rows(self, instances: Sequence[Any]) -> Any:
        """The rows as the client sees them."""
        return self.get_serializer(instances, many=True).data

    def _chunks(self, queryset: QuerySet[Any]) -> Iterator[Any]:
        instances = queryset.iterator(chunk_size=CHUNK)
        while chunk := list(islice(instances, CHUNK)):
            yield self.rows(chunk)


class ReadOnly(Listed, viewsets.ReadOnlyModelViewSet):
    """Rows that the API shows and does not change."""


class PostViewSet(ReadOnly):
    """Posts that their sources still show, newest first; of an edited one the newest version,
    unless `versions=all` asks for the earlier ones too."""

    queryset = Post.objects.visible().prefetch_related("streams")
    serializer_class = serializers.PostSerializer
    filterset_class = filters.PostFilter
    ordering_fields = ("id", "created_at", "received_at")

    def filter_queryset(self, queryset: Any) -> Any:
        # `edited_from` leads to earlier versions: each has its own address.
        return queryset if self.detail else super().filter_queryset(queryset)


class PredictionViewSet(ReadOnly):
    """Judgements of visible posts, newest first."""

    queryset = Prediction.objects.filter(post__deleted_at__isnull=True).select_related(
        "category", "model_version"
    )
    serializer_class = serializers.PredictionSerializer
    filterset_class = filters.PredictionFilter
    ordering_fields = ("id", "created_at", "confidence")


class AnnotationViewSet(mixins.CreateModelMixin, ReadOnly):
    """Labels, with their history. Posting labels a post in your name."""

    queryset = Annotation.objects.select_related("category", "annotator")
    serializer_class = serializers.AnnotationSerializer
    filterset_class = filters.AnnotationFilter
    ordering_fields = ("id", "created_at")
    permission_classes = [IsSignedIn]
    write_scope = Scope.ANNOTATE

    def perform_create(self, serializer: BaseSerializer) -> None:
        data: dict[str, Any] = serializer.validated_data
        key = data["category"]["key"]
        categories = Category.objects.filter(scheme__key=LabelScheme.DEFAULT_KEY)
        category = categories.filter(key=key).first()
        if category is None:
            known = ", ".join(categories.values_list("key", flat=True))
            raise ValidationError({"category": f"{key!r} is not one of: {known}."})
        # IsSignedIn let only users through.
        serializer.instance = annotate(
            data["post"],
            category,
            annotator=self.request.user,  # type: ignore[arg-type]
        )


class ModelVersionViewSet(ReadOnly):
    """Trained versions."""

    queryset = ModelVersion.objects.select_related("scheme")
    serializer_class = serializers.ModelVersionSerializer
    filterset_class = filters.ModelVersionFilter
    permission_classes = [MayWrite]
    write_permission = "modeling.change_modelversion"

    @extend_schema(request=serializers.PromoteRequest, responses=serializers.ModelVersionSerializer)
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, pk: str | None = None) -> Response:
        """Make this version the champion, if the gate lets it: 409 with the figures if not."""
        asked = serializers.PromoteRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        version = self.get_object()
        promote(version, **_who(request), **asked.validated_data)
        return Response(self.get_serializer(version).data)

    @extend_schema(
        request=serializers.RollbackRequest,
        responses=serializers.ModelVersionSerializer,
        filters=False,
    )
    @action(detail=False, methods=["post"], pagination_class=None)
    def rollback(self, request: Request) -> Response:
        """Make the champion before the present one serve again."""
        asked = serializers.RollbackRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        scheme = LabelScheme.objects.filter(key=asked.validated_data["scheme"]).first()
        if scheme is None:
            raise ValidationError({"scheme": "There is no such scheme."})
        version = rollback(scheme, **_who(request), reason=asked.validated_data["reason"])
        return Response(self.get_serializer(version).data)


def _who(request: Request) -> dict[str, Any]:
    """Whom the promotion ledger names."""
    user = request.user if isinstance(request.user, User) else None
    return {"by": user, "actor": "" if user is not None else "API"}


class PromotionViewSet(ReadOnly):
    """The ledger: what served from when on, by whom and why. `at` asks what served at a moment."""

    queryset = Promotion.objects.select_related("scheme", "version", "previous")
    serializer_class = serializers.PromotionSerializer
    filterset_class = filters.PromotionFilter


class TrainingRunViewSet(ReadOnly):
    """Trainings, with triggers, progress and gate."""

    queryset = TrainingRun.objects.select_related("version")
    serializer_class = serializers.TrainingRunSerializer
    filterset_class = filters.TrainingRunFilter
    ordering_fields = ("id", "created_at")


class QualityReportViewSet(ReadOnly):
    """Quality and drift reports."""

    queryset = QualityReport.objects.select_related("model_version")
    serializer_class = serializers.QualityReportSerializer
    filterset_class = filters.QualityReportFilter
    ordering_fields = ("id", "created_at", "window_start")


class AlertViewSet(ReadOnly):
    """What needs, or needed, a human."""

    queryset = Alert.objects.all()
    serializer_class = serializers.AlertSerializer
    filterset_class = filters.AlertFilter
    ordering_fields = ("id", "raised_at")


class ExperimentViewSet(ReadOnly):
    """Champion against challenger."""

    queryset = Experiment.objects.all()
    serializer_class = serializers.ExperimentSerializer
