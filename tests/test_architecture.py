"""What holds the house together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_point_one_way() -> None:
    command = [Path(sys.executable).parent / "lint-imports"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", ["torch", "transformers", "mlflow", "tweepy", "mastodon"])
def test_serving_the_site_does_not_load(package: str) -> None:
    code = (
        "import os, sys, django\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'sentiment_site.settings')\n"
        "django.setup()\n"
        "import sentiment_site.urls, sentiment_site.asgi\n"
        f"print({package!r} in sys.modules)"
    )
    assert python(code).strip() == "False"


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    folders = ("api", "dashboard", "ingestion", "modeling", "sentiment_site")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {
        str(path.relative_to(ROOT)): count
        for path in files
        if "migrations" not in path.parts
        and (count := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert long == {}
