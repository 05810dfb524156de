"""The write-ahead file on a disk that is full: what is taken is there, and reading goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.ingestion.factories import stream


def full_disk(what: str, folder: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.ingestion.full_disk", what, str(folder)],
        cwd=settings.BASE_DIR,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def test_what_the_file_takes_on_a_nearly_full_disk_is_there(tmp_path: Path) -> None:
    outcome = full_disk("file", tmp_path / "x")
    assert outcome["refused"]
    assert outcome["taken"] == outcome["there"] == ["1", "2", "3", "6"]
    assert outcome["room"] == [False, True]


@pytest.mark.django_db(transaction=True)
def test_on_a_full_disk_the_reader_waits_for_room(tmp_path: Path, database_url: str) -> None:
    stream(source="rss", query="https://example.org/feed")
    outcome = full_disk("reader", tmp_path / "x", DATABASE_URL=database_url)
    assert outcome["is_alive"] and outcome["is_back"]
    # One connection before, none while nothing could be kept.
    assert outcome["connects"] == 1
    assert (outcome["began"], outcome["lost"]) == ("Began", ["buffer_full"])
    # Of what came, only the post that found the disk full is missing; the gap tells of it.
    lacking = set(range(1, outcome["ids"][-1])) - set(outcome["ids"])
    assert len(lacking) == 1
