"""Filters that refuse what they do not understand, rather than answer for more than was asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django_filters import BooleanFilter, FilterSet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

# Beyond these, time zones lead out of what databases can hold.
YEARS = range(1900, 3000)
# What is no filter: the form of the answer, its order, its page.
FORM = ("ordering", "cursor", "limit", "format")
TOLD = 10


class StrictFilters(DjangoFilterBackend):
    """django-filter, but a misspelt parameter, a yes for a true and a year that no database holds
    are mistakes that the caller is told of."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filterset = self.get_filterset(request, queryset, view)
        # One row is looked up through the filters, too; what else it takes is the view's matter.
        is_list = getattr(view, "action", None) == "list"
        if filterset is not None and is_list and (mistakes := _mistakes(request, filterset)):
            raise ValidationError(mistakes)
        return super().filter_queryset(request, queryset, view)


def _mistakes(request: Request, filterset: FilterSet) -> dict[str, str]:
    known = [*filterset.filters, *FORM]
    unknown = sorted(set(request.query_params) - set(known))[:TOLD]
    mistakes = dict.fromkeys(unknown, f"Unknown parameter; known are: {', '.join(known)}.")
    for name, one in filterset.filters.items():
        given = request.query_params.get(name, "").lower()
        if isinstance(one, BooleanFilter) and given not in {"", "true", "false"}:
            mistakes[name] = "Write true or false."
    if filterset.is_valid():
        for name, value in filterset.form.cleaned_data.items():
            if isinstance(value, datetime) and value.year not in YEARS:
                mistakes[name] = f"Write a year from {YEARS[0]} to {YEARS[-1]}."
    return mistakes
