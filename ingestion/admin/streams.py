"""What people follow, and how the connections fare."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone

from ingestion import tasks
from ingestion.admin.base import ReadOnly, actor
from ingestion.exceptions import BadQuery, QueryTaken
from ingestion.models import Connection, DailyUsage, RecentSearch, Stream, WatchedFile
from ingestion.selectors import status_words
from ingestion.services import (
    Verdict,
    delete_streams,
    judge_stream,
    save_stream,
    switch_streams,
)
from ingestion.services.trial import try_query


class StreamForm(forms.ModelForm):
    """Asks the source what it thinks of the query before it is saved."""

    verdict = Verdict()

    class Meta:
        model = Stream
        fields = (
            "name",
            "source",
            "query",
            "languages",
            "is_active",
            "monthly_budget",
            "over_budget",
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors or not data.get("is_active"):
            return data
        names = ("name", "source", "query", "languages")
        stream = Stream(pk=self.instance.pk, **{name: data.get(name) for name in names})
        self.verdict = judge_stream(stream)
        if self.verdict.reason:
            self.add_error("query", self.verdict.reason)
        return data


@admin.register(Stream)
class StreamAdmin(admin.ModelAdmin):
    """Streams; saving or deleting one brings the source's rules in step within seconds.

    A deleted stream's posts stay.
    """

    form = StreamForm
    list_display = [
        "name",
        "source",
        "query",
        "state",
        "today",
        "total",
        "monthly_budget",
        "problem",
    ]
    list_filter = ["source", "is_active"]
    search_fields = ["name", "query"]
    readonly_fields = [
        "held_at",
        "held_reason",
        "sample_percent",
        "rule_id",
        "last_error",
        "created_at",
        "updated_at",
    ]
    actions = ["pause", "resume", "try_on_stored_posts"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        # From the day's counts: counting millions of links would take as many steps.
        counts = DailyUsage.objects.filter(stream=OuterRef("pk")).order_by().values("stream")
        read = Sum("posts_read")
        return (
            super()
            .get_queryset(request)
            .annotate(
                posts_total=Subquery(counts.annotate(n=read).values("n")),
                posts_today=Subquery(
                    counts.filter(day=timezone.now().date()).annotate(n=read).values("n")
                ),
            )
        )

    @admin.display(description="state", ordering="is_active")
    def state(self, stream: Stream) -> str:
        if not stream.is_active:
            return "paused"
        if stream.held_at is not None:
            return "held by the budget"
        return f"{stream.sample_percent} % sample" if stream.sample_percent else "active"

    @admin.display(description="posts", ordering="posts_total")
    def total(self, stream: Stream) -> int:
        return int(getattr(stream, "posts_total", 0) or 0)

    @admin.display(description="today", ordering="posts_today")
    def today(self, stream: Stream) -> int:
        return int(getattr(stream, "posts_today", 0) or 0)

    @admin.display(description="what is wrong")
    def problem(self, stream: Stream) -> str:
        return stream.last_error or stream.held_reason

    def save_model(self, request: HttpRequest, obj: Stream, form: ModelForm, change: bool) -> None:
        save_stream(obj, by=actor(request), fields=form.changed_data if change else None)
        if isinstance(form, StreamForm) and form.verdict.note:
            self.message_user(request, form.verdict.note, messages.WARNING)
        # What it leaves must let it go, too.
        _sync({obj.source, form.initial.get("source", obj.source)})

    def delete_model(self, request: HttpRequest, obj: Stream) -> None:
        source = obj.source
        delete_streams([obj], by=actor(request))
        _sync([source])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        sources = set(queryset.values_list("source", flat=True))
        delete_streams(queryset, by=actor(request))
        _sync(sources)

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        self._switch(request, queryset, is_active=False)

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        self._switch(request, queryset, is_active=True)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Stream], *, is_active: bool) -> None:
        try:
            count, sources = switch_streams(
                queryset.values_list("pk", flat=True), is_active=is_active, by=actor(request)
            )
        except QueryTaken as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        _sync(sources)
        self.message_user(request, f"{count} streams {'resumed' if is_active else 'paused'}.")

    @admin.action(description="Try on stored posts", permissions=["view"])
    def try_on_stored_posts(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        """How many of the newest posts each query matches, before one pays for it."""
        for stream in queryset[:10]:
            try:
                trial = try_query(stream.query, languages=stream.languages, source=stream.source)
            except BadQuery as error:
                self.message_user(request, f"{stream.name}: {error}", messages.ERROR)
                continue
            said = f"{stream.name}: {trial.matched:,} of {trial.tried:,} stored posts match."
            if trial.posts_per_day is not None:
                said += f" That is at least {trial.posts_per_day:,.0f} a day."
            if trial.unsupported:
                said += f" Not judged here: {', '.join(trial.unsupported)}"
            self.message_user(request, said)


def _sync(sources: Iterable[str]) -> None:
    for source in sources:
        transaction.on_commit(partial(tasks.sync_streams.delay, source))


@admin.register(Connection)
class ConnectionAdmin(ReadOnly):
    """How each source fares."""

    list_display = [
        "source",
        "state",
        "lag",
        "next_attempt_at",
        "received",
        "saved",
        "duplicates",
        "malformed",
        "reconnects",
        "spilled_bytes",
        "last_error",
    ]

    @admin.display(description="state", ordering="status")
    def state(self, row: Connection) -> str:
        return status_words(row)

    @admin.display(description="heard", ordering="last_event_at")
    def lag(self, row: Connection) -> str:
        now: datetime = timezone.now()
        lag = row.lag(now)
        return "never" if lag is None else f"{lag.total_seconds():,.0f} s ago"


@admin.register(RecentSearch)
class RecentSearchAdmin(ReadOnly):
    """Collections of a query's last days."""

    list_display = ["query", "stream", "state", "posts_read", "saved", "updated_at", "error"]
    list_filter = ["source", "state"]
    list_select_related = ["stream"]


@admin.register(WatchedFile)
class WatchedFileAdmin(ReadOnly):
    """Files of watched directories, and how far they have been read."""

    list_display = ["path", "stream", "rows", "rejected", "finished_at", "error"]
    list_filter = ["stream"]
    search_fields = ["path"]
    list_select_related = ["stream"]
