"""The admin's lists of rows, for narrow screens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst

register = template.Library()


@register.filter
def named(row: Iterable[SafeString], headers: Iterable[Mapping[str, Any]]) -> Iterator[SafeString]:
    """The row's cells, each with its column's name as `data-label`: what a card says in place of
    the table's head. A column of boxes to tick has none."""
    for cell, header in zip_longest(row, headers):
        if cell is None:
            return
        tag, rest = cell[:3], cell[3:]
        if header is None or "action-checkbox" in header["class_attrib"]:
            yield cell
        else:
            # The admin has escaped the cell itself.
            name = format_html(' data-label="{}"', capfirst(header["text"]))
            yield mark_safe(f"{tag}{name}{rest}")  # noqa: S308  # nosec B308 B703
