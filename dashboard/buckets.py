"""Keeping `SentimentBucket` up to date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from dashboard.models import SentimentBucket
from dashboard.selectors import stream_ids_of
from ingestion.models import Post
from modeling.models import Prediction

Key = tuple[datetime, int | None, int]

# Parameters a statement stay below SQLite's limit of 32,766.
_ROWS_A_STATEMENT = 2000


def add(predictions: Sequence[Prediction]) -> None:
    """Count new serving predictions, within the transaction that wrote them.

    One upsert a statement, rows in a fixed order: two workers wait for each other but never
    dead-lock, and a count is never lost.
    """
    totals: dict[Key, list[float]] = defaultdict(lambda: [0, 0.0])
    for prediction, created_at, streams in _with_posts(predictions):
        minute = created_at.replace(second=0, microsecond=0)
        for stream_id in (None, *streams):
            entry = totals[minute, stream_id, prediction.category_id]
            entry[0] += 1
            entry[1] += prediction.confidence
    for is_overall in (True, False):
        rows = [
            (minute, stream, category, count, confidence)
            for (minute, stream, category), (count, confidence) in totals.items()
            if (stream is None) is is_overall
        ]
        _upsert(sorted(rows, key=lambda row: (row[0], row[1] or 0, row[2])), is_overall=is_overall)


def _with_posts(
    predictions: Sequence[Prediction],
) -> list[tuple[Prediction, datetime, list[int]]]:
    ids = [prediction.post_id for prediction in predictions]
    created = dict(Post.objects.filter(pk__in=ids).values_list("pk", "created_at"))
    streams = stream_ids_of(ids)
    return [(p, created[p.post_id], streams[p.post_id]) for p in predictions]


def _upsert(
    rows: Sequence[tuple[datetime, int | None, int, float, float]], *, is_overall: bool
) -> None:
    table = SentimentBucket._meta.db_table
    target = (
        "(category_id, minute) WHERE stream_id IS NULL"
        if is_overall
        else "(stream_id, category_id, minute)"
    )
    adapt = SentimentBucket._meta.get_field("minute").get_db_prep_value
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = rows[start : start + _ROWS_A_STATEMENT]
        values = ", ".join(["(%s, %s, %s, %s, %s)"] * len(part))
        # Only names of our own model are formatted in; Django's upsert cannot add to a column.
        sql = (
            f"INSERT INTO {table} (minute, stream_id, category_id, count, confidence_sum) "  # noqa: S608
            f"VALUES {values} ON CONFLICT {target} DO UPDATE SET "
            f"count = {table}.count + excluded.count, "
            f"confidence_sum = {table}.confidence_sum + excluded.confidence_sum"
        )
        parameters = [
            value
            for minute, stream, category, count, confidence in part
            for value in (adapt(minute, connection), stream, category, count, confidence)
        ]
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
