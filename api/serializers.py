"""What comes in and goes out."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.fields import empty

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
from modeling.services import retrain

TEXT_LIMIT = 10_000
BATCH_LIMIT = 1_000
# Whoever sends 50,000 unknown fields is not told of each.
UNKNOWN_TOLD = 100


class TextField(serializers.CharField):
    """1–10,000 characters, one of them visible. A number is not quietly made a text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=TEXT_LIMIT, trim_whitespace=False, **kwargs)

    def run_validation(self, data: Any = empty) -> Any:
        # Before DRF's own check, which says "blank" and lets white space through.
        if isinstance(data, str) and not data.strip():
            raise serializers.ValidationError("The text is empty.")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError(f"Not a string but {type(data).__name__}.")
        try:
            data.encode()
        except UnicodeEncodeError as error:
            raise serializers.ValidationError("The text holds half a surrogate pair.") from error
        # NUL is no character that a post can hold; the model sees a space in its place.
        return super().to_internal_value(data.replace("\x00", " "))


class StrictSerializer(serializers.Serializer):
    """Refuses fields that it does not know, which are typing errors more often than not."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                dict.fromkeys(unknown[:UNKNOWN_TOLD], f"Unknown field; known are: {known}.")
            )
        return super().to_internal_value(data)


class VersionField(serializers.CharField):
    """A version's number, as text or not, or `champion`: what must judge, else nothing does."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, str | int):
            raise serializers.ValidationError("Not a version: give its number, or champion.")
        return super().to_internal_value(str(data))


class PredictOptions(StrictSerializer):
    all_scores = serializers.BooleanField(
        default=True, help_text="False leaves `scores` out of the answer."
    )
    version = VersionField(
        default="champion",
        max_length=20,
        help_text="Refused unless that version serves: its number, or champion.",
    )


@extend_schema_serializer(component_name="Predict")
class PredictRequest(PredictOptions):
    text = TextField()
    explain = serializers.BooleanField(
        default=False, help_text="Adds what each of the first 64 words does to the judgement."
    )


