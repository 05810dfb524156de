"""What the pages of rows that the program writes share."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from ingestion.models import AuditEntry
from ingestion.services.audit import Actor


def actor(request: HttpRequest) -> Actor:
    """Whoever works in the admin."""
    return Actor(AuditEntry.Through.ADMIN, request.user)


class ReadOnly(admin.ModelAdmin):
    """Rows that the program writes: looked at, never edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
