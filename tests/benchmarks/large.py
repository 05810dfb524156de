"""A PostgreSQL server of one's own with millions of judged posts, made by SQL in minutes.

Posts come evenly over `BENCH_DAYS` (60), of five streams and four languages, in words of
which few are frequent; each has a prediction and a link to a stream. The server is
gone when the block ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from tests.postgres import Cluster, binaries

POSTS = int(os.environ.get("BENCH_POSTS", "5000000"))
DAYS = int(os.environ.get("BENCH_DAYS", "60"))
STREAMS = 5
# What a post takes with its prediction, links and all indexes, and room for what is measured.
BYTES_A_POST = 4000
# As docker-compose.yml starts it; a benchmark does not wait for the disk at each checkpoint.
TUNED = {
    "shared_buffers": "512MB",
    "effective_cache_size": "1536MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "maintenance_work_mem": "256MB",
}
# Sessions' own: constraint triggers would ask about each of millions of rows that are right.
UNCHECKED = "SET session_replication_role = replica; SET synchronous_commit = off"


def run(module: str, measure: Callable[[], None]) -> None:
    """What a benchmark of large tables does when it is started: a server, `fill`, `measure`, each
    in a process of its own, which is `module` again with the step's name."""
    match sys.argv[1:]:
        case []:
            if binaries() is None:
                print("SKIPPED: PostgreSQL is not installed")
                return
            with server() as environment:
                for step in ("fill", "measure"):
                    command = [sys.executable, "-m", module, step]
                    subprocess.run(command, env=environment, check=True)
        case [step]:
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
            import_module("django").setup()
            {"fill": fill, "measure": measure}[step]()


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """The environment that leads a process to an empty, migrated database of a server's own."""
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < POSTS * BYTES_A_POST * 1.5:
            needed = POSTS * BYTES_A_POST * 1.5 / 1e9
            sys.exit(
                f"{POSTS:,} posts need {needed:.0f} GB under {folder.parent}, of which "
                f"{free / 1e9:.0f} GB are free: set BENCH_POSTS lower, or TMPDIR elsewhere"
            )
        cluster = Cluster(folder)
        cluster.start()
        tune(cluster)
        try:
            environment = {
                **os.environ,
                "ENV_FILE": os.devnull,
                "SECRET_KEY": "only-for-benchmarks-" + "x" * 40,
                "VAR_DIR": str(folder / "var"),
                "DATABASE_URL": cluster.url,
                "API_REQUIRE_AUTH": "0",
                "SECURE_SITE": "0",
            }
            command = [sys.executable, "manage.py", "migrate", "-v0"]
            subprocess.run(command, env=environment, check=True)
            yield environment
        finally:
            cluster.stop()