@extend_schema_serializer(component_name="Batch")
class BatchRequest(PredictOptions):
    texts = serializers.ListField(
        child=TextField(), min_length=1, max_length=BATCH_LIMIT, allow_empty=False
    )
    explain = serializers.BooleanField(
        default=False, help_text="Refused: texts are explained one by one."
    )

    def validate_explain(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("Texts are explained one by one, by /predict.")
        return value


@extend_schema_serializer(component_name="Retrain")
class RetrainRequest(StrictSerializer):
    force = serializers.BooleanField(default=False)


class InfluenceSerializer(serializers.Serializer):
    word = serializers.CharField()
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    weight = serializers.FloatField(
        help_text="By how much the label's probability drops without the word."
    )


class PredictionResult(serializers.Serializer):
    # A field of that name; DRF means the caption.
    label = serializers.CharField()  # type: ignore[assignment]
    confidence = serializers.FloatField()
    scores = serializers.DictField(child=serializers.FloatField(), required=False)
    truncated = serializers.BooleanField(required=False)
    model_version = serializers.CharField()
    latency_ms = serializers.FloatField()
    explanation = InfluenceSerializer(many=True, required=False)


class BatchResult(serializers.Serializer):
    predictions = PredictionResult(many=True)
    model_version = serializers.CharField()
    latency_ms = serializers.FloatField()


class PostSerializer(serializers.ModelSerializer):
    class Meta:
        model = Post
        fields = [
            "id",
            "source",
            "external_id",
            "text",
            "lang",
            "author_id",
            "author_username",
            "author_name",
            "created_at",
            "received_at",
            "conversation_id",
            "original_id",
            "edited_from",
            "is_superseded",
            "references",
            "metrics",
            "streams",
        ]


class PredictionSerializer(serializers.ModelSerializer):
    category = serializers.SlugRelatedField[Category](slug_field="key", read_only=True)
    model_version = serializers.CharField(source="model_version.version")

    class Meta:
        model = Prediction
        fields = [
            "id",
            "post",
            "category",
            "confidence",
            "scores",
            "model_version",
            "is_serving",
            "created_at",
        ]


class AnnotationSerializer(StrictSerializer, serializers.ModelSerializer):
    category = serializers.CharField(source="category.key")
    post = serializers.PrimaryKeyRelatedField(queryset=Post.objects.visible())
    annotator = serializers.CharField(source="annotator.username", read_only=True, default=None)

    class Meta:
        model = Annotation
        fields = ["id", "post", "category", "annotator", "origin", "created_at", "replaced_at"]
        read_only_fields = ["origin", "created_at", "replaced_at"]


class ModelVersionSerializer(serializers.ModelSerializer):
    scheme = serializers.CharField(source="scheme.key")

    class Meta:
        model = ModelVersion
        fields = [
            "id",
            "scheme",
            "version",
            "stage",
            "base_model",
            "metrics",
            "parameters",
            "temperature",
            "dataset_digest",
            "train_size",
            "validation_size",
            "test_size",
            "forgotten_posts",
            "gate",
            "run_id",
            "created_at",
            "promoted_at",
        ]


@extend_schema_serializer(component_name="Promote")
class PromoteRequest(StrictSerializer):
    reason = serializers.CharField(max_length=400, default="", allow_blank=True)
    override = serializers.BooleanField(
        default=False, help_text="Promote what the gate refuses; needs a reason."
    )


@extend_schema_serializer(component_name="Rollback")
class RollbackRequest(StrictSerializer):
    scheme = serializers.SlugField(default=LabelScheme.DEFAULT_KEY)
    reason = serializers.CharField(max_length=400, default="", allow_blank=True)


class PromotionSerializer(serializers.ModelSerializer):
    scheme = serializers.CharField(source="scheme.key")
    version = serializers.IntegerField(source="version.version")
    previous = serializers.IntegerField(source="previous.version", default=None)

    class Meta:
        model = Promotion
        fields = ["id", "scheme", "version", "previous", "actor", "reason", "promoted_at"]


class TrainingRunSerializer(serializers.ModelSerializer):
    version = serializers.IntegerField(source="version.version", default=None)

    class Meta:
        model = TrainingRun
        fields = [
            "id",
            "status",
            "is_automatic",
            "triggers",
            "reason",
            "options",
            "parameters",
            "progress",
            "message",
            "loss",
            "losses",
            "seconds_left",
            "history",
            "attempts",
            "error",
            "version",
            "gate",
            "created_at",
            "started_at",
            "finished_at",
        ]


class QualityReportSerializer(serializers.ModelSerializer):
    model_version = serializers.IntegerField(source="model_version.version", default=None)

    class Meta:
        model = QualityReport
        fields = [
            "id",
            "model_version",
            "window_start",
            "window_end",
            "post_count",
            "summary",
            "statistics",
            "accuracy",
            "has_drift",
            "created_at",
        ]


class AlertSerializer(serializers.ModelSerializer):
    class Meta:
        model = Alert
        fields = [
            "id",
            "kind",
            "key",
            "severity",
            "message",
            "raised_at",
            "closed_at",
            "closing_message",
        ]


class NewestReportSerializer(QualityReportSerializer):
    """The newest report. One that is stale says what was, and that checks have stopped."""

    status = serializers.SerializerMethodField(help_text="The verdict.")
    age_seconds = serializers.SerializerMethodField(help_text="Since the end of its window.")
    is_stale = serializers.SerializerMethodField(
        help_text="Older than three hours, where a report comes every hour."
    )

    class Meta(QualityReportSerializer.Meta):
        fields = ["status", "age_seconds", "is_stale", *QualityReportSerializer.Meta.fields]

    @extend_schema_field(serializers.ChoiceField(["ok", "drift", "too_few", "no_reference"]))
    def get_status(self, report: QualityReport) -> str:
        # Early reports kept no verdict.
        return str(report.summary.get("verdict", "drift" if report.has_drift else "ok"))

    def get_age_seconds(self, report: QualityReport) -> int:
        return int((timezone.now() - report.window_end).total_seconds())

    def get_is_stale(self, report: QualityReport) -> bool:
        return timezone.now() - report.window_end > retrain.FRESH


class NoReport(serializers.Serializer):
    """What there is before the first report."""

    status = serializers.ChoiceField(choices=["no_report"])
    detail = serializers.CharField()


class ExperimentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Experiment
        fields = [
            "id",
            "champion",
            "challenger",
            "mode",
            "share",
            "started_at",
            "stopped_at",
            "result",
        ]
