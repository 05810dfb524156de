"""What went wrong, and when it was over."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from ingestion.admin.gaps import Acts
from ingestion.models import Alert, AlertMessage
from ingestion.services.alerts import close_alert


@admin.register(Alert)
class AlertAdmin(Acts):
    list_display = ["raised_at", "kind", "key", "severity", "message", "closed_at", "delivery"]
    list_filter = ["kind", "severity", ("closed_at", admin.EmptyFieldListFilter)]
    search_fields = ["message"]
    date_hierarchy = "raised_at"
    actions = ["close"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).prefetch_related("messages")

    @admin.display(description="Sent out")
    def delivery(self, alert: Alert) -> str:
        """The newest message of each channel: sent, waiting, or why not."""
        newest = {message.channel: message for message in alert.messages.all()}
        return "; ".join(f"{channel}: {_state(message)}" for channel, message in newest.items())

    @admin.action(description="Close", permissions=["act"])
    def close(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        by = f"closed by {request.user.get_username()}"
        chosen = list(Alert.objects.standing().filter(pk__in=queryset))
        count = sum(close_alert(alert.kind, alert.key, by) for alert in chosen)
        self.message_user(request, f"{count} alerts are closed.")


def _state(message: AlertMessage) -> str:
    if message.sent_at is not None:
        return "sent"
    if message.is_given_up:
        return f"not sent ({message.error})"
    return f"not yet sent ({message.error})" if message.error else "waiting"