def tune(cluster: Cluster) -> None:
    """Settings of production, for a server that has just started."""
    import psycopg2

    connection = psycopg2.connect(cluster.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name, value in TUNED.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = %s", [value])
    connection.close()
    cluster.stop("fast")
    cluster.start()


def fill() -> None:
    """In a process of the migrated, empty database. Indexes are made after the rows."""
    from django.db import connection

    from dashboard.models import SentimentBucket
    from ingestion.models import Post
    from modeling.models import Prediction

    began = time.perf_counter()
    keys, streams, version, scheme = _parents()
    tables = [Post._meta.db_table, Prediction._meta.db_table, SentimentBucket._meta.db_table]
    with connection.cursor() as cursor:
        cursor.execute(UNCHECKED)
        later = _without_indexes(cursor, tables)
        _posts(cursor)
        print(f"  {POSTS:,} posts in {time.perf_counter() - began:.0f} s", flush=True)
        _judgements(cursor, keys, streams, version, scheme)
        _buckets(cursor)
        print(f"  judged and counted after {time.perf_counter() - began:.0f} s", flush=True)
        for statement in later:
            cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone()
    seconds = time.perf_counter() - began
    print(f"  filled in {seconds:.0f} s: {size / 1e9:.1f} GB, {size / POSTS:.0f} bytes a post")


def _parents() -> tuple[list[int], list[int], int, int]:
    from ingestion.models import Stream
    from modeling.models import LabelScheme, ModelVersion

    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    version = ModelVersion.objects.champions().filter(scheme=scheme).first()
    if version is None:
        version = ModelVersion.objects.create(
            scheme=scheme, version=1, run_id="run", base_model="none", stage="champion"
        )
    keys = list(scheme.categories.order_by("pk").values_list("pk", flat=True))
    streams = [
        Stream.objects.create(name=f"s{n}", source="x", query=f"s{n}").pk for n in range(STREAMS)
    ]
    return keys, streams, version.pk, scheme.pk


def _without_indexes(cursor: object, tables: list[str]) -> list[str]:
    """Drop what only speeds questions up; the statements that make it again."""
    cursor.execute(  # type: ignore[attr-defined]
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = ANY(%s::regclass[]) AND NOT indisunique",
        [tables],
    )
    found = cursor.fetchall()  # type: ignore[attr-defined]
    for name, _ in found:
        cursor.execute(f"DROP INDEX {name}")  # type: ignore[attr-defined]
    return [definition for _, definition in found]


def _posts(cursor: object) -> None:
    few = "the is to and a of in it for on you this that with my was good late bad love"
    common = f"('{{{','.join(few.split())}}}'::text[])[1 + floor(random() * 20)::int]"
    # The third power: half of these words are of an eighth of the 20,000.
    rarer = "'word' || to_hex(floor(power(random(), 3) * 20000)::int)"
    text = " || ' ' || ".join([common, rarer] * 7)
    cursor.execute(  # type: ignore[attr-defined]
        "INSERT INTO ingestion_post (source, external_id, text, lang, author_id, author_username,"
        " author_name, created_at, received_at, conversation_id, original_id, is_superseded,"
        ' "references", checked_at, metrics)'
        f" SELECT 'x', (1700000000000000000 + i)::text, {text},"
        " (ARRAY['en','en','de','fr','es'])[1 + i %% 5], (i %% 400000)::text,"
        " 'user' || i %% 400000, 'User ' || i %% 400000,"
        " at - random() * interval '20 seconds', at, '', '', false, '[]', at, '{}'"
        " FROM (SELECT i, now() - (%s - i) * (%s::float8 / %s) * interval '1 day' AS at"
        " FROM generate_series(1, %s) i) s",
        [POSTS, DAYS, POSTS, POSTS],
    )


def _judgements(
    cursor: object, keys: list[int], streams: list[int], version: int, scheme: int
) -> None:
    cursor.execute(  # type: ignore[attr-defined]
        "INSERT INTO ingestion_post_streams (post_id, stream_id)"
        " SELECT id, (%s::bigint[])[1 + id %% %s] FROM ingestion_post",
        [streams, len(streams)],
    )
    # The newest thousand wait to be classified.
    cursor.execute(  # type: ignore[attr-defined]
        "INSERT INTO modeling_prediction (post_id, scheme_id, model_version_id, category_id,"
        " confidence, scores, is_serving, created_at)"
        " SELECT id, %s, %s, (%s::bigint[])[1 + (id / 7) %% %s], 0.34 + random() * 0.66,"
        ' \'{"negative": 0.0712, "neutral": 0.1175, "positive": 0.8113}\', true,'
        " received_at + interval '1 second'"
        " FROM ingestion_post WHERE id <= (SELECT max(id) - 1000 FROM ingestion_post)",
        [scheme, version, keys, len(keys)],
    )


def _buckets(cursor: object) -> None:
    from importlib import import_module

    from django.apps import apps

    for stream, join in (
        ("NULL::bigint", ""),
        ("l.stream_id", "JOIN ingestion_post_streams l ON l.post_id = p.id"),
    ):
        cursor.execute(  # type: ignore[attr-defined]
            "INSERT INTO dashboard_sentimentbucket"
            " (minute, stream_id, category_id, count, confidence_sum)"
            f" SELECT date_trunc('minute', p.created_at), {stream}, j.category_id, count(*),"
            f" sum(j.confidence) FROM ingestion_post p"
            f" JOIN modeling_prediction j ON j.post_id = p.id {join} GROUP BY 1, 2, 3"
        )
    import_module("dashboard.migrations.0004_fill_periods").fill(apps, None)
