"""How the sources are doing."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q

from ingestion.models.sources import source_choices


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def free(self, now: datetime) -> ConnectionQuerySet:
        """Connections that nobody holds, or whose holder has let its lease expire.

        A lease that runs for longer than leases do was taken by a clock that was ahead.
        """
        return self.filter(
            Q(lease_owner="")
            | Q(lease_expires_at__lt=now)
            | Q(lease_expires_at__gt=now + 2 * self.model.LEASE)
        )


class Connection(models.Model):
    """The one connection to a source: who holds it, how it fares, where to go on."""

    # A live holder renews long before; with beat's 15 s on top a dead one is followed within 30 s.
    LEASE = timedelta(seconds=12)

    class Status(models.TextChoices):
        DISCONNECTED = "disconnected", "disconnected"
        CONNECTING = "connecting", "connecting"
        CONNECTED = "connected", "connected"
        IDLE = "idle", "idle: nothing to follow"
        WAITING = "waiting", "waiting to reconnect"
        STOPPED = "stopped", "stopped"
        FAILED = "failed", "failed: needs attention"

    source = models.CharField(max_length=16, choices=source_choices, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DISCONNECTED)
    lease_owner = models.CharField(max_length=128, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cursor = models.TextField(blank=True, help_text="Where to go on, in the source's own words.")
    covered_until = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Until when everything that came is stored; empty while nothing is followed.",
    )
    connected_at = models.DateTimeField(null=True, blank=True)
    last_event_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    received = models.PositiveBigIntegerField(default=0)
    saved = models.PositiveBigIntegerField(default=0)
    duplicates = models.PositiveBigIntegerField(default=0)
    malformed = models.PositiveBigIntegerField(default=0)
    reconnects = models.PositiveBigIntegerField(default=0)
    spilled_bytes = models.PositiveBigIntegerField(
        default=0, help_text="Waiting in the write-ahead file for the database."
    )
    last_error = models.TextField(blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        ordering = ["source"]
        constraints = [
            models.CheckConstraint(
                condition=Q(lease_owner="") | Q(lease_expires_at__isnull=False),
                name="connection_lease_expires",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()}: {self.get_status_display()}"

    def lag(self, now: datetime) -> timedelta | None:
        """Time since the source last said anything; None before the first event."""
        return None if self.last_event_at is None else now - self.last_event_at
