"""What may go wrong with a stack, done to a running one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import redis

from deploy.stack import ROOT, Stack, StackError
from tests.x_api import XApi

SMALL_DISK = "512m"
# Folders whose `sitecustomize` does something to each process that is started with them.
POISON, CLOCK = (Path(__file__).with_name(name) for name in ("poison", "clock"))
# The processes that run this project's code.
OURS = {"web", "worker", "worker-train", "stream", "beat"}


class Impossible(Exception):
    """A fault that cannot be had on this machine; the message says what it takes."""


@dataclass(frozen=True)
class Scene:
    """A running stack, and the stand-in of X that its posts come from."""

    stack: Stack
    api: XApi

    def ask(self, path: str, body: Any = None) -> Any:
        """What the site answers, as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.stack.addresses()['site']}{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database answers."""
        connection = psycopg2.connect(self.stack.addresses()["PostgreSQL"])
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            connection.close()

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float = 300.0) -> None:
        """Until `is_so`. Raises StackError."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise StackError(f"after {seconds:.0f} s still not so: {what}")
            time.sleep(1)

    def manage(self, *arguments: str) -> None:
        """A command of manage.py, as an operator runs it beside the stack."""
        environment = {**self.stack.of("web")[0].environment}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=environment,
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )


Fault = Callable[[Scene], None]


def restart_all(scene: Scene) -> None:
    """A rolling restart, as of a release: one process after the other."""
    for name, process in list(scene.stack.processes.items()):
        if process.service in OURS:
            scene.stack.restart(name)


def away(name: str, seconds: float) -> Fault:
    def run(scene: Scene) -> None:
        scene.stack.crash(name)
        time.sleep(seconds)
        scene.stack.start(name)

    return run


def flush(scene: Scene) -> None:
    redis.Redis.from_url(scene.stack.addresses()["Redis"]).flushall()


def use_up_connections(scene: Scene) -> None:
    """Somebody takes every connection that PostgreSQL has left, for half a minute."""
    taken = []
    with suppress(psycopg2.OperationalError):
        while True:
            taken.append(psycopg2.connect(scene.stack.addresses()["PostgreSQL"]))
    time.sleep(30)
    for connection in taken:
        connection.close()


def second_beat(scene: Scene) -> None:
    """Two schedulers at once, as when one was thought dead."""
    beat = scene.stack.processes["beat"]
    other = replace(beat, environment={**beat.environment, "METRICS_PORT": ""}, handle=None)
    other.spawn()
    time.sleep(40)
    other.end()


def start_without_mlflow(scene: Scene) -> None:
    """A web process and a worker start while MLflow is away: the model's files are here already."""
    scene.stack.crash("mlflow")
    scene.stack.restart("web-1")
    scene.stack.restart("worker")
    scene.stack.start("mlflow")


def train_without_mlflow(scene: Scene) -> None:
    """MLflow is away when a training has ended and is to be registered: the run waits for it."""
    scene.stack.crash("mlflow")
    run = scene.ask("/retrain", {"force": True})["run"]
    status = f"SELECT status FROM modeling_trainingrun WHERE id = {int(run)}"
    scene.wait("the run notices", lambda: scene.rows(status)[0][0] == "interrupted")
    scene.stack.start("mlflow")
    # As the schedule does, which comes round too seldom for a test.
    scene.ask("/retrain", {"force": True})
    ended = ("succeeded", "rejected")
    scene.wait("the run goes on to its end", lambda: scene.rows(status)[0][0] in ended)


def promote_without_mlflow(scene: Scene) -> None:
    """A promotion while MLflow is away: served at once; MLflow's alias follows once it is back."""
    newest = "SELECT max(version) FROM modeling_modelversion"
    if scene.rows(newest)[0][0] < 2:
        train_without_mlflow(scene)
    champion = "SELECT version FROM modeling_modelversion WHERE stage = 'champion'"
    ((before,),) = scene.rows(champion)
    other = 1 if before != 1 else scene.rows(newest)[0][0]
    scene.stack.crash("mlflow")
    scene.manage("promote", str(other), "--override", "--reason", "chaos")
    version = {"text": "what a wonderful day"}
    scene.wait(
        "the new champion serves",
        lambda: scene.ask("/predict", version)["model_version"] == str(other),
        30,
    )
    scene.stack.start("mlflow")


