"""Failed sign-ins: who is locked out, and letting them in again."""

from __future__ import annotations

from axes.admin import AccessAttemptAdmin
from axes.models import AccessAttempt
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest


@admin.register(AccessAttempt)
class AttemptAdmin(AccessAttemptAdmin):
    """Rows go by themselves once they count no more; removing one resets it."""

    list_display = [
        *("attempt_time", "username", "ip_address", "failures_since_start", "status"),
        *("path_info", "user_agent"),
    ]
    actions = ["reset_selected"]

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False

    @admin.action(description="Let in again", permissions=["delete"])
    def reset_selected(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        for attempt in queryset:
            self.log_deletions(request, AccessAttempt.objects.filter(pk=attempt.pk))
        pairs = {(attempt.username, attempt.ip_address) for attempt in queryset}
        for username, ip_address in pairs:
            # Rows of other browsers of the same guesser count with it.
            AccessAttempt.objects.filter(username=username, ip_address=ip_address).delete()
        self.message_user(request, f"{len(pairs)} let in again.", messages.SUCCESS)
