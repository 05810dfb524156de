"""How fast real workers classify from the queue, one and two of them, and what a post costs.

`make bench ARGS=scale`. A PostgreSQL and a Redis of their own, the champion of `VAR_DIR`
(`make run` builds one), BENCH_POSTS (6,000) posts. Each task is sent twice, in any order, so that
workers meet over the same posts; afterwards predictions and roll-ups are counted. Then one process
classifies once more: what it and the database use of the processor, which other work on the
machine does not change, and how long it waits for each kind of statement, which that does.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

POSTS = int(os.environ.get("BENCH_POSTS", "6000"))
CHUNK = 256
WORKERS = (1, 2)
LONGEST_SECONDS = 900
# What a statement is for, by what it says; the first that fits.
PARTS = {
    "roll-up": ("dashboard_", "pg_advisory_xact_lock", "ingestion_post_streams"),
    "write": ("INSERT INTO",),
    "hold": ("FOR NO KEY UPDATE",),
    "claim": ("modeling_prediction",),
}


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis of one's own; its address."""
    import redis

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 30
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(timeout=30)


def texts() -> Iterator[str]:
    """Posts of the starter corpus' words, none like another: the cache of judgements is off."""
    from modeling import starter

    known = [post.text for post in starter.labelled()]
    chosen = random.Random(7)
    while True:
        yield f"{chosen.choice(known)} {chosen.choice(known)}"[:280]


def refill() -> list[int]:
    """Fresh posts without a prediction, of a stream; their ids."""
    from django.db import connection
    from django.utils import timezone

    from ingestion.events import IncomingPost
    from ingestion.models import Stream
    from ingestion.services import store

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE ingestion_post, dashboard_sentimentbucket, dashboard_sentimentperiod CASCADE"
        )
    stream, _ = Stream.objects.get_or_create(name="s", source="x", query="s")
    now = timezone.now()
    source = texts()
    incoming = [
        IncomingPost("x", str(n), next(source), now, stream_ids=frozenset({stream.pk}))
        for n in range(POSTS)
    ]
    return store(incoming, announce=False).post_ids


def drain(workers: int) -> None:
    """Let so many worker processes take all tasks; print the rate, and what came of it."""
    from django.db.models import Sum

    from dashboard.models import SentimentBucket
    from modeling.models import Prediction
    from modeling.tasks import classify_posts

    ids = refill()
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)] * 2
    random.Random(workers).shuffle(chunks)
    for chunk in chunks:
        classify_posts.delay(chunk)
    command = [sys.executable, "-m", "celery", "-A", "sentiment_site", "worker", "-Q", "predict"]
    running = [
        subprocess.Popen(
            [*command, "-c", "1", "-n", f"w{n}@bench", "-l", "error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n in range(workers)
    ]
    seen: list[tuple[float, int]] = []
    deadline = time.monotonic() + LONGEST_SECONDS
    try:
        while not seen or seen[-1][1] < POSTS:
            if time.monotonic() > deadline:
                sys.exit(f"only {seen[-1][1] if seen else 0} posts within {LONGEST_SECONDS} s")
            if count := Prediction.objects.count():
                seen.append((time.monotonic(), count))
            time.sleep(0.1)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=60)
    # From when every worker had loaded the model and begun.
    (began, first) = next(entry for entry in seen if entry[1] >= CHUNK * workers * 2)
    rate = (POSTS - first) / (seen[-1][0] - began)
    counted = SentimentBucket.objects.filter(stream=None).aggregate(n=Sum("count"))["n"]
    total = Prediction.objects.count()
    posts = Prediction.objects.values("post").distinct().count()
    print(
        f"| {workers} | {rate:,.0f} | {len(chunks)} tasks for {POSTS:,} posts: "
        f"{total:,} predictions of {posts:,} posts, {counted:,} counted |",
        flush=True,
    )


def costs() -> None:
    """Milliseconds a post, by part, in one process that nobody disturbs."""
    from django.db import connection

    from modeling import serving
    from modeling.services.classify import classify_posts

    ids = refill()
    champion = serving.champion()
    source = texts()
    champion.classify([next(source) for _ in range(CHUNK)])
    spent: dict[str, float] = defaultdict(float)

    def timed(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            part = next(
                (name for name, words in PARTS.items() if any(word in sql for word in words)),
                "others",
            )
            spent[part] += time.perf_counter() - started

    judged = [next(source) for _ in range(CHUNK * 2)]
    used = time.process_time()
    champion.classify(judged)
    engine = (time.process_time() - used) / len(judged)
    backend = Path("/proc", str(_backend()), "stat")
    before, used = _seconds_used(backend), time.process_time()
    with connection.execute_wrapper(timed):
        classify_posts(ids)
    own = (time.process_time() - used) / POSTS
    database = (_seconds_used(backend) - before) / POSTS
    print("| part | ms a post |")
    print("|---|---|")
    print(f"| engine, processor time | {1000 * engine:.3f} |")
    print(f"| Python around it, processor time | {1000 * (own - engine):.3f} |")
    print(f"| PostgreSQL, processor time | {1000 * database:.3f} |")
    for name in (*PARTS, "others"):
        print(f"| {name}, waited for the database | {1000 * spent[name] / POSTS:.3f} |")
    locked = spent["roll-up"] / POSTS
    print(f"roll-ups have one writer: at most {1 / locked:,.0f} posts a second on this machine now")


def _backend() -> int:
    """The process of the server that answers this one."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _seconds_used(stat: Path) -> float:
    """Of processor time, by the user's and the system's code."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    import django

    django.setup()
    from modeling.models import ModelVersion
    from tests.benchmarks import large
    from tests.benchmarks.import_posts import clone_champion

    version = ModelVersion.objects.champions().first()
    if version is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    with (
        tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name,
        large.server() as base,
        redis_server(Path(name)) as address,
    ):
        environment = {
            **base,
            "REDIS_URL": address,
            "INFERENCE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PREDICTION_CACHE_SIZE": "0",
            "BENCH_POSTS": str(POSTS),
        }
        clone_champion(version, environment)
        print("| workers | posts a second | exactly once |")
        print("|---|---|---|", flush=True)
        for step in (*(f"drain {n}" for n in WORKERS), "costs"):
            command = [sys.executable, "-m", __spec__.name, *step.split()]
            subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        import_module("django").setup()
    if sys.argv[1:2] == ["drain"]:
        drain(int(sys.argv[2]))
    elif sys.argv[1:] == ["costs"]:
        costs()
    else:
        main()
