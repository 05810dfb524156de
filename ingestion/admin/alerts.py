"""What went wrong, and when it was over."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from ingestion.admin.gaps import Acts
from ingestion.models import Alert
from ingestion.services.alerts import close_alert


@admin.register(Alert)
class AlertAdmin(Acts):
    list_display = ["raised_at", "kind", "key", "severity", "message", "closed_at"]
    list_filter = ["kind", "severity", ("closed_at", admin.EmptyFieldListFilter)]
    search_fields = ["message"]
    date_hierarchy = "raised_at"
    actions = ["close"]

    @admin.action(description="Close", permissions=["act"])
    def close(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        by = f"closed by {request.user.get_username()}"
        chosen = list(Alert.objects.standing().filter(pk__in=queryset))
        count = sum(close_alert(alert.kind, alert.key, by) for alert in chosen)
        self.message_user(request, f"{count} alerts are closed.")
