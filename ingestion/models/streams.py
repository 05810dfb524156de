"""What people follow."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from ingestion.models.audit import Audited
from ingestion.models.sources import Source, source_choices


class StreamQuerySet(models.QuerySet["Stream"]):
    def active(self) -> StreamQuerySet:
        return self.filter(is_active=True)

    def followed(self) -> StreamQuerySet:
        """Active, not held by the spend governor, and naming something to follow.

        Streams of files that were imported once name nothing.
        """
        wanted = self.filter(is_active=True, held_at__isnull=True)
        return wanted.exclude(source=Source.FILE, query="")

    def of_source(self, source: str) -> StreamQuerySet:
        return self.filter(source=source)


class Stream(Audited):
    """Something that people follow: on X, one rule of the one connection."""

    class OverBudget(models.TextChoices):
        PAUSE = "pause", "pause the stream"
        SAMPLE = "sample", "take a random sample"

    AUDITED = (
        *("name", "source", "query", "languages", "is_active"),
        *("monthly_budget", "over_budget"),
    )

    name = models.CharField(max_length=100, unique=True)
    source = models.CharField(max_length=16, choices=source_choices, default=Source.X)
    query = models.CharField(
        max_length=1024, blank=True, help_text="The source's own query language; on X, a rule."
    )
    languages = models.JSONField(
        default=list, blank=True, help_text='Language codes to keep, as ["en"]; empty keeps all.'
    )
    is_active = models.BooleanField(default=True)
    monthly_budget = models.PositiveBigIntegerField(
        default=0, help_text="Posts that it may read in a month from a paid source; 0: no limit."
    )
    over_budget = models.CharField(
        max_length=8,
        choices=OverBudget.choices,
        default=OverBudget.PAUSE,
        help_text="What happens to it when a budget runs out.",
    )
    held_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when the budget holds it back."
    )
    held_reason = models.CharField(max_length=255, blank=True, editable=False)
    sample_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, editable=False, help_text="The share that the budget leaves it."
    )
    rule_id = models.CharField(max_length=32, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = StreamQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(source=Source.X) | ~Q(query=""),
                name="stream_x_needs_query",
                violation_error_message="A stream of X needs a query.",
            ),
            models.UniqueConstraint(
                fields=["query"],
                condition=Q(source=Source.X, is_active=True),
                name="stream_one_active_rule_a_query",
                violation_error_message="Another active stream has this query already.",
            ),
            models.CheckConstraint(
                condition=Q(sample_percent__isnull=True) | Q(sample_percent__range=(1, 100)),
                name="stream_sample_percent",
            ),
        ]
        indexes = [models.Index(fields=["source", "is_active"], name="stream_source_active")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        valid = isinstance(self.languages, list) and all(
            isinstance(code, str) and 2 <= len(code) <= 8 for code in self.languages
        )
        if not valid:
            raise ValidationError({"languages": 'Give a list of language codes, as ["en", "de"].'})
