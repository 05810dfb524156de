"""Trained models: what they learned from, and which one served when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from ingestion.models import Post
from modeling.models.schemes import LabelScheme


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def champions(self) -> ModelVersionQuerySet:
        return self.filter(stage=ModelVersion.Stage.CHAMPION)

    def of_scheme(self, key: str) -> ModelVersionQuerySet:
        return self.filter(scheme__key=key)


class ModelVersion(models.Model):
    """A trained artefact in the registry. This row, mirrored by the MLflow alias, is the truth
    about what serves."""

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", "candidate"
        CHALLENGER = "challenger", "challenger"
        CHAMPION = "champion", "champion"
        ARCHIVED = "archived", "archived"

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField(help_text="The version number in MLflow.")
    run_id = models.CharField(max_length=64, help_text="The MLflow run that made it.")
    base_model = models.CharField(max_length=255)
    stage = models.CharField(max_length=16, choices=Stage.choices, default=Stage.CANDIDATE)
    metrics = models.JSONField(default=dict, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    reference = models.JSONField(
        default=dict,
        blank=True,
        help_text="Distribution of features, labels and confidence at training: drift's baseline.",
    )
    temperature = models.FloatField(default=1.0, validators=[MinValueValidator(0.01)])
    dataset_digest = models.CharField(max_length=64, blank=True)
    posts = models.ManyToManyField(
        Post, through="TrainingPost", related_name="trained_versions", editable=False
    )
    forgotten_posts = models.PositiveIntegerField(
        default=0, help_text="Posts of its data set that were deleted at their source since."
    )
    train_size = models.PositiveIntegerField(default=0)
    validation_size = models.PositiveIntegerField(default=0)
    test_size = models.PositiveIntegerField(default=0)
    artifact_uri = models.CharField(max_length=1024)
    artifact_digests = models.JSONField(default=dict, help_text="File name → SHA-256.")
    gate = models.JSONField(
        default=dict, blank=True, help_text="The gate's last verdict, with each figure."
    )
    created_at = models.DateTimeField(default=timezone.now)
    promoted_at = models.DateTimeField(null=True, blank=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["scheme", "version"], name="version_once_a_scheme"),
            models.UniqueConstraint(
                fields=["scheme"], condition=Q(stage="champion"), name="version_one_champion"
            ),
            models.UniqueConstraint(
                fields=["scheme"], condition=Q(stage="challenger"), name="version_one_challenger"
            ),
            models.CheckConstraint(condition=Q(temperature__gt=0), name="version_temperature"),
        ]

    def __str__(self) -> str:
        return f"{self.scheme_id}/{self.version}"


class TrainingPost(models.Model):
    """That a version learned from a post, or was judged on it."""

    class Split(models.TextChoices):
        TRAIN = "train", "training"
        VALIDATION = "validation", "validation"
        TEST = "test", "test"

    version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="training_posts"
    )
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="training_posts")
    split = models.CharField(max_length=10, choices=Split.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "post"], name="training_post_once"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.post_id} ({self.split})"


class PromotionQuerySet(models.QuerySet["Promotion"]):
    def at(self, moment: datetime) -> PromotionQuerySet:
        """What served at a moment: one line a scheme that had a champion, in one query."""
        lines = Promotion.objects.filter(scheme=OuterRef("scheme"), promoted_at__lte=moment)
        newest = lines.order_by("-promoted_at", "-id").values("pk")[:1]
        return self.filter(pk=Subquery(newest))


class Promotion(models.Model):
    """One line of the promotion ledger: what served from `promoted_at` on, and why."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    previous = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    promoted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )
    actor = models.CharField(
        max_length=150, blank=True, help_text="Who or what did it, also when the user is gone."
    )
    reason = models.CharField(max_length=500, blank=True)
    promoted_at = models.DateTimeField(default=timezone.now)

    objects = PromotionQuerySet.as_manager()

    class Meta:
        ordering = ["-promoted_at", "-id"]
        indexes = [models.Index(fields=["scheme", "-promoted_at"], name="promotion_newest")]

    def __str__(self) -> str:
        return f"{self.version_id} at {self.promoted_at:%Y-%m-%d %H:%M}"


class Experiment(models.Model):
    """Champion against challenger on live posts."""

    class Mode(models.TextChoices):
        SHADOW = "shadow", "shadow: the challenger judges too, the champion serves"
        SPLIT = "split", "split: the challenger serves a share"

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="experiments")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    challenger = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.SHADOW)
    share = models.FloatField(default=1.0, help_text="Of posts that take part, 0 to 1.")
    started_at = models.DateTimeField(default=timezone.now)
    stopped_at = models.DateTimeField(null=True, blank=True)
    result: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, blank=True
    )

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(share__gt=0, share__lte=1), name="experiment_share_range"
            ),
            models.CheckConstraint(
                condition=~Q(champion=models.F("challenger")), name="experiment_two_versions"
            ),
            models.UniqueConstraint(
                fields=["scheme"],
                condition=Q(stopped_at__isnull=True),
                name="experiment_one_running",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.champion_id} against {self.challenger_id} ({self.mode})"
