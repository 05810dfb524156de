"""50,000 real posts through faults of every kind and three kill -9s: is every one stored once?

`make bench ARGS=soak`. The X stand-in publishes them from a process of its own, while its script
refuses, resets, cuts, stalls, repeats, reorders and garbles. The consumer is the real
`manage.py stream`, killed three times; once a second one waits for its lease. What was published
while nobody listened comes back through the ledger of gaps. On SQLite and on PostgreSQL. Ends with
1 when a promise is broken. Needs the champion of `VAR_DIR` (`make run` builds one).
"""

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from modeling.models import ModelVersion
from tests.benchmarks import data
from tests.benchmarks.import_posts import clone_champion
from tests.benchmarks.soak_server import QUERY, serve
from tests.benchmarks.throughput import databases

COUNT = 50_000
# X's search answers 450 calls in 15 minutes: what was missed takes as long as that.
SETTLE_SECONDS = 2400


class Consumer:
    """`manage.py stream`, and how much memory it takes."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "manage.py", "stream", "--source", "x", "--query", QUERY],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log.open("a"),
        )
        self.memory: list[float] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        status = Path(f"/proc/{self._process.pid}/status")
        with suppress(OSError, StopIteration):
            while self._process.poll() is None:
                lines = status.read_text().splitlines()
                line = next(line for line in lines if line.startswith("VmRSS"))
                self.memory.append(int(line.split()[1]) / 1024)
                time.sleep(1)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def soak(name: str, environment: dict[str, str], folder: Path) -> bool:
    """Run it on one database; whether every promise was kept."""
    texts = _texts()
    pipe, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(texts, theirs), daemon=True)
    server.start()
    environment = {**os.environ, **environment, **pipe.recv()}
    log = folder / f"{name}.log"
    began = time.monotonic()
    consumers = [Consumer(environment, log)]
    pipe.send("go")
    running = consumers[0]
    waiting: Consumer | None = None
    while True:
        said, value = pipe.recv()
        if said == "done":
            break
        running.kill()
        if waiting is None:
            consumers += [Consumer(environment, log), Consumer(environment, log)]
            # The second waits for the lease of the first.
            running, waiting = consumers[-2], consumers[-1]
        else:
            running, waiting = waiting, Consumer(environment, log)
            consumers.append(waiting)
    published = time.monotonic() - began
    _settle(environment, value["ids"])
    running.stop()
    if waiting is not None:
        waiting.stop()
    # What a killed process had not classified yet is what this is for.
    command = [sys.executable, "manage.py", "classify", "--pending"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    result = _look(environment, value["ids"])
    pipe.send("end")
    server.kill()
    return _report(name, result, value, consumers, published, time.monotonic() - began)


def _texts() -> list[str]:
    found: list[str] = []
    for name in ("positive.txt", "negative.txt"):
        path = data.folder() / "sentiment140" / name
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        found += lines[: COUNT // 2]
    return found


def _settle(environment: dict[str, str], ids: Sequence[str]) -> None:
    """Until nothing is missing any more, or it takes too long."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        result = _look(environment, ids)
        if not result["missing"] and not result["unfilled"]:
            return
        time.sleep(20)


LOOK = """
import json
from collections import Counter
from django.db.models import Count
from ingestion.models import Connection, DeadLetter, Gap, Post
from modeling.models import Prediction
judged = Prediction.objects.values("post").annotate(n=Count("id"))
wanted = set(json.load(open(PATH)))
stored = list(Post.objects.filter(source="x").values_list("external_id", flat=True))
print(json.dumps({
    "stored": len(stored),
    "missing": len(wanted - set(stored)),
    "twice": len(stored) - len(set(stored)),
    "unclassified": Post.objects.current().filter(predictions__isnull=True).count(),
    "judged_twice": judged.filter(n__gt=1).count(),
    "letters": DeadLetter.objects.count(),
    "unfilled": Gap.objects.unfilled().count(),
    "gaps": Counter(f"{c}: {s}" for c, s in Gap.objects.values_list("cause", "state")),
    "recovered": sum(Gap.objects.values_list("recovered", flat=True)),
    "reconnects": sum(Connection.objects.values_list("reconnects", flat=True)),
    "duplicates": sum(Connection.objects.values_list("duplicates", flat=True)),
}))
"""


def _look(environment: dict[str, str], ids: Sequence[str]) -> dict[str, Any]:
    path = Path(environment["VAR_DIR"], "ids.json")
    path.write_text(json.dumps(list(ids)))
    code = LOOK.replace("PATH", repr(str(path)))
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _report(
    name: str,
    result: dict[str, Any],
    value: dict[str, Any],
    consumers: Sequence[Consumer],
    published: float,
    seconds: float,
) -> bool:
    lived = [consumer.memory for consumer in consumers if len(consumer.memory) > 20]
    grown = max(
        (statistics.mean(memory[-5:]) - statistics.mean(memory[len(memory) // 2 :][:5]))
        for memory in lived
    )
    peak = max(max(memory) for memory in lived)
    promises = {
        "published": (len(value["ids"]), None),
        "stored": (result["stored"], len(value["ids"])),
        "missing": (result["missing"], 0),
        "stored twice": (result["twice"], 0),
        "unclassified": (result["unclassified"], 0),
        "classified twice": (result["judged_twice"], 0),
        "garbage put aside": (result["letters"], None),
        "garbage sent to an open stream": (value["garbage"], None),
        "sent twice by the server": (value["repeated"], None),
        "duplicates dropped": (result["duplicates"], None),
        "reconnects": (result["reconnects"], None),
        "got back by search": (result["recovered"], None),
        "peak memory, MiB": (round(peak), None),
        "grown in a life's second half, MiB": (round(grown), None),
    }
    print(f"{name}: published in {published:.0f} s, all over after {seconds:.0f} s")
    kept = True
    for what, (found, wanted) in promises.items():
        is_kept = wanted is None or found == wanted
        kept &= is_kept
        print(f"  {what:<36} {found:>8,}{'' if is_kept else f'   WRONG: {wanted:,}'}")
    for what, number in sorted(result["gaps"].items()):
        print(f"  gap {what:<32} {number:>8}")
    sys.stdout.flush()
    return kept


def main() -> None:
    version = ModelVersion.objects.champions().first()
    if version is None:
        sys.exit("SKIPPED: no champion under VAR_DIR; `make run` builds one")
    with tempfile.TemporaryDirectory(prefix="sentiment-soak-") as name:
        kept = True
        for kind, environment in databases(Path(name)).items():
            clone_champion(version, {**os.environ, **environment})
            kept &= soak(kind, environment, Path(name))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
