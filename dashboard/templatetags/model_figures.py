"""How templates write shares and durations."""

from __future__ import annotations

from datetime import timedelta

from django import template

from dashboard.languages import number, per_cent

register = template.Library()


@register.filter
def percent(share: float | str | None, digits: int = 0) -> str:
    """A share of 0 to 1 as per cent; a dash for none, and for what a row does not have."""
    return per_cent(share, digits) if isinstance(share, float | int) else "–"


@register.filter
def words(span: timedelta | None) -> str:
    """A duration as people say it; empty for none."""
    if span is None:
        return ""
    seconds = span.total_seconds()
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{number(seconds / 3600, 1)} h"
