"""Cursor paging: stable while rows arrive, as cheap on page 1,000 as on page 1."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError as BadValue
from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

LARGEST_ID = 2**63 - 1


class Position(NamedTuple):
    """The row that a page starts behind: its value in the order's column, and its id."""

    value: Any
    id: int
    is_backward: bool


class NewestFirst(CursorPagination):
    """Pages by the order's column and the id together, so that equal values, however many, neither
    repeat nor hide rows. (The framework's own counts equals by offset, up to 1,000.)"""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self._address = request.build_absolute_uri()
        self._order = order_of(view)
        size = self.get_page_size(request) or self.page_size
        start = self._read_cursor(request, queryset)
        is_backward = start is not None and start.is_backward
        found = list(_page(queryset, self._order, start, is_backward)[: size + 1])
        is_more = len(found) > size
        rows = found[:size]
        if is_backward:
            rows.reverse()
        # Where one came from there are rows, too.
        self._has_next = is_more or is_backward
        self._has_previous = start is not None and (is_more or not is_backward)
        self._rows = rows
        return rows

    def get_next_link(self) -> str | None:
        return self._link(self._rows[-1], False) if self._rows and self._has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(self._rows[0], True) if self._rows and self._has_previous else None

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Of a page, in OpenAPI 3.1's words: the framework's are those of 3.0."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def _link(self, row: Model, is_backward: bool) -> str:
        value = getattr(row, self._order.lstrip("-"))
        position = json.dumps([value, row.pk, int(is_backward)], default=str)
        cursor = urlsafe_b64encode(position.encode()).decode().rstrip("=")
        return replace_query_param(self._address, self.cursor_query_param, cursor)

    def _read_cursor(self, request: Request, queryset: QuerySet[Any]) -> Position | None:
        given = request.query_params.get(self.cursor_query_param)
        if not given:
            return None
        field = queryset.model._meta.get_field(self._order.lstrip("-"))
        try:
            raw = urlsafe_b64decode(given.encode("ascii") + b"=" * (-len(given) % 4))
            value, pk, is_backward = json.loads(raw)
            if type(pk) is not int or abs(pk) > LARGEST_ID or "\x00" in str(value):
                raise ValueError("no position")
            value = field.to_python(value)
            if isinstance(value, datetime):
                # Raises OverflowError for a moment that no database holds.
                value = value.astimezone(UTC)
            return Position(value, pk, bool(is_backward))
        except (ValueError, TypeError, OverflowError, RecursionError, BadValue) as error:
            raise ValidationError(
                {"cursor": "Not a cursor of this list: follow `next` and `previous`."}
            ) from error


def order_of(view: Any) -> str:
    """The order that a request asked for, checked by `OneOrder` before; else the view's."""
    asked = str(view.request.query_params.get("ordering", "")) if view is not None else ""
    return asked or NewestFirst.ordering


def _page(
    queryset: QuerySet[Any], order: str, start: Position | None, is_backward: bool
) -> QuerySet[Any]:
    column = order.lstrip("-")
    sign = "-" if order.startswith("-") != is_backward else ""
    ordered = queryset.order_by(f"{sign}{column}", *([] if column == "id" else [f"{sign}id"]))
    if start is None:
        return ordered
    beyond = "lt" if sign else "gt"
    after = Q(**{f"{column}__{beyond}": start.value})
    if column != "id":
        after |= Q(**{column: start.value, f"id__{beyond}": start.id})
    return ordered.filter(after)
