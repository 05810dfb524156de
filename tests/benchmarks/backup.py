"""How long a backup and a restore take, and how large the backup is, on SQLite and PostgreSQL.

`make bench ARGS=backup`. `BENCH_POSTS` (1,000,000) posts of Sentiment140, a prediction each. The
champion of `VAR_DIR` is needed (`make run` builds one).
"""

import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from modeling.models import ModelVersion
from tests.benchmarks import data
from tests.benchmarks.import_posts import clone_champion
from tests.postgres import Cluster, binaries

COUNT = int(os.environ.get("BENCH_POSTS", "1000000"))
STEP = 5000


def fill() -> None:
    """In a process of the filled installation."""
    from django.db import connection
    from django.utils import timezone

    from ingestion.events import IncomingPost
    from ingestion.services import store

    texts = islice(cycle(data.sentiment140().texts), COUNT)
    now, number = timezone.now(), 0
    while part := list(islice(texts, STEP)):
        store([IncomingPost("x", str(number + i), text, now) for i, text in enumerate(part)])
        number += len(part)
    version = ModelVersion.objects.select_related("scheme").get()
    category = version.scheme.categories.first()
    assert category is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO modeling_prediction (post_id, scheme_id, category_id, model_version_id,"
            " confidence, scores, is_serving, created_at) SELECT id, %s, %s, %s, 0.9,"
            ' \'{"negative": 0.05, "neutral": 0.05, "positive": 0.9}\', %s, received_at'
            " FROM ingestion_post",
            [version.scheme_id, category.pk, version.pk, True],
        )


def timed(environment: dict[str, str], *arguments: str) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, *arguments], env=environment, check=True)
    return time.monotonic() - started


def measure(name: str, filled: dict[str, str], empty: dict[str, str], folder: Path) -> None:
    version = ModelVersion.objects.champions().first()
    assert version is not None
    clone_champion(version, filled)
    took = timed(filled, "-m", "tests.benchmarks.backup", "fill")
    print(f"{name}: filled in {took:.0f} s", flush=True)
    target = folder / f"{name} backup"
    saved = timed(filled, "manage.py", "backup", str(target))
    restored = timed(empty, "manage.py", "restore", str(target))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6
    print(f"| {name} | {COUNT:,} | {size:,.0f} | {saved:.0f} | {restored:.0f} |", flush=True)


def main() -> None:
    if not ModelVersion.objects.champions().exists():
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name:
        folder = Path(name)
        base = {**os.environ, "SECRET_KEY": "only-for-benchmarks-" + "x" * 40}
        base |= {"ENV_FILE": os.devnull, "MLFLOW_TRACKING_URI": "", "MLFLOW_ARTIFACT_ROOT": ""}

        def installation(kind: str, url: str = "") -> dict[str, str]:
            var = folder / kind
            return {**base, "VAR_DIR": str(var), "DATABASE_URL": url or f"sqlite:///{var}/db"}

        print("| database | posts | backup, MB | backup, s | restore with checks, s |")
        print("|---|---|---|---|---|")
        measure("SQLite", installation("filled"), installation("empty"), folder)
        if binaries() is None:
            print("SKIPPED: PostgreSQL is not installed")
            return
        clusters = []
        for kind in ("filled-pg", "empty-pg"):
            place = folder / f"{kind}-cluster"
            place.mkdir()
            clusters.append(Cluster(place))
            clusters[-1].start()
        try:
            filled, empty = (
                installation(kind, cluster.url)
                for kind, cluster in zip(("filled-pg", "empty-pg"), clusters, strict=True)
            )
            measure("PostgreSQL", filled, empty, folder)
        finally:
            for cluster in clusters:
                cluster.stop()


if __name__ == "__main__":
    fill() if sys.argv[1:] == ["fill"] else main()
