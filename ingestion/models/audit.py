"""Who changed what, for good."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone


class Audited(models.Model):
    """Whose changes are written down: those of the fields named here, none of which is secret."""

    AUDITED: ClassVar[tuple[str, ...]]

    class Meta:
        abstract = True


class AuditEntry(models.Model):
    """One change of a stream or a token, by a person or a program. Never changed, never removed;
    promotions have a ledger of their own."""

    class Action(models.TextChoices):
        ADDED = "added"
        CHANGED = "changed"
        DELETED = "deleted"

    class Through(models.TextChoices):
        ADMIN = "admin", "the admin"
        API = "api", "the API"
        COMMAND = "command", "a command"

    at = models.DateTimeField(default=timezone.now, db_index=True)
    action = models.CharField(max_length=16, choices=Action.choices)
    kind = models.CharField(max_length=32, help_text="What kind of thing: stream, API token.")
    object_id = models.BigIntegerField()
    name = models.CharField(max_length=255, help_text="What it was called then.")
    changes = models.JSONField(default=dict, help_text="Field → what it was and what it became.")
    through = models.CharField(max_length=16, choices=Through.choices)
    # The name stays when the user goes.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    who = models.CharField(max_length=200)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["kind", "object_id"], name="audit_of_object")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.who} {self.action} {self.kind} {self.name}"
