"""A backup is one moment's state, and restores into an empty system that judges as it did."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from django.conf import settings as live_settings
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.fixtures import Settings

from ingestion.models import Post
from ingestion.services import store
from modeling import registry
from modeling.models import ModelVersion
from modeling.services.classify import classify_pending
from sentiment_site import backup
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(tmp_path: Path, settings: Settings) -> Path:
    """Where this installation keeps its registry and files."""
    settings.MLFLOW_TRACKING_URI = f"sqlite:///{tmp_path / 'mlflow.sqlite3'}"
    settings.MLFLOW_ARTIFACT_ROOT = str(tmp_path / "artifacts")
    settings.SPILL_DIR = tmp_path / "spill"
    return tmp_path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of an empty installation."""
    folder = tmp_path / "elsewhere"
    variables = {
        **os.environ,
        "VAR_DIR": str(folder),
        "ENV_FILE": os.devnull,
        "SECRET_KEY": "of-another-installation-" + "x" * 40,
        "MLFLOW_TRACKING_URI": "",
        "MLFLOW_ARTIFACT_ROOT": "",
    }
    if connection.vendor == "sqlite":
        yield {**variables, "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}"}
        return
    name = f"restored_{uuid4().hex[:12]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    parts = urlsplit(live_settings.DATABASE_URL)
    yield {**variables, "DATABASE_URL": urlunsplit(parts._replace(path=f"/{name}"))}
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(variables: dict[str, str], *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_a_backup_of_a_running_system_serves_the_same_elsewhere(
    site: Path, champion: ModelVersion, tiny_model: Path, elsewhere: dict[str, str]
) -> None:
    made = registry.register(
        shutil.copytree(tiny_model, site / "trained"),
        scheme_key="sentiment",
        parameters={"epochs": 1},
        metrics={"test_accuracy": 0.5},
    )
    ModelVersion.objects.filter(pk=champion.pk).update(
        artifact_uri=made.artifact_uri, artifact_digests=made.digests, run_id=made.run_id
    )
    store([incoming(text="the food wonderful today") for _ in range(50)])
    classify_pending()
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.01):
            store([incoming(), incoming()])
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        target = site / "backups" / "first"
        call_command("backup", str(target))
    finally:
        over.set()
        writer.join()
    counts = json.loads((target / backup.MANIFEST).read_text())["counts"]
    # Whole transactions of two, as of one moment.
    assert 50 <= counts["ingestion_post"] <= Post.objects.count()
    assert counts["ingestion_post"] % 2 == 0 and counts["modeling_prediction"] == 50
    assert target.stat().st_mode & 0o077 == 0

    said = run(elsewhere, "restore", str(target))
    assert "every champion judges as it did" in said
    judged = run(elsewhere, "classify", "the food awful today")
    assert "negative" in judged
    # Also the registry leads to the files where they are now.
    seen = run(
        elsewhere,
        "shell",
        "-c",
        "from modeling.models import *; from ingestion.models import *; import mlflow; "
        "from django.conf import settings; mlflow.set_tracking_uri(settings.MLFLOW_TRACKING_URI); "
        "run = mlflow.MlflowClient().get_run(ModelVersion.objects.get().run_id); "
        "print('POSTS', Post.objects.count(), run.info.artifact_uri)",
    )
    assert f"POSTS {counts['ingestion_post']} " in seen
    assert f"{elsewhere['VAR_DIR']}/mlflow-artifacts" in seen

    refused = run(elsewhere, "restore", str(target), code=1)
    assert "the database is not empty" in refused


def test_files_of_a_version_outside_the_registry_come_along(
    site: Path, champion: ModelVersion, elsewhere: dict[str, str]
) -> None:
    call_command("backup", str(site / "one"))
    run(elsewhere, "restore", str(site / "one"))
    assert "positive" in run(elsewhere, "classify", "the song wonderful today")


def test_a_version_that_is_not_whole_is_told_and_does_not_stop_the_rest(
    site: Path, champion: ModelVersion, capsys: pytest.CaptureFixture[str]
) -> None:
    ModelVersion.objects.filter(pk=champion.pk).update(artifact_digests={"model.onnx": "0" * 64})
    call_command("backup", str(site / "one"))
    assert "WARNING: version 1 is not whole" in capsys.readouterr().out
    manifest = json.loads((site / "one" / backup.MANIFEST).read_text())
    assert list(manifest["damaged"]) == [str(champion.pk)]


def test_a_damaged_backup_is_refused_before_anything_changes(
    site: Path, champion: ModelVersion, elsewhere: dict[str, str]
) -> None:
    target = site / "one"
    call_command("backup", str(target))
    with (target / backup.DATABASES[connection.vendor]).open("r+b") as file:
        file.seek(100)
        file.write(b"rot")
    assert "is damaged: database" in run(elsewhere, "restore", str(target), code=1)
    (target / backup.MANIFEST).unlink()
    assert "is not a whole backup" in run(elsewhere, "restore", str(target), code=1)


def test_nothing_is_written_over(site: Path, champion: ModelVersion) -> None:
    (site / "one").mkdir()
    (site / "one" / "mine").touch()
    with pytest.raises(CommandError, match="is there already"):
        call_command("backup", str(site / "one"))
    assert [path.name for path in (site / "one").iterdir()] == ["mine"]


def test_a_backup_that_cannot_be_written_leaves_nothing(
    site: Path, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "file").touch()
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("backup", str(site / "file" / "one"))


def test_posts_that_wait_for_the_database_come_along(
    site: Path, champion: ModelVersion, elsewhere: dict[str, str]
) -> None:
    (site / "spill").mkdir()
    (site / "spill" / "x.journal").write_bytes(b"waiting")
    call_command("backup", str(site / "one"))
    run(elsewhere, "restore", str(site / "one"))
    assert Path(elsewhere["VAR_DIR"], "spill", "x.journal").read_bytes() == b"waiting"
