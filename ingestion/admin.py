"""What people follow, what arrived, and how the sources are doing."""

from __future__ import annotations

from functools import partial

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.text import Truncator

from ingestion import tasks
from ingestion.exceptions import QueryTaken
from ingestion.models import Connection, MonthlyUsage, Post, Stream
from ingestion.services import switch_streams

EXCERPT = 110


@admin.register(Stream)
class StreamAdmin(admin.ModelAdmin):
    """Streams; saving or deleting one brings the source's rules in step within seconds."""

    list_display = ["name", "source", "query", "is_active", "post_count", "last_error"]
    list_filter = ["source", "is_active"]
    search_fields = ["name", "query"]
    readonly_fields = ["rule_id", "last_error", "created_at", "updated_at"]
    actions = ["pause", "resume"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        return super().get_queryset(request).annotate(count=Count("posts"))

    @admin.display(description="posts", ordering="count")
    def post_count(self, stream: Stream) -> int:
        return int(getattr(stream, "count", 0))

    def save_model(self, request: HttpRequest, obj: Stream, form: ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        _sync(obj.source)

    def delete_model(self, request: HttpRequest, obj: Stream) -> None:
        super().delete_model(request, obj)
        _sync(obj.source)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        sources = set(queryset.values_list("source", flat=True))
        super().delete_queryset(request, queryset)
        for source in sources:
            _sync(source)

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        self._switch(request, queryset, is_active=False)

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        self._switch(request, queryset, is_active=True)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Stream], *, is_active: bool) -> None:
        try:
            count, sources = switch_streams(
                queryset.values_list("pk", flat=True), is_active=is_active
            )
        except QueryTaken as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        for source in sources:
            _sync(source)
        self.message_user(request, f"{count} streams {'resumed' if is_active else 'paused'}.")


def _sync(source: str) -> None:
    transaction.on_commit(partial(tasks.sync_streams.delay, source))


class ReadOnly(admin.ModelAdmin):
    """Rows that the program writes: looked at, never edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Post)
class PostAdmin(ReadOnly):
    list_display = ["excerpt", "author_username", "source", "lang", "created_at"]
    list_filter = ["source", "streams", "lang", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["text", "author_username", "=external_id"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    list_per_page = 50
    readonly_fields = [
        "text",
        "source",
        "external_id",
        "streams",
        "author_username",
        "author_name",
        "lang",
        "created_at",
        "received_at",
        "conversation_id",
        "edited_from",
        "deleted_at",
        "metrics",
        "raw",
    ]
    # The same list, so that the admin shows all in this order.
    fields = tuple(readonly_fields)

    @admin.display(description="post", ordering="id")
    def excerpt(self, post: Post) -> str:
        return Truncator(post.text or "(deleted at its source)").chars(EXCERPT)


@admin.register(Connection)
class ConnectionAdmin(ReadOnly):
    list_display = [
        "source",
        "status",
        "last_event_at",
        "next_attempt_at",
        "received",
        "saved",
        "duplicates",
        "malformed",
        "reconnects",
        "last_error",
    ]


@admin.register(MonthlyUsage)
class MonthlyUsageAdmin(ReadOnly):
    list_display = ["source", "month", "stream", "posts_read", "budget"]
    list_filter = ["source"]
    list_select_related = ["stream"]
