"""Keeping `SentimentBucket` up to date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import connection, models
from django.db.models import Q

from dashboard.models import SentimentBucket, SentimentPeriod
from dashboard.selectors import stream_ids_of
from ingestion.models import Post
from modeling.models import Prediction

Key = tuple[datetime, int | None, int]
# By key: how many posts, and the sum of their confidence.
Totals = dict[Key, list[float]]


@dataclass(frozen=True)
class _Table:
    """Where sums are kept; `columns` are its time, and what else makes a row one of its kind."""

    model: type[models.Model]
    columns: tuple[str, ...]


MINUTES = _Table(SentimentBucket, ("minute",))
PERIODS = _Table(SentimentPeriod, ("start", "seconds"))
LENGTHS = (SentimentPeriod.Length.HOUR, SentimentPeriod.Length.DAY)

# Parameters a statement stay below SQLite's limit of 32,766.
_ROWS_A_STATEMENT = 2000
_MINUTES_A_STATEMENT = 500
# Any number that is no other lock's of this database.
_LOCK = 20_260_301


def add(predictions: Sequence[Prediction]) -> None:
    """Count new serving predictions, within the transaction that wrote them."""
    ids = [prediction.post_id for prediction in predictions]
    created = dict(Post.objects.filter(pk__in=ids).values_list("pk", "created_at"))
    streams = stream_ids_of(ids)
    totals = _totals(
        (created[p.post_id], (None, *streams[p.post_id]), p.category_id, p.confidence)
        for p in predictions
    )
    _add(totals)


def withdraw(post_ids: Sequence[int]) -> None:
    """Take off posts that counted and no longer do, within the transaction that says so.

    The posts are held: what is judged of them is committed, or never will be.
    """
    streams = stream_ids_of(post_ids)
    totals = _totals(
        (created_at, (None, *streams[post_id]), category, confidence)
        for post_id, created_at, category, confidence in _judged(post_ids)
    )
    _subtract(totals)


def join(links: Iterable[tuple[int, int]]) -> None:
    """Count known posts in further streams (post id, stream id), if they count. They are held."""
    streams: dict[int, list[int]] = defaultdict(list)
    for post_id, stream_id in links:
        streams[post_id].append(stream_id)
    current = Post.objects.current().filter(pk__in=streams)
    totals = _totals(
        (created_at, streams[post_id], category, confidence)
        for post_id, created_at, category, confidence in _judged(
            list(current.values_list("pk", flat=True))
        )
    )
    _add(totals)


def one_writer() -> None:
    """One transaction at a time changes roll-ups, until it ends.

    Whatever rows two of them touch, in whatever order and how often, neither waits for the other
    in a circle. SQLite has one writer anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _judged(post_ids: Sequence[int]) -> Iterable[tuple[int, datetime, int, float]]:
    serving = Prediction.objects.serving().filter(post_id__in=post_ids)
    return serving.values_list("post_id", "post__created_at", "category_id", "confidence")


def _totals(counted: Iterable[tuple[datetime, Iterable[int | None], int, float]]) -> Totals:
    """Sum posts (time, streams, category, confidence); stream None is every post once."""
    totals: Totals = defaultdict(lambda: [0, 0.0])
    for created_at, streams, category, confidence in counted:
        minute = created_at.replace(second=0, microsecond=0)
        for stream in streams:
            entry = totals[minute, stream, category]
            entry[0] += 1
            entry[1] += confidence
    return totals


def _add(totals: Totals) -> None:
    if not totals:
        return
    one_writer()
    for is_overall in (True, False):
        own = {key: sums for key, sums in totals.items() if (key[1] is None) is is_overall}
        _upsert(_in_order(_flat(own)), MINUTES, is_overall)
        folded = [
            (start, *rest, seconds)
            for seconds in LENGTHS
            for start, *rest in _flat(fold(own, seconds))
        ]
        _upsert(_in_order(folded), PERIODS, is_overall)


def fold(totals: Totals, seconds: int) -> Totals:
    """Minutes summed to periods of an hour or a day (UTC)."""
    folded: Totals = defaultdict(lambda: [0, 0.0])
    for (minute, stream, category), (count, confidence) in totals.items():
        start = minute.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if seconds == SentimentPeriod.Length.DAY:
            start = start.replace(hour=0)
        entry = folded[start, stream, category]
        entry[0] += count
        entry[1] += confidence
    return folded


def _flat(totals: Totals) -> Iterable[tuple[Any, ...]]:
    return ((*key, *sums) for key, sums in totals.items())


def _in_order(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """By time, stream and category: two writers meet in one order."""
    return sorted(rows, key=lambda row: (row[0], row[1] or 0, row[2], row[5:]))


def _subtract(totals: Totals) -> None:
    """A count never falls below zero: then rows were wrong before, which `rebuild_buckets` says."""
    if not totals:
        return
    one_writer()
    streams = {stream for _, stream, _ in totals if stream is not None}
    wanted = Q(stream__isnull=True) | Q(stream__in=streams)
    minutes = sorted({minute for minute, _, _ in totals})
    for start in range(0, len(minutes), _MINUTES_A_STATEMENT):
        part = minutes[start : start + _MINUTES_A_STATEMENT]
        rows = SentimentBucket.objects.filter(wanted, minute__in=part)
        _take_off(
            SentimentBucket,
            [(row, totals.get((row.minute, row.stream_id, row.category_id))) for row in rows],
        )
    for seconds in LENGTHS:
        folded = fold(totals, seconds)
        starts = sorted({start for start, _, _ in folded})
        for first in range(0, len(starts), _MINUTES_A_STATEMENT):
            part = starts[first : first + _MINUTES_A_STATEMENT]
            periods = SentimentPeriod.objects.filter(wanted, seconds=seconds, start__in=part)
            _take_off(
                SentimentPeriod,
                [(row, folded.get((row.start, row.stream_id, row.category_id))) for row in periods],
            )


def _take_off(model: type[Any], rows: Iterable[tuple[Any, list[float] | None]]) -> None:
    changed = []
    for row, sums in rows:
        if sums is None or not sums[0]:
            continue
        row.count = max(0, row.count - int(sums[0]))
        row.confidence_sum = max(0.0, row.confidence_sum - sums[1]) if row.count else 0.0
        changed.append(row)
    model.objects.bulk_update(changed, ["count", "confidence_sum"], batch_size=_MINUTES_A_STATEMENT)


def _upsert(rows: Sequence[tuple[Any, ...]], into: _Table, is_overall: bool) -> None:
    """Rows of time, stream, category, count, confidence, and seconds where the table has them."""
    table = into.model._meta.db_table
    keys = (
        ["category_id", *into.columns]
        if is_overall
        else ["stream_id", "category_id", *into.columns]
    )
    target = f"({', '.join(keys)})" + (" WHERE stream_id IS NULL" if is_overall else "")
    moment, *others = into.columns
    columns = [moment, "stream_id", "category_id", "count", "confidence_sum", *others]
    adapt = models.DateTimeField().get_db_prep_value
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = rows[start : start + _ROWS_A_STATEMENT]
        values = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * len(part))
        # Only names of our own models are formatted in; Django's upsert cannot add to a column.
        sql = (
            f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608
            f"VALUES {values} ON CONFLICT {target} DO UPDATE SET "
            f"count = {table}.count + excluded.count, "
            f"confidence_sum = {table}.confidence_sum + excluded.confidence_sum"
        )
        parameters = [value for when, *rest in part for value in (adapt(when, connection), *rest)]
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
