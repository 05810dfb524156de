"""What was read."""

from __future__ import annotations

from django.contrib import admin

from ingestion.admin.base import ReadOnly
from ingestion.models import DailyUsage, MonthlyUsage
from ingestion.services.usage import price


@admin.register(DailyUsage)
class DailyUsageAdmin(ReadOnly):
    """Posts read a day and stream."""

    list_display = ["source", "day", "stream", "posts_read", "looked_up", "cost"]
    list_filter = ["source"]
    date_hierarchy = "day"
    list_select_related = ["stream"]

    @admin.display(description="US$")
    def cost(self, row: DailyUsage) -> str:
        return f"{(row.posts_read + row.looked_up) * price(row.source):.2f}"


@admin.register(MonthlyUsage)
class MonthlyUsageAdmin(ReadOnly):
    """Posts read in a billing month, against the budget."""

    list_display = ["source", "month", "stream", "posts_read", "reported", "budget", "alerted_at"]
    list_filter = ["source"]
    list_select_related = ["stream"]
