"""How soon the live page is made with a year of posts, on SQLite and PostgreSQL.

`make bench ARGS=pages`. Fills an empty database with BENCH_POSTS (1,000,000) judged posts spread
over a year, of five streams and three languages, and asks for each address once, then ASKED times:
server time from the request to the last byte, and queries. No model is loaded: judgements are
rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.throughput import databases

POSTS = int(os.environ.get("BENCH_POSTS", "1000000"))
ASKED = 7
YEAR_SECONDS = 365 * 86400
WORDS = ("the train is late again", "lovely game today", "who said that", "prices went up")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, variables in databases(Path(folder)).items():
            print(f"{name}, {POSTS:,} posts", flush=True)
            environment = {
                **os.environ,
                **variables,
                "ENV_FILE": os.devnull,
                "API_REQUIRE_AUTH": "0",
            }
            for command in (["manage.py", "migrate", "-v0"], ["-m", __spec__.name, "measure"]):
                subprocess.run([sys.executable, *command], env=environment, check=True)


def measure() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
    import_module("django").setup()
    began = time.perf_counter()
    stream = _fill()
    print(f"  filled in {time.perf_counter() - began:.0f} s", flush=True)
    for address in (
        *("/?range=15m", "/?range=24h", "/?range=30d", "/?range=all", "/"),
        f"/?range=all&stream={stream}",
        *("/?range=30d&lang=de", "/?range=all&lang=de", "/?range=all&q=train+late"),
        "/live/compare/?range=30d&against=before",
        *("/live/data/?range=all", "/live/details/?range=all", "/live/bins.csv?range=all"),
    ):
        _time(address)


def _time(address: str) -> None:
    from django.db import connection
    from django.test import Client

    client, taken, queries = Client(SERVER_NAME="localhost"), [], []

    def count(execute: Any, *arguments: Any) -> Any:
        queries.append(arguments[0])
        return execute(*arguments)

    started = time.perf_counter()
    with connection.execute_wrapper(count):
        _ask(client, address)
    first = 1000 * (time.perf_counter() - started)
    for _ in range(ASKED):
        started = time.perf_counter()
        _ask(client, address)
        taken.append(1000 * (time.perf_counter() - started))
    print(
        f"  {address:28} first {first:5.0f} ms, then median {median(taken):5.0f} ms, "
        f"worst {max(taken):5.0f} ms; {len(queries):2} queries",
        flush=True,
    )


def _ask(client: Any, address: str) -> None:
    answer = client.get(address, headers={"Accept": "text/html"})
    if answer.status_code != 200 or not answer.getvalue():
        sys.exit(f"{address}: {answer.status_code}")


def _fill() -> int:
    """Makes rows by SQL, as one by one they would take an hour; the id of a stream."""
    from django.apps import apps
    from django.db import connection, transaction
    from django.utils import timezone

    from dashboard.models import SentimentBucket
    from ingestion.models import Post, Stream
    from modeling.models import Category, LabelScheme, ModelVersion, Prediction

    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    version = ModelVersion.objects.create(
        scheme=scheme, version=1, run_id="run", base_model="none", stage="champion"
    )
    keys = list(Category.objects.filter(scheme=scheme).values_list("pk", flat=True))
    streams = [Stream.objects.create(name=f"stream {n}", source="file").pk for n in range(5)]
    post = Post.objects.create(
        source="file", external_id="0", text="first", lang="en", created_at=timezone.now()
    )
    judged = Prediction.objects.create(
        post=post,
        scheme=scheme,
        model_version=version,
        category_id=keys[0],
        confidence=1,
        scores={},
    )
    is_sqlite = connection.vendor == "sqlite"
    # Spread evenly but for a stride that leaves no two days alike.
    age = f"(CAST(i AS bigint) * 7919 % {YEAR_SECONDS})"
    moment = (
        f"strftime('%Y-%m-%d %H:%M:%S', 'now', '-' || {age} || ' seconds')"
        if is_sqlite
        else f"now() - {age} * interval '1 second'"
    )
    minute = (
        "strftime('%Y-%m-%d %H:%M:00', p.created_at)"
        if is_sqlite
        else "date_trunc('minute', p.created_at)"
    )
    number = "" if is_sqlite else "::text"
    texts = " ".join(f"WHEN {n} THEN '{text} '" for n, text in enumerate(WORDS))
    pick = " ".join(f"WHEN {n} THEN {key}" for n, key in enumerate(keys))
    follow = " ".join(f"WHEN {n} THEN {key}" for n, key in enumerate(streams))
    series = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {POSTS})"
    posts, links = Post._meta.db_table, Post.streams.through._meta.db_table
    predictions, buckets = Prediction._meta.db_table, SentimentBucket._meta.db_table

    def copy(table: str, source: str, row: int, **values: str) -> str:
        with connection.cursor() as cursor:
            columns = [
                c.name for c in connection.introspection.get_table_description(cursor, table)
            ]
        columns.remove("id")
        chosen = ", ".join(values.get(name, f't."{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        return (
            f"INSERT INTO {table} ({names}) {source.format(chosen)}, {table} t WHERE t.id = {row}"
        )

    statements = [
        copy(
            posts,
            f"{series} SELECT {{}} FROM n",
            post.pk,
            external_id=f"i{number}",
            text=f"CASE i % {len(WORDS)} {texts} END || i{number}",
            created_at=moment,
            received_at=moment,
            lang="CASE i % 3 WHEN 0 THEN 'en' WHEN 1 THEN 'de' ELSE 'fr' END",
        ),
        f"INSERT INTO {links} (post_id, stream_id) "
        f"SELECT id, CASE id % {len(streams)} {follow} END FROM {posts}",
        f"DELETE FROM {predictions} WHERE id <> {judged.pk}",
        copy(
            predictions,
            f"SELECT {{}} FROM (SELECT * FROM {posts} WHERE id <> {post.pk}) p",
            judged.pk,
            post_id="p.id",
            category_id=f"CASE (p.id / 7) % {len(keys)} {pick} END",
            confidence="0.5 + (p.id % 50) / 100.0",
            created_at="p.received_at",
        ),
        *(
            f"INSERT INTO {buckets} (minute, stream_id, category_id, count, confidence_sum) "
            f"SELECT {minute}, {of}, j.category_id, count(*), sum(j.confidence) FROM {posts} p "
            f"JOIN {predictions} j ON j.post_id = p.id {join} GROUP BY 1, 2, 3"
            for of, join in (
                ("CAST(NULL AS bigint)", ""),
                ("l.stream_id", f"JOIN {links} l ON l.post_id = p.id"),
            )
        ),
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    import_module("dashboard.migrations.0004_fill_periods").fill(apps, None)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return streams[0]


if __name__ == "__main__":
    measure() if sys.argv[1:] == ["measure"] else main()
