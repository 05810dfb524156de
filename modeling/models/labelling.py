"""Who is asked about which post."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from ingestion.models import Post
from modeling.models.schemes import LabelScheme


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def holding(self) -> AssignmentQuerySet:
        """Those that keep others from the post: handed out, labelled or flagged."""
        return self.filter(status__in=Assignment.HOLDING)

    def waiting(self) -> AssignmentQuerySet:
        """Handed out, and not answered yet."""
        return self.filter(status=Assignment.Status.OPEN)

    def expired(self, now: datetime) -> AssignmentQuerySet:
        """Handed out to somebody who seems to have gone."""
        return self.waiting().filter(expires_at__lt=now)

    def unread_twice(self) -> AssignmentQuerySet:
        """Labelled once, and waiting for a second person."""
        return self.filter(seat=Assignment.FIRST, wants_second=True, status=Assignment.Status.DONE)


class Assignment(models.Model):
    """That a post was handed to a person to label, why, and what came of it.

    A post has two seats: the first reader's, and, for some, a second reader's. Nobody else is
    handed a post whose seat is taken; a seat that nobody answers for is free again after a while.
    """

    class Reason(models.TextChoices):
        UNCERTAIN = "uncertain", "the model is unsure"
        MINORITY = "minority", "a category with few labels"
        DRIFT = "drift", "a kind that the model did not learn from"
        RANDOM = "random", "drawn at random"
        SECOND = "second", "a second opinion"
        GOLD = "gold", "a settled post, for comparison"
        UNJUDGED = "unjudged", "no model has judged it"
        CHOSEN = "chosen", "found by the person"

    class Status(models.TextChoices):
        OPEN = "open", "handed out"
        DONE = "done", "labelled"
        SKIPPED = "skipped", "skipped"
        FLAGGED = "flagged", "flagged"

    FIRST, SECOND = 0, 1
    HOLDING = (Status.OPEN, Status.DONE, Status.FLAGGED)

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="assignments")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="assignments"
    )
    seat = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="0 the first reader, 1 the second; empty beside both."
    )
    reason = models.CharField(max_length=12, choices=Reason.choices)
    why = models.CharField(max_length=200, help_text="Why it was asked, in words for the person.")
    is_blind = models.BooleanField(
        default=False, help_text="The model's opinion is never shown with it."
    )
    wants_second = models.BooleanField(default=False)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    seconds = models.FloatField(null=True, blank=True, help_text="From its showing to the answer.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(help_text="Until when an unanswered seat is kept.")
    finished_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="What the person found wrong with a flagged post.",
    )

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["post", "scheme", "annotator"], name="assignment_once_a_person"
            ),
            models.UniqueConstraint(
                fields=["post", "scheme", "seat"],
                condition=Q(status__in=["open", "done", "flagged"], seat__isnull=False),
                name="assignment_one_a_seat",
            ),
            models.CheckConstraint(
                condition=Q(seconds__isnull=True) | Q(seconds__gte=0),
                name="assignment_seconds_positive",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__gte=F("created_at")), name="assignment_expires_later"
            ),
        ]
        indexes = [
            models.Index(
                fields=["scheme", "expires_at"],
                condition=Q(status="open"),
                name="assignment_expiry",
            ),
            models.Index(
                fields=["scheme", "id"],
                condition=Q(seat=0, wants_second=True, status="done"),
                name="assignment_wants_second",
            ),
            models.Index(fields=["annotator", "status"], name="assignment_of_person"),
            models.Index(fields=["scheme", "status", "-id"], name="assignment_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.post_id} to {self.annotator_id}: {self.status}"
