"""Import 20,000 real posts into an empty database: posts a second and peak memory.

`make bench ARGS=import`. Times the real command in a process of its own, with the champion of
`VAR_DIR` (`make run` builds one), beside the bare engine on the same texts in the same run.
"""

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from django.conf import settings

from modeling import serving
from modeling.models import ModelVersion
from tests.benchmarks import data

COUNT = 20_000
# The engine is timed on a part: its rate does not depend on how many texts there are.
ENGINE_COUNT = 3_000


def texts() -> list[str]:
    lines: list[str] = []
    for name in ("positive.txt", "negative.txt"):
        path = data.folder() / "sentiment140" / name
        lines += path.read_text(encoding="utf-8").splitlines()[: COUNT // 2]
    return [line for line in lines if line.strip()]


def write_csv(path: Path, posts: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows(enumerate(posts))


def clone_champion(version: ModelVersion, environment: dict[str, str]) -> None:
    """Give the empty database the same champion, without training it again."""
    fields = {
        field.attname: getattr(version, field.attname)
        for field in ModelVersion._meta.concrete_fields
        if field.name not in {"id", "scheme"}
    }
    code = (
        "import datetime\n"
        "from modeling.models import LabelScheme, ModelVersion\n"
        f"ModelVersion.objects.create(scheme=LabelScheme.objects.get(), **{fields!r})\n"
    )
    for arguments in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", code]):
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    posts = texts()
    served = serving.champion()
    version = ModelVersion.objects.get(pk=served.version_id)
    started = time.perf_counter()
    served.classify(posts[:ENGINE_COUNT])
    engine = ENGINE_COUNT / (time.perf_counter() - started)
    print(f"engine alone ({served.backend}): {engine:.0f} posts/s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "posts.csv")
        write_csv(path, posts)
        environment = {
            **os.environ,
            "VAR_DIR": folder,
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "SECRET_KEY": settings.SECRET_KEY,
        }
        clone_champion(version, environment)
        command = [sys.executable, "manage.py", "import_posts", str(path), "--json"]
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(done.stdout.strip()[:400])
    rate = len(posts) / seconds
    print(
        f"import_posts: {len(posts)} posts in {seconds:.0f} s, {rate:.0f} posts/s, "
        f"{rate / engine:.0%} of the engine's rate, peak memory {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
