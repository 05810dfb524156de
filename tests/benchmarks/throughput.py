"""From the socket to the committed row: posts a second, beside a bare tweepy client.

`make bench ARGS=throughput`. One server floods each client in turn, three rounds; every client is
a process of its own. The bare client only counts. Then the same with classification in the
process, beside the bare engine on the same texts, with the champion of `VAR_DIR` (`make run`
builds one).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from modeling.models import ModelVersion
from tests.benchmarks import data
from tests.benchmarks.flood import flood
from tests.benchmarks.import_posts import clone_champion
from tests.postgres import Cluster, binaries

COUNT = 60_000
CLASSIFIED = 4_000
ROUNDS = 3


def texts(count: int) -> list[str]:
    found: list[str] = []
    for name in ("positive.txt", "negative.txt"):
        path = data.folder() / "sentiment140" / name
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        found += lines[: count // 2]
    return found


def child(mode: str, url: str, count: int, environment: dict[str, str]) -> dict[str, float]:
    """What a client in a process of its own measured."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.throughput_client", mode, url, str(count)],
        env={
            **os.environ,
            "TWITTER_API_BASE_URL": url,
            "TWITTER_BEARER_TOKEN": "a-token-for-the-flood",
            **environment,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=600,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def databases(folder: Path) -> dict[str, dict[str, str]]:
    """Name → the variables that lead a client to an empty database of this kind."""
    secret = {"SECRET_KEY": "only-for-benchmarks-" + "x" * 40, "ENV_FILE": os.devnull}
    found = {"SQLite": {**secret, "VAR_DIR": str(folder / "sqlite")}}
    if binaries() is None:
        print("SKIPPED: PostgreSQL is not installed")
        return found
    cluster = Cluster(folder)
    cluster.start()
    found["PostgreSQL"] = {
        **secret,
        "VAR_DIR": str(folder / "postgres"),
        "DATABASE_URL": cluster.url,
    }
    return found


def storing(folder: Path) -> None:
    kinds = databases(folder)
    rates: dict[str, list[float]] = {name: [] for name in ("bare tweepy", *kinds)}
    with flood(texts(COUNT)) as url:
        for _ in range(ROUNDS):
            rates["bare tweepy"].append(child("bare", url, COUNT, {})["rate"])
            for name, environment in kinds.items():
                rates[name].append(child("store", url, COUNT, environment)["rate"])
    bare = statistics.median(rates["bare tweepy"])
    print(f"socket to committed row, {COUNT:,} posts, median of {ROUNDS} (posts/s)")
    for name, found in rates.items():
        middle = statistics.median(found)
        runs = ", ".join(f"{rate:,.0f}" for rate in found)
        print(f"  {name:<12} {middle:>8,.0f}   {middle / bare:.2f} of bare   ({runs})", flush=True)


def classifying(folder: Path) -> None:
    version = ModelVersion.objects.champions().first()
    if version is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    environment = {"VAR_DIR": str(folder / "classify"), "ENV_FILE": os.devnull}
    clone_champion(version, {**os.environ, **environment})
    with flood(texts(CLASSIFIED)) as url:
        ratios = []
        for _ in range(ROUNDS):
            found = child("classify", url, CLASSIFIED, environment)
            ratios.append(found["rate"] / found["engine"])
            print(
                f"  streamed, stored and classified {found['rate']:,.0f}/s, engine alone "
                f"{found['engine']:,.0f}/s: {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"  median {statistics.median(ratios):.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name:
        folder = Path(name)
        began = time.monotonic()
        storing(folder)
        print(f"classified in the same process, {CLASSIFIED:,} posts")
        classifying(folder)
        print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
