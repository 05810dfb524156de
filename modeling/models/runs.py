"""The record of trainings."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone

from modeling.models.schemes import LabelScheme
from modeling.models.versions import ModelVersion


class TrainingRun(models.Model):
    """One training, asked for by a person or decided by the retraining check."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        REJECTED = "rejected", "rejected by the gate"
        FAILED = "failed", "failed"
        INTERRUPTED = "interrupted", "interrupted, goes on from its checkpoint"

    # Of these a scheme has at most one.
    ACTIVE = (Status.QUEUED, Status.RUNNING, Status.INTERRUPTED)

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="runs")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    is_automatic = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )
    triggers = models.JSONField(
        default=dict, blank=True, help_text="Trigger → value, threshold and whether it fired."
    )
    reason = models.CharField(max_length=500, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    progress = models.FloatField(default=0, help_text="0 to 1.")
    message = models.CharField(max_length=500, blank=True, help_text="What it is doing now.")
    seconds_left = models.FloatField(null=True, blank=True, help_text="Estimated.")
    loss = models.FloatField(null=True, blank=True, help_text="Mean training loss of late.")
    losses = models.JSONField(
        default=list,
        # Servers of the release before go on adding runs while this one is rolled out.
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="The loss as it fell: [epochs done, mean loss] each.",
    )
    history = models.JSONField(
        default=list, blank=True, help_text="One entry an epoch: loss and validation metrics."
    )
    options = models.JSONField(
        default=dict, blank=True, help_text="What was asked for: teacher, data file, arguments."
    )
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="How often it was started; more than once after interruptions."
    )
    failures = models.PositiveSmallIntegerField(
        default=0,
        # Servers of the release before go on adding runs while this one is rolled out.
        db_default=0,
        help_text="How often its process died or the registry was away; orderly stops are none.",
    )
    worker = models.CharField(max_length=100, blank=True, help_text="Host and process that has it.")
    error = models.TextField(blank=True)
    version = models.OneToOneField(
        ModelVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="training_run"
    )
    gate = models.JSONField(default=dict, blank=True, help_text="The verdict, with each figure.")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["scheme"],
                condition=Q(status__in=["queued", "running", "interrupted"]),
                name="run_one_active_a_scheme",
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0, progress__lte=1), name="run_progress_range"
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="run_newest")]

    def __str__(self) -> str:
        return f"run {self.pk}: {self.status}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE
