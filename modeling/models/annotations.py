"""What people say of posts."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from ingestion.models import Post
from modeling.models.schemes import Category, LabelScheme


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def current(self) -> AnnotationQuerySet:
        """The annotations in force; replaced ones stay as history."""
        return self.filter(replaced_at__isnull=True)

    def usable(self) -> AnnotationQuerySet:
        """Those in force whose post is not deleted. An edit leaves the label of what it replaced
        alone: a label judges the text that the person saw."""
        return self.current().filter(post__deleted_at__isnull=True)

    def usable_at(self, moment: datetime) -> AnnotationQuerySet:
        """Those in force at a moment whose post is not deleted now."""
        in_force = Q(replaced_at__isnull=True) | Q(replaced_at__gt=moment)
        return self.filter(in_force, created_at__lte=moment, post__deleted_at__isnull=True)

    def since(self, moment: datetime) -> AnnotationQuerySet:
        return self.filter(created_at__gt=moment)


class Annotation(models.Model):
    """A human's label of a post. One in force a person, post and scheme; older ones are kept."""

    class Origin(models.TextChoices):
        HUMAN = "human", "human"
        IMPORT = "import", "import"
        # Given in the knowledge of what others said: it settles the post, and says nothing of how
        # well people agree.
        REVIEW = "review", "review"

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="annotations")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="annotations")
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="annotations")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="annotations",
        help_text="Empty for imported labels, and where the person is gone.",
    )
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.HUMAN)
    created_at = models.DateTimeField(default=timezone.now)
    replaced_at = models.DateTimeField(null=True, blank=True)

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["post", "scheme", "annotator"],
                condition=Q(replaced_at__isnull=True, annotator__isnull=False),
                name="annotation_one_a_person",
            ),
            models.UniqueConstraint(
                fields=["post", "scheme"],
                # Not of those whose person is gone: several may have judged the post.
                condition=Q(replaced_at__isnull=True, annotator__isnull=True, origin="import"),
                name="annotation_one_import",
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="annotation_newest")]

    def __str__(self) -> str:
        return f"{self.post_id}: {self.category_id}"
