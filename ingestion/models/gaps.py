"""What is missing, and what could not be understood."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ingestion.models.sources import source_choices


class GapQuerySet(models.QuerySet["Gap"]):
    def unfilled(self) -> GapQuerySet:
        """Gaps that are over, and that a search may fill."""
        return self.filter(state__in=[Gap.State.PENDING, Gap.State.FILLING])

    def between(self, start: datetime, end: datetime) -> GapQuerySet:
        """Gaps that touch this time; an open one lasts until now."""
        return self.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=start), started_at__lte=end)


class Gap(models.Model):
    """One outage of a source: from when to when nothing came, why, and what was got back."""

    class State(models.TextChoices):
        OPEN = "open", "still down"
        PENDING = "pending", "to be filled"
        FILLING = "filling", "being filled"
        FILLED = "filled", "filled"
        PARTIAL = "partial", "filled in part"
        UNRECOVERABLE = "unrecoverable", "cannot be filled"
        LEFT = "left", "not filled: stopped on purpose"

    source = models.CharField(max_length=16, choices=source_choices)
    started_at = models.DateTimeField(help_text="Until here everything is stored.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Connected again.")
    cause = models.CharField(max_length=32, help_text="A short word, as in the metrics.")
    detail = models.TextField(blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    filled_by = models.CharField(max_length=64, blank=True, help_text="How posts were got back.")
    recovered = models.PositiveBigIntegerField(default=0, help_text="New posts got back.")
    expected = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Posts that the hour before the gap lets expect."
    )
    after_id = models.CharField(
        max_length=255, blank=True, help_text="The last post seen before the gap."
    )
    progress = models.TextField(blank=True, help_text="Where an interrupted fill goes on.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = GapQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=Q(state="open"), name="gap_one_open_a_source"
            ),
            models.CheckConstraint(
                condition=Q(state="open") | Q(ended_at__isnull=False), name="gap_closed_has_end"
            ),
        ]
        indexes = [
            models.Index(fields=["source", "-started_at"], name="gap_source_newest"),
            models.Index(fields=["state"], name="gap_state"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.started_at:%Y-%m-%d %H:%M:%S}: {self.get_state_display()}"

    @property
    def completeness(self) -> float | None:
        """The share of the gap's posts that is stored, 0 to 1; None when nobody can say."""
        if self.state == Gap.State.FILLED:
            return 1.0
        if self.expected is None:
            return None
        return min(1.0, self.recovered / self.expected) if self.expected else 1.0


class DeadLetter(models.Model):
    """A message that could not be understood: its beginning, and why."""

    source = models.CharField(max_length=16, choices=source_choices)
    received_at = models.DateTimeField(default=timezone.now)
    reason = models.CharField(max_length=500)
    excerpt = models.BinaryField(help_text="The first 2 KiB, as they came.")
    size = models.PositiveIntegerField(help_text="Bytes of the whole message.")
    replayed_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=500, blank=True, help_text="What replaying it gave.")

    class Meta:
        ordering = ["-received_at", "-id"]
        indexes = [models.Index(fields=["source", "-id"], name="dead_letter_newest")]

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"

    @property
    def is_whole(self) -> bool:
        """Whether the excerpt is the message, so that it can be replayed."""
        return len(self.excerpt) == self.size
