"""The database goes away in the middle of a stream: nothing is lost, and nothing comes twice."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.conf import settings

from tests.conftest import wait_until
from tests.postgres import Cluster, binaries
from tests.x_api import XApi

pytestmark = [
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed"),
    # It starts a cluster of its own either way; once is enough.
    pytest.mark.skipif(
        settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"), reason="runs with PostgreSQL"
    ),
]
OUTAGE_SECONDS = 30.0
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of these tests' own, with our tables."""
    # Not in pytest's folder: its next session closes that to PostgreSQL's user.
    with tempfile.TemporaryDirectory(prefix="sentiment-cluster-") as folder:
        made = Cluster(Path(folder))
        made.start()
        environment = {**os.environ, "DATABASE_URL": made.url}
        migrate = [sys.executable, "manage.py", "migrate", "-v", "0"]
        subprocess.run(migrate, cwd=settings.BASE_DIR, env=environment, check=True, timeout=120)
        yield made
        made.stop()


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=1.0) as api:
        yield api


@pytest.fixture
def start(cluster: Cluster, x: XApi, tmp_path: Path) -> Iterator[Start]:
    """Streams into the cluster, with a spill folder of its own; what still runs is killed."""
    ask(cluster, "TRUNCATE ingestion_post, ingestion_connection, ingestion_gap CASCADE")
    running: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "stream", "--query", "cats", "--json"],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                **x.environment,
                "DATABASE_URL": cluster.url,
                "VAR_DIR": str(tmp_path),
            },
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "stream.log").open("a"),
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def ask(cluster: Cluster, sql: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(cluster.url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def stored(cluster: Cluster) -> list[str]:
    return [key for (key,) in ask(cluster, "SELECT external_id FROM ingestion_post ORDER BY id")]


def stop(process: subprocess.Popen[str]) -> dict[str, Any]:
    """End it in good order; its summary."""
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(out)
    return result


class Publisher:
    """Posts arrive all the time, in a thread, until the block ends."""

    def __init__(self, x: XApi) -> None:
        self.ids: list[str] = []
        self._x = x
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.04):
            self.ids.append(self._x.publish(f"cats number {len(self.ids)} are wonderful"))

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def test_posts_that_come_while_the_database_is_away_are_stored_when_it_is_back(
    cluster: Cluster, x: XApi, start: Start
) -> None:
    process = start()
    x.wait_for_stream()
    with Publisher(x) as publisher:
        wait_until(lambda: len(stored(cluster)) > 20)
        cluster.stop("immediate")
        before = len(publisher.ids)
        time.sleep(OUTAGE_SECONDS)  # The outage itself, not a wait for something.
        during = len(publisher.ids) - before
        cluster.start()
        back_at = len(publisher.ids)
        wait_until(lambda: len(stored(cluster)) > back_at + 20, 60)
    assert during > 200
    wait_until(lambda: len(stored(cluster)) >= len(publisher.ids), 60)
    # In the order in which they came, none missing, none twice.
    assert stored(cluster) == publisher.ids
    assert process.poll() is None
    assert x.connects == 1
    summary = stop(process)
    assert (summary["saved"], summary["reconnects"]) == (len(publisher.ids), 0)
    assert summary["delay_seconds"] < 5
    assert ask(cluster, "SELECT cause FROM ingestion_gap") == [("stopped",)]


def test_what_came_before_a_stop_without_a_database_is_stored_by_the_next_run(
    cluster: Cluster, x: XApi, start: Start, tmp_path: Path
) -> None:
    process = start()
    x.wait_for_stream()
    with Publisher(x) as publisher:
        wait_until(lambda: len(stored(cluster)) > 5)
        cluster.stop("immediate")
        try:
            count = len(publisher.ids)
            wait_until(lambda: len(publisher.ids) > count + 30)
            stop(process)
        finally:
            cluster.start()
    waiting = list((tmp_path / "spill" / "x").glob("*.wal"))
    assert waiting
    assert len(stored(cluster)) < len(publisher.ids)
    # The last ones may not have been read any more when it was told to stop.
    heard = publisher.ids[: count + 10]
    again = start()
    wait_until(lambda: set(heard) <= set(stored(cluster)), 60)
    # From the file: nothing had to be asked for again.
    assert not x.asked("/2/tweets/search/recent")
    wait_until(lambda: not [path for path in waiting if path.exists()])
    assert len(stored(cluster)) == len(set(stored(cluster)))
    stop(again)
