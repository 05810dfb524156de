"""What is missing, and what could not be understood."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from ingestion.admin.base import ReadOnly
from ingestion.models import DeadLetter, Gap
from ingestion.services.dead_letters import replay
from ingestion.services.gaps import ask_to_fill

# Replaying one may mean a call to the vendor.
REPLAYED_AT_ONCE = 200


class Acts(ReadOnly):
    """Rows that cannot be edited, but that something can be done with."""

    def has_act_permission(self, request: HttpRequest) -> bool:
        name = f"{self.opts.app_label}.change_{self.opts.model_name}"
        return bool(request.user.has_perm(name))


@admin.register(Gap)
class GapAdmin(Acts):
    """The ledger of outages."""

    list_display = [
        "source",
        "started_at",
        "length",
        "cause",
        "state",
        "filled_by",
        "recovered",
        "expected",
        "share",
        "note",
    ]
    list_filter = ["source", "state", "cause"]
    date_hierarchy = "started_at"
    actions = ["fill"]

    @admin.display(description="length")
    def length(self, gap: Gap) -> str:
        seconds = ((gap.ended_at or timezone.now()) - gap.started_at).total_seconds()
        return f"{seconds:,.0f} s" if seconds < 600 else f"{seconds / 60:,.0f} min"

    @admin.display(description="complete")
    def share(self, gap: Gap) -> str:
        return "unknown" if gap.completeness is None else f"{gap.completeness:.0%}"

    @admin.action(description="Fill now (reads posts, at their price)", permissions=["act"])
    def fill(self, request: HttpRequest, queryset: QuerySet[Gap]) -> None:
        count = ask_to_fill(list(queryset.values_list("pk", flat=True)))
        self.message_user(request, f"{count} gaps are filled as soon as their source streams.")


@admin.register(DeadLetter)
class DeadLetterAdmin(Acts):
    """Messages that were put aside."""

    list_display = ["source", "received_at", "reason", "size", "replayed_at", "outcome"]
    list_filter = ["source"]
    search_fields = ["reason"]
    date_hierarchy = "received_at"
    fields = ["source", "received_at", "reason", "size", "text", "replayed_at", "outcome"]
    readonly_fields = ["text"]
    actions = ["replay"]

    @admin.display(description="its beginning")
    def text(self, letter: DeadLetter) -> str:
        return bytes(letter.excerpt).decode("utf-8", "backslashreplace")

    @admin.action(description="Read again", permissions=["act"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        ids = list(queryset.values_list("pk", flat=True)[:REPLAYED_AT_ONCE])
        outcomes = replay(ids)
        failed = sum(not outcome[:1].isdigit() for outcome in outcomes.values())
        self.message_user(
            request,
            f"{len(ids)} messages read again, {failed} of them in vain: see what came of each.",
            messages.WARNING if failed else messages.SUCCESS,
        )
