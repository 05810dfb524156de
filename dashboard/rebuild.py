"""Counting again from the rows what `SentimentBucket` holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncMinute

from dashboard import buckets
from dashboard.buckets import LENGTHS, Key, fold
from dashboard.models import SentimentBucket, SentimentPeriod
from ingestion.models import Post, Pruning
from modeling.models import Prediction

DAY = timedelta(days=1)
_ROWS_A_STATEMENT = 500


@dataclass(frozen=True)
class Difference:
    """A roll-up of `seconds` from `minute` on that said `found` where the rows say `expected`;
    stream None is every post."""

    minute: datetime
    stream_id: int | None
    category_id: int
    found: int
    expected: int
    seconds: int = 60


def rebuild(*, mend: bool = True, pruned_too: bool = False) -> Iterator[list[Difference]]:
    """Compare every roll-up with the posts and judgements, a day at a time, and put it right.

    Yields each day's differences. Days of which posts were pruned are left, as only their roll-ups
    know how many there were; `pruned_too` counts them by what is left. Safe while posts come in:
    nobody else changes roll-ups while one day, a moment's work, is counted.
    """
    left = set() if pruned_too else set(pruned_days())
    for day in _days():
        if day not in left:
            yield _rebuild_day(day, mend=mend)


def pruned_days() -> list[datetime]:
    """The days (UTC) with roll-ups of which posts may have been removed for being too old."""
    gone = Pruning.objects.order_by().values_list("oldest", "newest")
    spans = [(_day_of(oldest), newest) for oldest, newest in gone if oldest and newest]
    return [day for day in _days() if any(first <= day <= last for first, last in spans)]


def _day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _days() -> list[datetime]:
    """Each day (UTC) that has posts or roll-ups."""
    posts = Post.objects.order_by().datetimes("created_at", "day", tzinfo=UTC)
    rows = SentimentBucket.objects.order_by().datetimes("minute", "day", tzinfo=UTC)
    days = SentimentPeriod.objects.filter(seconds=SentimentPeriod.Length.DAY)
    return sorted({*posts, *rows, *days.order_by().values_list("start", flat=True).distinct()})


@transaction.atomic
def _rebuild_day(day: datetime, *, mend: bool) -> list[Difference]:
    buckets.one_writer()
    expected = _counted(day)
    rows = {
        (row.minute, row.stream_id, row.category_id): row
        for row in SentimentBucket.objects.filter(minute__gte=day, minute__lt=day + DAY)
    }
    wrong = [key for key in {*expected, *rows} if not _agree(rows.get(key), expected.get(key))]
    wrong.sort(key=lambda key: (key[0], key[1] or 0, key[2]))
    if mend:
        _replace([rows[key].pk for key in wrong if key in rows], wrong, expected)
    return [
        *(
            Difference(*key, rows[key].count if key in rows else 0, expected.get(key, (0, 0.0))[0])
            for key in wrong
        ),
        *(each for seconds in LENGTHS for each in _rebuild_periods(day, seconds, expected, mend)),
    ]


def _rebuild_periods(
    day: datetime, seconds: int, expected: dict[Key, tuple[int, float]], mend: bool
) -> list[Difference]:
    """The day's hours, or the day itself."""
    totals = fold({key: list(sums) for key, sums in expected.items()}, seconds)
    rows = {
        (row.start, row.stream_id, row.category_id): row
        for row in SentimentPeriod.objects.filter(
            seconds=seconds, start__gte=day, start__lt=day + DAY
        )
    }
    sums = {key: (int(count), confidence) for key, (count, confidence) in totals.items()}
    wrong = [key for key in {*sums, *rows} if not _agree(rows.get(key), sums.get(key))]
    if mend:
        SentimentPeriod.objects.filter(pk__in=[rows[k].pk for k in wrong if k in rows]).delete()
        SentimentPeriod.objects.bulk_create(
            SentimentPeriod(
                seconds=seconds,
                start=key[0],
                stream_id=key[1],
                category_id=key[2],
                count=sums[key][0],
                confidence_sum=sums[key][1],
            )
            for key in wrong
            if key in sums
        )
    return [
        Difference(*key, rows[key].count if key in rows else 0, sums.get(key, (0, 0.0))[0], seconds)
        for key in wrong
    ]


def _counted(day: datetime) -> dict[Key, tuple[int, float]]:
    """Posts that count and the sum of their confidence, by minute, stream and category."""
    judged = (
        Prediction.objects.serving()
        .of_current_posts()
        .filter(post__created_at__gte=day, post__created_at__lt=day + DAY)
        .order_by()
    )
    overall = {(m, None, c): (n, total) for m, c, n, total in _sums(judged)}
    in_streams = judged.exclude(post__streams__isnull=True)
    return overall | {(m, s, c): (n, total) for m, s, c, n, total in _sums(in_streams, "stream")}


def _sums(judged: QuerySet[Prediction], *by: str) -> QuerySet:
    """Rows of minute, whatever else to group `by`, category, count and sum of confidence."""
    return (
        judged.annotate(minute=TruncMinute("post__created_at", tzinfo=UTC))
        .annotate(**{name: F("post__streams") for name in by})
        .values_list("minute", *by, "category_id")
        .annotate(Count("pk"), Sum("confidence"))
    )


def _agree(
    row: SentimentBucket | SentimentPeriod | None, expected: tuple[int, float] | None
) -> bool:
    """A row of nothing is as good as none."""
    count, confidence = expected or (0, 0.0)
    if row is None:
        return False
    return row.count == count and math.isclose(row.confidence_sum, confidence, abs_tol=1e-6)


def _replace(gone: list[int], wrong: list[Key], expected: dict[Key, tuple[int, float]]) -> None:
    for start in range(0, len(gone), _ROWS_A_STATEMENT):
        SentimentBucket.objects.filter(pk__in=gone[start : start + _ROWS_A_STATEMENT]).delete()
    SentimentBucket.objects.bulk_create(
        (
            SentimentBucket(
                minute=minute,
                stream_id=stream,
                category_id=category,
                count=expected[minute, stream, category][0],
                confidence_sum=expected[minute, stream, category][1],
            )
            for minute, stream, category in wrong
            if (minute, stream, category) in expected
        ),
        batch_size=_ROWS_A_STATEMENT,
    )
