"""How many posts of each sentiment, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from math import sqrt
from typing import Any, TypedDict

from django.db.models import Sum

from dashboard.models import SentimentBucket, SentimentPeriod
from dashboard.selectors.posts import SCANNED, edge, reading
from dashboard.selectors.view import View, floor
from modeling.models import Category

# Of a normal distribution, 95 % lie within so many standard deviations.
Z = 1.96


class Sample(TypedDict):
    """That only the newest `posts` were looked at, the oldest of them from `since`."""

    posts: int
    since: str


class Timeline(TypedDict):
    """Counts by category over time: `bins` (ISO times, oldest first) and `counts` by category,
    aligned with them."""

    bin_seconds: int
    bins: list[str]
    counts: dict[str, list[int]]
    sample: Sample | None


def timeline(view: View) -> Timeline:
    """The view's counts. A post of several of its streams counts in each of them."""
    width = view.bin_seconds
    first = view.first
    size = int((view.end - first).total_seconds() // width) + 1
    counts = {category.key: [0] * size for category in view.categories}
    keys = {category.pk: category.key for category in view.categories}
    rows = _of_posts(view) if view.wanted.reads_posts else _of_roll_ups(view)
    for moment, category_id, count in rows:
        index = int((moment - first).total_seconds() // width)
        if index < size and category_id in keys:
            counts[keys[category_id]][max(index, 0)] += count
    bins = [(first + timedelta(seconds=width * i)).isoformat() for i in range(size)]
    sample = _sample(view) if view.wanted.reads_posts else None
    return Timeline(bin_seconds=width, bins=bins, counts=counts, sample=sample)


def _of_roll_ups(view: View) -> Iterable[tuple[datetime, int, int]]:
    """Of the longest periods that the view's bins consist of: a few thousand rows at most."""
    wanted: dict[str, Any] = {"category__in": view.categories}
    if view.wanted.streams:
        wanted["stream__in"] = view.wanted.streams
    else:
        wanted["stream__isnull"] = True
    length = next((s for s in (86400, 3600) if view.bin_seconds % s == 0), None)
    ends = {"lte": view.end} if view.until is None else {"lt": view.until}
    minutes = SentimentBucket.objects.filter(**_between("minute", view.first, ends), **wanted)
    of_minutes = minutes.order_by().values_list("minute", "category_id").annotate(Sum("count"))
    if length is None:
        return of_minutes
    # Of a period that is cut off, minutes.
    cut = None if view.until is None else floor(view.until, length)
    whole = ends if cut is None else {"lt": cut}
    periods = SentimentPeriod.objects.filter(
        seconds=length, **_between("start", view.first, whole), **wanted
    )
    of_periods = periods.order_by().values_list("start", "category_id").annotate(Sum("count"))
    if cut == view.until:
        return of_periods
    return chain(of_periods, of_minutes.filter(minute__gte=cut))


def _between(column: str, first: datetime, ends: Mapping[str, datetime]) -> dict[str, datetime]:
    return {f"{column}__gte": first, **{f"{column}__{how}": end for how, end in ends.items()}}


def _of_posts(view: View) -> Iterable[tuple[datetime, int, int]]:
    return ((row.created_at, row.category_id, 1) for row in reading(view))


def _sample(view: View) -> Sample | None:
    oldest = edge(view)
    return None if oldest is None else Sample(posts=SCANNED, since=oldest.created_at.isoformat())


def totals(view: View, series: Timeline | None = None) -> dict[str, int]:
    """Posts of each category in the view, of categories that have any: what the bars add up to."""
    counts = (timeline(view) if series is None else series)["counts"]
    return {key: sum(values) for key, values in counts.items() if any(values)}


def net_sentiment(counts: Mapping[str, int], categories: Sequence[Category]) -> float | None:
    """Mean polarity, −1 to 1; None without posts or polarities."""
    band = net_band(counts, categories)
    return None if band is None else band[0]


def net_band(
    counts: Mapping[str, int], categories: Sequence[Category]
) -> tuple[float, float, float] | None:
    """Mean polarity with its 95 % confidence band: the mean, and the band's ends within −1 and 1.

    The band's width is that of the mean of as many posts and one more of each category, so that
    a single post, or many that agree, leave some doubt too.
    """
    polarity = {c.key: c.polarity for c in categories if c.polarity is not None}
    total = sum(counts.get(key, 0) for key in polarity)
    if not total:
        return None
    mean = sum(value * counts.get(key, 0) for key, value in polarity.items()) / total
    size = total + len(polarity)
    moved = {key: counts.get(key, 0) + 1 for key in polarity}
    centre = sum(polarity[key] * count for key, count in moved.items()) / size
    spread = sum((polarity[key] - centre) ** 2 * count for key, count in moved.items()) / size
    half = Z * sqrt(spread / size)
    return mean, max(-1.0, mean - half), min(1.0, mean + half)
