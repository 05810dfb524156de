"""What needs, or needed, a human."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone


class AlertQuerySet(models.QuerySet["Alert"]):
    def standing(self) -> AlertQuerySet:
        """Raised, and not over."""
        return self.filter(closed_at__isnull=True)


class Alert(models.Model):
    """One thing that went wrong, from when it was noticed until it was over.

    `key` tells it from others of its kind (a source, a scheme): at most one of a kind and key
    stands at a time, however many processes notice it.
    """

    class Severity(models.TextChoices):
        WARNING = "warning", "warning"
        CRITICAL = "critical", "critical"

    kind = models.SlugField(help_text="drift, quality, model, training, stream, budget, …")
    key = models.CharField(max_length=100, blank=True)
    severity = models.CharField(max_length=8, choices=Severity.choices, default=Severity.WARNING)
    message = models.CharField(max_length=500)
    raised_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)
    closing_message = models.CharField(max_length=500, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-raised_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "key"],
                condition=Q(closed_at__isnull=True),
                name="alert_once_while_it_stands",
            ),
        ]
        indexes = [models.Index(fields=["-raised_at"], name="alert_newest")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class AlertMessage(models.Model):
    """A change of an alert, to be sent by one channel: written with the change itself, so that
    neither a broker that is away nor a process that dies in between loses it."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="messages")
    channel = models.SlugField(help_text="webhook or email")
    active = models.BooleanField(help_text="False where it tells that the alert is over.")
    text = models.CharField(max_length=500)
    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True, help_text="Why it was not sent, so far.")
    is_given_up = models.BooleanField(
        default=False, help_text="Trying again cannot help: the address or the access is wrong."
    )

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=Q(sent_at__isnull=True, is_given_up=False),
                name="alert_messages_to_send",
            )
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.text}"
