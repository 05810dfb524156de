"""Settings from the environment: safe by default, clear when wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings


def check(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "ENV_FILE"}}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
        cwd=settings.BASE_DIR,
        env={**kept, "VAR_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0, done.stderr
    key = tmp_path / "secret_key"
    assert len(key.read_text()) > 50
    assert key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH_SIZE", "many"),
        ("BATCH_SIZE", "0"),
        ("LEARNING_RATE", "7"),
        ("DEBUG", "perhaps"),
        ("DATABASE_URL", "nonsense://x"),
        ("REDIS_URL", "localhost"),
        ("INFERENCE_BACKEND", "abacus"),
        ("TWITTER_API_BASE_URL", "api.example.org"),
        ("LOG_LEVEL", "LOUD"),
        ("METRICS_NETWORKS", "everybody"),
    ],
)
def test_a_wrong_value_names_the_variable(tmp_path: Path, name: str, value: str) -> None:
    done = check(tmp_path, SECRET_KEY="x" * 60, **{name: value})
    assert done.returncode != 0
    assert name in done.stderr.strip().splitlines()[-1] + done.stderr


@pytest.mark.parametrize(
    "environment",
    [{"REDIS_URL": "redis://localhost:6379/0"}, {"DATABASE_URL": "postgres://u:p@localhost/x"}],
)
def test_production_needs_a_secret_key(tmp_path: Path, environment: dict[str, str]) -> None:
    done = check(tmp_path, **environment)
    assert done.returncode != 0 and "SECRET_KEY is not set" in done.stderr


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("y" * 60 + "\n")
    done = check(tmp_path, SECRET_KEY_FILE=str(secret), REDIS_URL="redis://localhost:6379/0")
    assert done.returncode == 0, done.stderr
    gone = check(tmp_path, SECRET_KEY_FILE=str(tmp_path / "gone"))
    assert gone.returncode != 0 and "SECRET_KEY_FILE" in gone.stderr
    secret.write_bytes(b"\xff\xfe\x00")
    odd = check(tmp_path, SECRET_KEY_FILE=str(secret))
    assert odd.returncode != 0 and "SECRET_KEY_FILE: cannot read" in odd.stderr


def test_health_checks_may_ask_by_the_loopback_whatever_the_site_is_called(tmp_path: Path) -> None:
    code = (
        "from django.test import Client; client = Client(); "
        "print([client.get('/health', headers={'host': host}).status_code "
        "for host in ('localhost', '127.0.0.1:8000', 'sentiment.example.org', 'example.com')])"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "--command", code],
        cwd=settings.BASE_DIR,
        env={**os.environ, "VAR_DIR": str(tmp_path), "ALLOWED_HOSTS": "sentiment.example.org"},
        capture_output=True,
        text=True,
    )
    # No database is there; the last name is nobody's.
    assert done.stdout.split() == ["[503,", "503,", "503,", "400]"], done.stderr
