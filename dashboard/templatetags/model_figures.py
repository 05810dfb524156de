"""How templates write shares, durations, moments and what is stored as keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils.safestring import SafeString

from dashboard.languages import number, per_cent
from dashboard.model_pages import words as told

register = template.Library()
register.filter("amid", told.amid)
register.filter("actor", told.actor_name)


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


@register.filter
def moment(at: datetime | str | None) -> SafeString | str:
    """A time as HTML; a dash for none, and for what a row does not have."""
    return told.moment(at) if isinstance(at, datetime) else "–"


@register.filter
def stage(key: str) -> str:
    return str(told.STAGES.get(key, key))


@register.filter
def run_status(key: str) -> str:
    return str(told.STATUSES.get(key, key))


@register.filter
def alert_kind(key: str) -> str:
    return str(told.ALERTS.get(key, key.capitalize()))


@register.filter
def english(text: object) -> SafeString | str:
    """Kept in English, and said to be so; nothing for nothing."""
    return told.english(text) if text else ""


@register.filter
def named(names: Mapping[str, Any], key: str) -> str:
    """What a key is called."""
    return str(names.get(key, key))
