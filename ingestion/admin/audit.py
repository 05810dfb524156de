"""Who changed what."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from ingestion.admin.base import ReadOnly
from ingestion.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    """Changes of streams and tokens, whichever way they were made."""

    list_display = ["at", "who", "through", "action", "kind", "name", "what"]
    list_filter = ["kind", "action", "through"]
    search_fields = ["name", "who"]
    date_hierarchy = "at"
    show_full_result_count = False
    list_select_related = ["user"]

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    @admin.display(description="what")
    def what(self, entry: AuditEntry) -> str:
        return "; ".join(
            f"{name}: {'–' if old in (None, '') else old} → {'–' if new in (None, '') else new}"
            for name, (old, new) in entry.changes.items()
        )
