"""What keeping posts by time costs on PostgreSQL: B-tree, BRIN, and partitions by month.

`make bench ARGS=retention`. Fills a server of its own (BENCH_POSTS, BENCH_DAYS), and prints for the
index on `received_at` as it is and for a BRIN index in its place: size, time to make, what it adds
to storing 50,000 posts, and how fast the questions by time are. Then a day's posts go: by
`manage.py prune` as it is, and as a partition of a copy of the table. What is tried is undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from statistics import median
from typing import Any

from tests.benchmarks import large

NEW = 50_000
KINDS = {
    "B-tree": "CREATE INDEX tried ON ingestion_post (received_at DESC)",
    "BRIN": "CREATE INDEX tried ON ingestion_post USING brin (received_at) WITH (autosummarize)",
    "none": "",
}
DAY = "interval '1 day'"
# Retention's own question, the sweep's, and a list's page.
QUESTIONS = {
    "oldest 1,000 to prune": (
        f"SELECT id FROM ingestion_post WHERE received_at < now() - {large.DAYS - 1} * {DAY}"
        " ORDER BY id LIMIT 1000"
    ),
    "the last hour's": (
        "SELECT count(*) FROM ingestion_post WHERE received_at >= now() - interval '1 hour'"
    ),
    "a day's, a month ago": (
        f"SELECT count(*) FROM ingestion_post WHERE received_at >= now() - 31 * {DAY}"
        f" AND received_at < now() - 30 * {DAY}"
    ),
    "newest 50": "SELECT id FROM ingestion_post ORDER BY received_at DESC LIMIT 50",
}
INSERT = (
    "INSERT INTO {table} (source, external_id, text, lang, author_id, author_username, author_name,"
    " created_at, received_at, conversation_id, original_id, is_superseded,"
    ' "references", checked_at, metrics)'
    " SELECT 'x', 'new' || i, 'the word' || i || ' is new and this is good', 'en', i::text,"
    " 'u' || i, 'U', now(), clock_timestamp(), '', '', false, '[]', now(), '{{}}'"
    f" FROM generate_series(1, {NEW}) i"
)


def milliseconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started)


def measure() -> None:
    from django.db import connection, transaction

    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX IF NOT EXISTS post_received ON ingestion_post (received_at)")
        print(
            "| on received_at | size | made in | storing 50,000 | " + " | ".join(QUESTIONS) + " |"
        )
        print("|---" * (4 + len(QUESTIONS)) + "|")
        for kind, statement in KINDS.items():
            with transaction.atomic():
                _compare(cursor, kind, statement)
                transaction.set_rollback(True)
    _prune()
    with connection.cursor() as cursor, transaction.atomic():
        _partitions(cursor)
        transaction.set_rollback(True)


def _compare(cursor: Any, kind: str, statement: str) -> None:
    cursor.execute("DROP INDEX post_received")
    made = milliseconds(lambda: cursor.execute(statement)) / 1000 if statement else 0.0
    size = 0
    if statement:
        cursor.execute("SELECT pg_relation_size('tried')")
        (size,) = cursor.fetchone()
    asked = []
    for question in QUESTIONS.values():
        taken = []
        for _ in range(5):
            taken.append(milliseconds(lambda question=question: cursor.execute(question)))
        asked.append(f"{median(taken):,.1f} ms")
    stored = milliseconds(lambda: cursor.execute(INSERT.format(table="ingestion_post"))) / 1000
    print(
        f"| {kind} | {size / 1e6:,.1f} MB | {made:.1f} s | {stored:.2f} s | "
        + " | ".join(asked)
        + " |",
        flush=True,
    )


def _prune() -> None:
    """The oldest day, for good: as the command does it."""
    from django.db.models import Min
    from django.utils import timezone

    from ingestion.models import Post
    from modeling.services.retention import prune

    oldest = Post.objects.aggregate(at=Min("received_at"))["at"] or timezone.now()
    started = time.perf_counter()
    pruned = prune(oldest + timedelta(days=1))
    took = time.perf_counter() - started
    print(
        f"prune: a day's {pruned.posts:,} posts with predictions and links in {took:.1f} s, "
        f"{pruned.posts / took:,.0f} a second",
        flush=True,
    )


def _partitions(cursor: Any) -> None:
    """A day of a copy that is partitioned, dropped; and what its keys may be."""
    from django.db import DatabaseError, transaction

    cursor.execute(
        "CREATE TABLE parted (LIKE ingestion_post INCLUDING DEFAULTS INCLUDING IDENTITY)"
        " PARTITION BY RANGE (received_at)"
    )
    try:
        with transaction.atomic():
            cursor.execute("ALTER TABLE parted ADD UNIQUE (source, external_id)")
    except DatabaseError as error:
        print(f"partitions, UNIQUE (source, external_id): {str(error).strip()}")
    cursor.execute("ALTER TABLE parted ADD UNIQUE (source, external_id, received_at)")
    cursor.execute("CREATE TABLE parted_rest PARTITION OF parted DEFAULT")
    inserted = milliseconds(lambda: cursor.execute(INSERT.format(table="parted")))
    print(f"partitions, storing {NEW:,} with one index: {inserted / 1000:.2f} s")
    dropped = milliseconds(lambda: cursor.execute("DROP TABLE parted_rest"))
    print(f"partitions, dropping one of {NEW:,} posts: {dropped:.1f} ms", flush=True)


if __name__ == "__main__":
    large.run(__spec__.name, measure)
