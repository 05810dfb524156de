"""Preparing an installation, and the demo as a user starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from modeling.models import LabelScheme, ModelVersion, Prediction
from sentiment_site import bootstrap
from tests.conftest import wait_until
from tests.ports import reserved_port


@pytest.mark.django_db
def test_roles_and_schedule_are_made_once_and_edits_stay(scheme: LabelScheme) -> None:
    bootstrap.run(StringIO(), build_model=False)
    task = PeriodicTask.objects.get(name="Check data quality")
    PeriodicTask.objects.filter(pk=task.pk).update(enabled=False)
    bootstrap.run(StringIO(), build_model=False)
    task.refresh_from_db()
    assert not task.enabled
    assert PeriodicTask.objects.filter(task__startswith="modeling.").count() == 4
    annotator = Group.objects.get(name="annotator")
    assert annotator.permissions.filter(codename="add_annotation").exists()


@pytest.mark.django_db
def test_an_interval_that_is_there_twice_stops_no_start(scheme: LabelScheme) -> None:
    for _ in range(2):
        IntervalSchedule.objects.create(every=10, period=IntervalSchedule.SECONDS)
    bootstrap.create_schedule()
    bootstrap.create_schedule()
    assert set(PeriodicTask.objects.values_list("name", flat=True)) >= set(bootstrap.SCHEDULE)
    PeriodicTask.objects.filter(name="Classify pending posts").delete()
    IntervalSchedule.objects.create(every=10, period=IntervalSchedule.SECONDS)
    bootstrap.create_schedule()
    task = PeriodicTask.objects.get(name="Classify pending posts")
    assert task.interval is not None and task.interval.every == 10


@pytest.mark.django_db
def test_every_scheduled_task_exists() -> None:
    from celery import current_app

    current_app.loader.import_default_modules()
    assert {task for task, _, _ in bootstrap.SCHEDULE.values()} <= set(current_app.tasks)


@pytest.mark.django_db
def test_a_champion_is_not_built_again(champion: ModelVersion) -> None:
    assert bootstrap.build_starter_model(StringIO()) == champion


@pytest.fixture
def demo_environment(database_url: str, champion: ModelVersion) -> dict[str, str]:
    dropped = {"REDIS_URL", "API_REQUIRE_AUTH"}
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return {**kept, "DATABASE_URL": database_url, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def port() -> Iterator[int]:
    with reserved_port() as number:
        yield number


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return bool(get(url))
        except OSError:
            return False

    return ask


@pytest.mark.timeout(400)
@pytest.mark.django_db(transaction=True)
def test_the_demo_serves_live_posts_and_leaves_no_process(
    demo_environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--port", str(port), "--rate", "20"],
            cwd=settings.BASE_DIR,
            env=demo_environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        site = f"http://127.0.0.1:{port}"
        wait_until(answers(f"{site}/health"), 120)
        assert json.loads(get(f"{site}/health"))["status"] == "ok"
        # Loopback only: open without a sign-in.
        assert json.loads(get(f"{site}/model/info"))["version"] == 1
        assert re.search(r"user demo, password \S+", log.read_text())
        before = Prediction.objects.count()
        wait_until(lambda: Prediction.objects.count() > before + 20, 60)
        second = subprocess.run(
            [sys.executable, "manage.py", "demo", "--port", str(port)],
            cwd=settings.BASE_DIR,
            env=demo_environment,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 1 and f"port {port}" in second.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    # One whose parent has ended ends by itself a moment later.
    wait_until(lambda: not is_there(process.pid))


def is_there(group: int) -> bool:
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
