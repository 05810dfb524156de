"""What arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.text import Truncator

from ingestion.admin.base import ReadOnly
from ingestion.models import Post, PostQuerySet
from ingestion.selectors import languages

EXCERPT = 110


class BoundedPaginator(Paginator):
    """Counts to MOST, whatever there is: a list of millions is searched, not leafed through."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        newest: Any = self.object_list[: self.MOST]
        return int(newest.count())


class LanguageFilter(admin.AllValuesFieldListFilter):
    """The languages there are; of some posts none is known."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django's own question would read every post.
        self.lookup_choices: Any = languages()

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
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
        "created_at",
        ("deleted_at", admin.EmptyFieldListFilter),
    ]
    # Shows the field; what is searched says `get_search_results`.
    search_fields = ["text"]
    search_help_text = "Words of the post, or @ and an author's whole name."
    paginator = BoundedPaginator
    show_full_result_count = False
    # Counts beside the filters would read every post, too.
    show_facets = admin.ShowFacets.NEVER
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

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Post], search_term: str
    ) -> tuple[QuerySet[Post], bool]:
        """By the index of words: parts of words would have every post read."""
        if search_term.startswith("@"):
            return queryset.filter(author_username=search_term[1:]), False
        if isinstance(queryset, PostQuerySet) and search_term.strip():
            return queryset.matching(search_term), False
        return queryset, False

    @admin.display(description="post", ordering="id")
    def excerpt(self, post: Post) -> str:
        return Truncator(post.text or "(deleted at its source)").chars(EXCERPT)
