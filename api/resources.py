"""The resources under `/api/v1/`."""

from __future__ import annotations

from typing import Any

from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api import filters, serializers
from api.pagination import NewestFirst
from api.permissions import IsSignedIn, MayWrite
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
from modeling.services.annotate import annotate
from modeling.services.promote import promote


class ReadOnly(viewsets.ReadOnlyModelViewSet):
    """A list with filters and cursor paging."""

    pagination_class = NewestFirst
    filter_backends = [DjangoFilterBackend]


class PostViewSet(ReadOnly):
    """Posts that their sources still show, newest first; of an edited one the newest version,
    unless `versions=all` asks for the earlier ones too."""

    queryset = Post.objects.visible().prefetch_related("streams")
    serializer_class = serializers.PostSerializer
    filterset_class = filters.PostFilter

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


class AnnotationViewSet(mixins.CreateModelMixin, ReadOnly):
    """Labels, with their history. Posting labels a post in your name."""

    queryset = Annotation.objects.select_related("category", "annotator")
    serializer_class = serializers.AnnotationSerializer
    filterset_class = filters.AnnotationFilter
    permission_classes = [IsSignedIn]

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

    @extend_schema(request=None, responses={200: serializers.ModelVersionSerializer})
    @action(detail=True, methods=["post"])
    def promote(self, request: Request, pk: str | None = None) -> Response:
        """Make this version the champion."""
        version = self.get_object()
        user = request.user if request.user.is_authenticated else None
        promote(version, by=user, reason="promoted over the API")
        return Response(self.get_serializer(version).data, status=status.HTTP_200_OK)


class TrainingRunViewSet(ReadOnly):
    """Trainings, with triggers, progress and gate."""

    queryset = TrainingRun.objects.select_related("version")
    serializer_class = serializers.TrainingRunSerializer
    filterset_fields = ["status", "is_automatic"]


class QualityReportViewSet(ReadOnly):
    """Quality and drift reports."""

    queryset = QualityReport.objects.select_related("model_version")
    serializer_class = serializers.QualityReportSerializer
    filterset_fields = ["has_drift"]


class ExperimentViewSet(ReadOnly):
    """Champion against challenger."""

    queryset = Experiment.objects.all()
    serializer_class = serializers.ExperimentSerializer
