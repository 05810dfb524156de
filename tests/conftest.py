"""Fixtures that several apps' tests share: real database, broker, registry and model."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from asgiref.sync import sync_to_async
from celery import current_app
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.db.models.signals import post_migrate
from django.dispatch import receiver

from modeling import serving, starter
from modeling.ml import artifact
from modeling.ml.arguments import Labelled, TrainingArguments
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.export import export_onnx
from modeling.ml.training import fine_tune
from modeling.models import LabelScheme, ModelVersion
from tests.tiny import make_base_model

LABELS = ("negative", "neutral", "positive")

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@receiver(post_migrate, sender=apps.get_app_config("modeling"))
def put_back_the_default_scheme(**kwargs: Any) -> None:
    """A transactional test ends with every table emptied, the migrations' rows too."""
    migration = import_module("modeling.migrations.0002_default_scheme")
    migration.create_default_scheme(apps, None)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """The thread that reads for websockets lets go of its connection at the end: PostgreSQL drops
    no database that somebody is connected to."""
    yield
    asyncio.run(sync_to_async(connections.close_all)())


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained two-layer BERT with a vocabulary of the starter corpus: trains in seconds."""
    return make_base_model(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a really trained, exported tiny model that knows obvious words."""
    folder = tmp_path_factory.mktemp("tiny-model")
    texts, labels = obvious_posts()
    fine_tune(
        Labelled(texts, labels),
        Labelled(texts[:60], labels[:60]),
        LABELS,
        TrainingArguments(
            base_model=str(tiny_base), max_length=32, batch_size=16, learning_rate=3e-3, epochs=8
        ),
        folder,
    )
    export_onnx(folder)
    return folder


def obvious_posts() -> tuple[list[str], list[int]]:
    """Plain sentences with one telling word each, for models that learn in seconds."""
    telling = (
        ["awful", "terrible", "hate", "worst", "broken", "angry"],
        ["meeting", "schedule", "report", "announces", "opens", "tuesday"],
        ["love", "great", "wonderful", "happy", "best", "thanks"],
    )
    things = [
        "phone",
        "train",
        "game",
        "film",
        "team",
        "food",
        "service",
        "weather",
        "song",
        "city",
    ]
    texts, labels = [], []
    for thing in things:
        for label, words in enumerate(telling):
            for word in words:
                texts.append(f"the {thing} {word} today")
                labels.append(label)
    return texts, labels


@pytest.fixture
def scheme(db: None) -> LabelScheme:
    return LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)


@pytest.fixture
def make_version(tiny_model: Path, scheme: LabelScheme) -> Callable[..., ModelVersion]:
    """Rows of versions that all serve the tiny model."""

    def make(number: int = 1, **fields: object) -> ModelVersion:
        values: dict[str, object] = {
            "scheme": scheme,
            "version": number,
            "run_id": f"run-{number}",
            "base_model": "tiny",
            "artifact_uri": str(tiny_model),
            "artifact_digests": artifact.digests(tiny_model),
        }
        return ModelVersion.objects.create(**{**values, **fields})

    return make


@pytest.fixture
def champion(make_version: Callable[..., ModelVersion]) -> Iterator[ModelVersion]:
    """The tiny model, serving."""
    yield make_version(stage=ModelVersion.Stage.CHAMPION)
    serving.reset()


@pytest.fixture
def classifier(tiny_model: Path) -> SentimentClassifier:
    return SentimentClassifier(tiny_model, threads=1)


@pytest.fixture
def admin_user(db: None) -> User:
    return User.objects.create_superuser("boss", password="a-long-password")


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """The address of the test database, for processes that a test starts."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    login = f"{config['USER']}:{config['PASSWORD']}" if config["PASSWORD"] else config["USER"]
    return f"postgres://{login}@{config['HOST']}:{config['PORT'] or 5432}/{config['NAME']}"


@pytest.fixture
def manage(database_url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `manage.py` in a process of its own on the test database, at most for the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        # One that a failed test has left would hold on to the tables that are emptied now.
        with process:
            process.kill()


@pytest.fixture
def celery_worker(database_url: str) -> Iterator[None]:
    """A real worker on the configured broker: threads of this process, or one of its own."""
    from ingestion import embedded

    if not settings.REDIS_URL:
        with embedded.start_worker():
            yield
        return
    # What earlier tests have left for nobody would come first.
    with current_app.connection_for_write() as broker:
        for name in embedded.QUEUES:
            broker.default_channel.queue_purge(name)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "sentiment_site", "worker"),
            *("-P", "threads", "-c", "2", "-Q", "default,stream,predict,train", "-l", "warning"),
        ],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": database_url},
    )
    try:
        wait_until(lambda: current_app.control.broadcast("ping", reply=True, limit=1), seconds=60)
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[Any], seconds: float = 60.0) -> None:
    """Have a worker end as it should; fail the test when it does not in time."""
    process.terminate()
    try:
        process.wait(seconds)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def live_site(transactional_db: None) -> Iterator[str]:
    """The ASGI application on uvicorn, over a real socket; yields its address."""
    with serve() as address:
        yield address


@contextmanager
def table_away(name: str) -> Iterator[None]:
    """As if the database were away for whoever asks for this table."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


@contextmanager
def serve(port: int = 0) -> Iterator[str]:
    """The site on a port of one's own choice, or any free one, until the block ends."""
    import uvicorn

    config = uvicorn.Config(
        "sentiment_site.asgi:application",
        host="127.0.0.1",
        port=port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, seconds=60)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Poll until `condition` holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {condition}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def starter_posts() -> list[starter.StarterPost]:
    return starter.labelled()
