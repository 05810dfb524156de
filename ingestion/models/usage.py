"""What was read, by day and month."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from ingestion.models.sources import source_choices
from ingestion.models.streams import Stream


class DailyUsage(models.Model):
    """Posts read from a source on one day (UTC), of one stream or in all."""

    source = models.CharField(max_length=16, choices=source_choices)
    day = models.DateField()
    stream = models.ForeignKey(
        Stream,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="daily_usage",
        help_text="Empty for the whole source. A post of two streams counts in both.",
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    looked_up = models.PositiveBigIntegerField(
        default=0, help_text="Posts asked for again, to see whether they still stand."
    )
    last_post_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-day", "source"]
        verbose_name_plural = "daily usage"
        constraints = [
            models.UniqueConstraint(
                fields=["source", "day", "stream"], name="usage_once_a_day_and_stream"
            ),
            # NULLs are distinct to the constraint above.
            models.UniqueConstraint(
                fields=["source", "day"],
                condition=Q(stream__isnull=True),
                name="usage_once_a_day_and_source",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.day:%Y-%m-%d}: {self.posts_read}"


class MonthlyUsage(models.Model):
    """Posts read from a paid source in one billing month, against a budget."""

    source = models.CharField(max_length=16, choices=source_choices)
    month = models.DateField(help_text="The first day of the month, UTC.")
    stream = models.ForeignKey(
        Stream,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="usage",
        help_text="Empty for the whole source.",
    )
    posts_read = models.PositiveBigIntegerField(default=0)
    reported = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="What the source says was read by the whole account."
    )
    reported_at = models.DateTimeField(null=True, blank=True)
    alerted_at = models.DateTimeField(
        null=True, blank=True, help_text="When the budget's warning went out."
    )
    budget = models.PositiveBigIntegerField(default=0, help_text="0 means no budget.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-month", "source"]
        verbose_name_plural = "monthly usage"
        constraints = [
            models.UniqueConstraint(
                fields=["source", "month", "stream"], name="usage_once_a_month_and_stream"
            ),
            # NULLs are distinct to the constraint above.
            models.UniqueConstraint(
                fields=["source", "month"],
                condition=Q(stream__isnull=True),
                name="usage_once_a_month_and_source",
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="usage_month_begins_on_the_1st"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.month:%Y-%m}: {self.posts_read}"

    @property
    def used(self) -> int:
        """Posts that count against the budget: others may read on the same account."""
        return max(self.posts_read, self.reported or 0)


class Pruning(models.Model):
    """Posts that were removed for being too old: how many, and between which moments they were
    written. What is counted from posts is incomplete there."""

    at = models.DateTimeField(default=timezone.now)
    posts = models.PositiveBigIntegerField(default=0)
    oldest = models.DateTimeField(null=True)
    newest = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.posts} posts, {self.at:%Y-%m-%d %H:%M}"
