"""What labellers look for in the list of posts."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from ingestion.models import Post
from modeling.models import LabelScheme
from modeling.selectors import Labelling, posts_by_labelling


class LabellingFilter(admin.SimpleListFilter):
    """By what people and the champion said of a post, in the default scheme."""

    title = "labelling"
    parameter_name = "labelling"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(choice.value, str(choice.label)) for choice in Labelling]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Post]) -> QuerySet[Post] | None:
        chosen = self.value()
        scheme = LabelScheme.objects.filter(key=LabelScheme.DEFAULT_KEY).first()
        if chosen not in Labelling.values or scheme is None:
            return None
        return posts_by_labelling(queryset, scheme, Labelling(chosen))
