"""An installation of the first release becomes one of today, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from tests.site.first_release import FIRST_RELEASE, JUDGED, TEXTS


@pytest.fixture
def empty_database(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Of the kind that the suite runs on, beside the suite's own."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path}/old.sqlite3"
        return
    name = f"test_upgrade_{uuid.uuid4().hex[:12]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield f"{database_url.rpartition('/')[0]}/{name}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.timeout(600)
def test_an_installation_of_the_first_release_becomes_one_of_today(
    empty_database: str, tiny_model: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "DATABASE_URL": empty_database, "VAR_DIR": str(tmp_path)}

    def run(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    module = ("-m", "tests.site.first_release")
    run(*module, "migrate")
    before = json.loads(run(*module, "fill", str(tiny_model)))
    # Each kind of rows that there was; of migrations later than those named there is none.
    assert {name for name, count in before.items() if not count} <= {
        "auth_user_groups",
        "auth_user_user_permissions",
        "auth_group",
        "auth_group_permissions",
        # Django fills it after `migrate`, of which the first step is not the whole.
        "auth_permission",
    }
    assert before["ingestion_post"] == JUDGED + 3 and "ingestion_gap" not in before
    shown = run("manage.py", "showmigrations", "--plan")
    done = [line.split()[-1] for line in shown.splitlines() if line.startswith("[X]")]
    ours = [name for name in done if name.split(".")[0] in {"ingestion", "modeling", "dashboard"}]
    assert sorted(ours) == sorted(f"{app}.{name}" for app, name in FIRST_RELEASE)

    run("manage.py", "migrate", "-v0")
    found = json.loads(run(*module, "check"))

    grown = {"auth_group", "auth_group_permissions", "auth_permission"}
    lost = {
        name: (count, found["counts"].get(name))
        for name, count in before.items()
        if name not in grown and found["counts"].get(name) != count
    }
    assert not lost
    assert found["differences"] == []
    assert found["minutes"] == JUDGED
    # Hours and days were counted from minutes that came before there were any.
    for seconds in ("3600", "86400"):
        assert found["periods"][seconds] == [JUDGED, pytest.approx(0.75 * JUDGED)]
    assert found["judged"] == JUDGED
    assert found["labelled"] == [["positive", "ada"]]
    # The champion serves, and takes up what waited: the edit; not what is deleted or replaced.
    assert (found["version"], found["labels"]) == ("1", ["positive", "negative", "neutral"])
    assert (found["classified"], found["pending"]) == (1, 0)
    assert found["listed"] == [TEXTS[1]]
    assert set(found["pages"].values()) == {200}, found["pages"]
