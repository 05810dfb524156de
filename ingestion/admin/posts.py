"""What arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.utils.text import Truncator

from ingestion.admin.base import ReadOnly
from ingestion.models import Post

EXCERPT = 110


class LanguageFilter(admin.AllValuesFieldListFilter):
    """The languages there are; of some posts none is known."""

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or "not known"}


@admin.register(Post)
class PostAdmin(ReadOnly):
    """Posts, earlier versions of edited ones too."""

    list_display = ["excerpt", "author_username", "source", "lang", "created_at"]
    list_filter = [
        "source",
        "streams",
        ("lang", LanguageFilter),
        ("deleted_at", admin.EmptyFieldListFilter),
    ]
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
        "original_id",
        "edited_from",
        "is_superseded",
        "references",
        "deleted_at",
        "checked_at",
        "metrics",
        "raw",
    ]
    # The same list, so that the admin shows all in this order.
    fields = tuple(readonly_fields)

    @admin.display(description="post", ordering="id")
    def excerpt(self, post: Post) -> str:
        return Truncator(post.text or "(deleted at its source)").chars(EXCERPT)
