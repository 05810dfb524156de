"""What versions say of posts."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ingestion.models import Post
from modeling.models.schemes import Category, LabelScheme
from modeling.models.versions import ModelVersion


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def serving(self) -> PredictionQuerySet:
        """The judgement shown for each post: that of the champion of its time."""
        return self.filter(is_serving=True)

    def of_current_posts(self) -> PredictionQuerySet:
        """Of what counts: not of deleted posts, nor of versions that an edit has replaced."""
        return self.filter(post__deleted_at__isnull=True, post__is_superseded=False)


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def given_up(self) -> AttemptQuerySet:
        """Of posts that were tried often enough, alone too."""
        return self.filter(count__gte=Attempt.MOST)

    def ended(self, before: datetime) -> AttemptQuerySet:
        """Begun so long ago that nobody is at it any more."""
        return self.filter(started_at__lt=before)


class Attempt(models.Model):
    """That the sweep began to classify a post; gone once the post is classified.

    A row that stays tells that who tried it died or failed. Its post is tried alone then, so that
    it takes no other with it, and after `MOST` attempts it is set aside.
    """

    MOST = 3

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="attempts")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="+")
    count = models.PositiveSmallIntegerField(default=1)
    started_at = models.DateTimeField(default=timezone.now)
    error = models.CharField(
        max_length=500, blank=True, help_text="What the last one failed with; empty if it died."
    )

    objects = AttemptQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        verbose_name = "post that resists classifying"
        verbose_name_plural = "posts that resist classifying"
        constraints = [
            models.UniqueConstraint(fields=["post", "scheme"], name="attempt_once_a_post"),
        ]

    def __str__(self) -> str:
        return f"post {self.post_id}: {self.count} attempts"


class Prediction(models.Model):
    """One version's judgement of one post."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="predictions")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="+")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="predictions"
    )
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="predictions")
    confidence = models.FloatField(help_text="Probability of the category, 0 to 1.")
    scores = models.JSONField(help_text="Category key → probability.")
    is_serving = models.BooleanField(
        default=True, help_text="Made by the champion; a challenger's are kept beside it."
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["post", "model_version"], name="prediction_once_a_version"
            ),
            models.UniqueConstraint(
                fields=["post", "scheme"],
                condition=Q(is_serving=True),
                name="prediction_one_serving",
            ),
            models.CheckConstraint(
                condition=Q(confidence__gte=0, confidence__lte=1),
                name="prediction_confidence_range",
            ),
        ]
        indexes = [
            models.Index(fields=["category", "-id"], name="prediction_category_newest"),
            models.Index(fields=["-created_at"], name="prediction_newest"),
            models.Index(
                fields=["post", "category"],
                condition=Q(is_serving=True),
                name="prediction_of_post",
            ),
            models.Index(fields=["confidence", "id"], name="prediction_by_confidence"),
        ]

    def __str__(self) -> str:
        return f"{self.post_id}: {self.category_id} ({self.confidence:.2f})"