def fill_the_disk(scene: Scene) -> None:
    """No room under VAR_DIR for half a minute, in which PostgreSQL restarts as well: what would
    be put on file meanwhile cannot be."""
    folder = scene.stack.folder / "sentiment"
    if not folder.is_mount():
        raise Impossible("needs a file system of its own: run as root, where mount is allowed")
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 20))
    time.sleep(10)
    scene.stack.restart("postgres")
    time.sleep(20)
    ballast.unlink()


def jump_the_clock(scene: Scene) -> None:
    """The clock of every process of ours jumps an hour ahead, an hour back, and home again."""
    offset = scene.stack.folder / "clock"
    offset.write_text("0")
    variables = {"PYTHONPATH": in_front_of_all(CLOCK), "CLOCK_OFFSET": str(offset)}
    connected = "SELECT status FROM ingestion_connection WHERE source = 'x'"
    with restarted_with(scene, variables):
        # A gap that a wrong clock closes looks an hour long, and is left for a person to fill.
        scene.wait("the stream is connected", lambda: scene.rows(connected) == [("connected",)])
        for shift in ("3600", "-3600", "0"):
            offset.write_text(shift)
            time.sleep(20)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """`folder` as a file system of its own, of SMALL_DISK, where mounting is allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    is_own = os.getuid() == 0 and not subprocess.run(command, check=False).returncode
    try:
        yield
    finally:
        if is_own:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def restarted_with(
    scene: Scene, variables: dict[str, str], services: set[str] = OURS
) -> Iterator[None]:
    """Processes with other variables for a while, replaced one by one."""
    chosen = [name for name, each in scene.stack.processes.items() if each.service in services]
    kept = {name: dict(scene.stack.processes[name].environment) for name in chosen}
    for name in chosen:
        scene.stack.processes[name].environment |= variables
        scene.stack.restart(name)
    yield
    for name in chosen:
        scene.stack.processes[name].environment = kept[name]
        scene.stack.restart(name)


def in_front_of_all(folder: Path) -> str:
    """PYTHONPATH with a folder that Python looks into first."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))


def poison(scene: Scene) -> None:
    """A post that kills whoever prepares it for the model: it is found, and set aside."""
    with restarted_with(scene, {"PYTHONPATH": in_front_of_all(POISON)}, {"worker"}):
        number = scene.api.publish("POISON #chaos")
        tried = (
            "SELECT attempt.count FROM modeling_attempt attempt JOIN ingestion_post post "
            f"ON post.id = attempt.post_id WHERE post.external_id = '{int(number)}'"
        )
        scene.wait("it is set aside", lambda: scene.rows(tried) == [(3,)], 420)


def change_the_schema(scene: Scene) -> None:
    """A release's migration under load (a column, an index), then each process anew."""
    connection = psycopg2.connect(scene.stack.addresses()["PostgreSQL"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        cursor.execute("ALTER TABLE ingestion_post ADD COLUMN chaos integer NOT NULL DEFAULT 0")
        cursor.execute("CREATE INDEX CONCURRENTLY chaos_index ON ingestion_post (chaos, id)")
        scene.manage("migrate", "-v", "0")
        restart_all(scene)
        cursor.execute("DROP INDEX CONCURRENTLY chaos_index")
        cursor.execute("ALTER TABLE ingestion_post DROP COLUMN chaos")
    connection.close()


FAULTS: dict[str, Fault] = {
    "kill -9 of a web process": lambda scene: scene.stack.kill("web-1"),
    "kill -9 of a worker": lambda scene: scene.stack.kill("worker"),
    "kill -9 of beat": lambda scene: scene.stack.kill("beat"),
    "kill -9 of the stream": lambda scene: scene.stack.kill("stream"),
    "rolling restart": restart_all,
    "Redis restarted": lambda scene: scene.stack.restart("redis"),
    "Redis flushed": flush,
    "Redis away for 60 s": away("redis", 60),
    "two beats at once": second_beat,
    "PostgreSQL restarted": lambda scene: scene.stack.restart("postgres"),
    "PostgreSQL away for 30 s": away("postgres", 30),
    "PostgreSQL: no connections": use_up_connections,
    "MLflow away for 30 s": away("mlflow", 30),
    "MLflow away at a start": start_without_mlflow,
    "MLflow away at training": train_without_mlflow,
    "MLflow away at promotion": promote_without_mlflow,
    "restart, schema changing": change_the_schema,
    "disk full": fill_the_disk,
    "clock jumps": jump_the_clock,
    "a poison post": poison,
}
