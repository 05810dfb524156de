"""How far behind 500 open pages are on one server process, while 300 posts a second are judged.

`make bench ARGS=viewers`. A server as README says for production, one worker, on PostgreSQL (SQLite
where that is not installed), with BENCH_VIEWERS (500) real websocket clients that ask for what
browsers ask for. Another process stores posts and their judgements, with given scores, by the
services' own functions: no model is loaded. For BENCH_SECONDS (30) each client notes when each tick
came; a post's lag is from its commit to the tick that counts it. With BENCH_PLAIN the clients ask
for no compression.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import websockets

from tests.benchmarks.throughput import databases

SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
VIEWERS = int(os.environ.get("BENCH_VIEWERS", "500"))
RATE = 300
BATCHES_A_SECOND = 10
# So many join at a time.
JOINING = 20
SETTLE_SECONDS = 3.0
START_SECONDS = 60.0
COMPRESSION = None if os.environ.get("BENCH_PLAIN") else "deflate"
HEAD = re.compile(r'\{"type": "tick", "sequence": (\d+)')


@dataclass
class Seen:
    """Of one client: when it got each tick, and how often it was sent a snapshot."""

    ticks: dict[int, float] = field(default_factory=dict)
    snapshots: int = 0


@dataclass
class Told:
    """What ticks count, by their sequence: read by one client for all, as all get the same."""

    counts: dict[int, int] = field(default_factory=dict)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        name, variables = list(databases(Path(folder)).items())[-1]
        environment = {**os.environ, **variables, "API_REQUIRE_AUTH": "0"}
        manage = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(manage, env=environment, check=True)
        port = 18_000 + os.getpid() % 2000
        server = _start(
            stack,
            [
                *(sys.executable, "-m", "uvicorn", "sentiment_site.asgi:application"),
                *("--lifespan", "off", "--no-access-log", "--log-level", "warning"),
                *("--port", str(port)),
            ],
            environment,
        )
        print(f"{name}, {VIEWERS} viewers, {RATE} posts/s for {SECONDS:.0f} s", flush=True)
        asyncio.run(_measure(stack, server, environment, f"127.0.0.1:{port}"))


def _start(
    stack: ExitStack, command: list[str], environment: dict[str, str], **pipes: Any
) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


async def _measure(
    stack: ExitStack, server: subprocess.Popen[str], environment: dict[str, str], host: str
) -> None:
    await _until_it_answers(host)
    told, seen = Told(), [Seen() for _ in range(VIEWERS)]
    turn = asyncio.Semaphore(JOINING)
    began = time.perf_counter()
    joined: list[asyncio.Future[None]] = [asyncio.Future() for _ in seen]
    clients = [
        asyncio.create_task(_watch(host, each, ready, turn, told if number == 0 else None))
        for number, (each, ready) in enumerate(zip(seen, joined, strict=True))
    ]
    await asyncio.gather(*joined)
    print(f"  all have their snapshot after {time.perf_counter() - began:.0f} s", flush=True)
    writer = _start(
        stack, [sys.executable, "-m", __spec__.name, "write"], environment, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    await asyncio.to_thread(writer.stdout.readline)
    await asyncio.sleep(SETTLE_SECONDS)
    first = _megabytes(server.pid)
    lines = await asyncio.to_thread(writer.stdout.readlines)
    last = _megabytes(server.pid)
    await asyncio.sleep(SETTLE_SECONDS)
    for client in clients:
        client.cancel()
    done = await asyncio.gather(*clients, return_exceptions=True)
    lost = sum(not isinstance(each, asyncio.CancelledError) for each in done)
    committed = np.array([moment for line in lines for moment in json.loads(line)])
    _report(committed, told, seen, lost)
    print(f"  server's memory {first:.0f} MB at first, {last:.0f} MB at last")


async def _until_it_answers(host: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, websockets.InvalidStatus):
            async with websockets.connect(f"ws://{host}/ws/live/", origin=_origin(host)) as socket:
                await socket.recv()
                return
        await asyncio.sleep(0.2)
    sys.exit("the server does not answer")


def _origin(host: str) -> websockets.Origin:
    return websockets.Origin(f"http://{host}")


async def _watch(
    host: str, seen: Seen, joined: asyncio.Future[None], turn: asyncio.Semaphore, told: Told | None
) -> None:
    """Until cancelled; one of the clients reads what the ticks say."""
    async with turn:
        socket = await websockets.connect(
            f"ws://{host}/ws/live/",
            origin=_origin(host),
            open_timeout=60,
            max_size=None,
            compression=COMPRESSION,
        )
        await socket.recv()
        joined.set_result(None)
    async with socket:
        async for text in socket:
            now = time.time()
            head = HEAD.match(str(text))
            if head is None:
                seen.snapshots += '"type": "snapshot"' in str(text)[:40]
                continue
            sequence = int(head[1])
            seen.ticks.setdefault(sequence, now)
            if told is not None:
                counts = json.loads(text)["counts"]
                overall = sum(count["count"] for count in counts if count["stream"] is None)
                told.counts.setdefault(sequence, overall)


def _report(committed: np.ndarray, told: Told, seen: list[Seen], lost: int) -> None:
    """Posts are judged in the order of their commits, and ticks count them in that order."""
    lags, number, ticks = [], 0, 0
    for sequence, count in sorted(told.counts.items()):
        moments = committed[number : number + count]
        number += count
        ticks += 1
        for each in seen:
            if sequence in each.ticks:
                lags.append(each.ticks[sequence] - moments)
    span = committed[-1] - committed[0]
    print(
        f"  {len(committed) / span:.0f} posts/s were committed, {number} of {len(committed)} told"
    )
    every = np.concatenate(lags)
    p50, p99 = np.percentile(every, [50, 99])
    print(
        f"  lag p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, max {1000 * every.max():.0f} ms; "
        f"{ticks} ticks made, {sum(len(each.ticks) for each in seen):,} received"
    )
    skipped = sum(each.snapshots for each in seen)
    print(f"  {skipped} times a client was skipped ahead, {lost} connections were lost")


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def write() -> None:
    """Store and judge posts at the pace; print when each was committed, as a line a batch."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
    import_module("django").setup()
    from django.utils import timezone

    from ingestion.services import store
    from modeling.models import Category, LabelScheme, ModelVersion, Prediction
    from modeling.services import classify
    from tests.ingestion.factories import incoming

    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    version = ModelVersion.objects.create(
        scheme=scheme, version=1, run_id="run", base_model="none", stage="champion"
    )
    categories = list(Category.objects.filter(scheme=scheme))
    size = RATE // BATCHES_A_SECOND
    print("begins", flush=True)
    began = time.monotonic()
    for batch in range(round(SECONDS * BATCHES_A_SECOND)):
        time.sleep(max(0.0, began + batch / BATCHES_A_SECOND - time.monotonic()))
        text = "The train was late again and nobody at the station knew when the next would come. "
        stored = store([incoming(text=f"{text}{batch} {n}") for n in range(size)], announce=False)
        predictions = [
            Prediction(
                post_id=post_id,
                scheme=scheme,
                model_version=version,
                category=categories[post_id % len(categories)],
                confidence=0.8,
                scores={category.key: 1 / len(categories) for category in categories},
                created_at=timezone.now(),
            )
            for post_id in stored.post_ids
        ]
        classify._store(predictions, scheme)
        print(json.dumps([time.time()] * len(predictions)), flush=True)


if __name__ == "__main__":
    write() if sys.argv[1:] == ["write"] else main()
