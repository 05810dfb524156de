"""Ten times what the service can do, for a minute: who is served how fast, who is refused how fast.

`make bench ARGS=overload`. One worker process as README says for production. First as many batches
of 64 texts as it can take, to learn its capacity; then ten times that at a fixed pace, whatever
comes back, and single texts beside them; then as at first, two seconds later. Resident memory is
read each second. Needs the champion of `VAR_DIR` (`make run` builds one). `BENCH_SECONDS` (60).
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))

import django

django.setup()

import aiohttp

from modeling.models import ModelVersion
from tests.benchmarks.http import BATCH, Server, Texts, resident_megabytes, service, wait_for

FACTOR = 10
BASE_SECONDS = 10.0
SINGLES_A_SECOND = 20
RECOVERY_SECONDS = 2.0
# As many batches are on their way at most: the client's own memory is bounded, too.
IN_FLIGHT = 2000


@dataclass
class Outcome:
    """Latencies in seconds of what was served and refused, and what else happened."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: dict[str, int] = field(default_factory=dict)

    def row(self, name: str) -> str:
        return (
            f"| {name} | {len(self.served)} | {_at(self.served, 50)} | {_at(self.served, 99)} "
            f"| {len(self.refused)} | {_at(self.refused, 50)} | {_at(self.refused, 99)} "
            f"| {self.other or '-'} |"
        )


def _at(seconds: list[float], percent: int) -> str:
    if len(seconds) < 2:
        return "-"
    return f"{statistics.quantiles(seconds, n=100)[percent - 1] * 1000:.0f}"


class Client:
    def __init__(self, session: aiohttp.ClientSession, server: Server, texts: Texts) -> None:
        self._session = session
        self._server = server
        self._batches = self._bodies(texts, BATCH)
        self._singles = self._bodies(texts, 1)

    def _bodies(self, texts: Texts, size: int) -> Iterator[bytes]:
        """Written beforehand, so that making them does not slow the load."""
        made = [texts.take(size) for _ in range(1500)]
        of = self._server.body_of_many if size > 1 else lambda one: self._server.body_of_one(one[0])
        return cycle([json.dumps(of(group)).encode() for group in made])

    async def batch(self, outcome: Outcome) -> None:
        await self._ask(self._server.batch, next(self._batches), outcome)

    async def single(self, outcome: Outcome) -> None:
        await self._ask(self._server.single, next(self._singles), outcome)

    async def _ask(self, url: str, body: bytes, outcome: Outcome) -> None:
        started = time.perf_counter()
        try:
            async with self._session.post(url, data=body) as answer:
                await answer.read()
                status, wait = answer.status, answer.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError) as error:
            name = type(error).__name__
            outcome.other[name] = outcome.other.get(name, 0) + 1
            return
        took = time.perf_counter() - started
        if status == 200:
            outcome.served.append(took)
        elif status in (429, 503) and wait:
            outcome.refused.append(took)
        else:
            outcome.other[str(status)] = outcome.other.get(str(status), 0) + 1


async def at_full_speed(client: Client, seconds: float) -> float:
    """Batches a second, as many as four callers get who each wait for their answer."""
    outcome = Outcome()
    ends = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < ends:
            await client.batch(outcome)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(4)))
    return len(outcome.served) / (time.perf_counter() - started)


async def at_a_pace(
    ask: Callable[[Outcome], Awaitable[None]], rate: float, seconds: float, outcome: Outcome
) -> float:
    """Asks at this rate whatever comes back; return the rate that was reached."""
    waiting: set[asyncio.Task[None]] = set()
    started = time.perf_counter()
    sent = 0
    while (passed := time.perf_counter() - started) < seconds:
        due = min(int(passed * rate) - sent, IN_FLIGHT - len(waiting))
        for _ in range(due):
            task = asyncio.ensure_future(ask(outcome))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        sent += max(due, 0)
        await asyncio.sleep(0.005)
    if waiting:
        await asyncio.wait(waiting, timeout=60)
    return sent / seconds


async def load(server: Server) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"}
    options = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        headers=headers, timeout=options, connector=connector
    ) as session:
        client = Client(session, server, Texts())
        await at_full_speed(client, 3)
        before = await at_full_speed(client, BASE_SECONDS)
        print(f"alone: {before:.1f} batches/s, {before * BATCH:.0f} texts/s", flush=True)
        batches, singles = Outcome(), Outcome()
        memory: list[float] = []

        async def watch() -> None:
            while True:
                memory.append(resident_megabytes(server.process.pid))
                await asyncio.sleep(1)

        watching = asyncio.ensure_future(watch())
        rate, _ = await asyncio.gather(
            at_a_pace(client.batch, before * FACTOR, SECONDS, batches),
            at_a_pace(client.single, SINGLES_A_SECOND, SECONDS, singles),
        )
        watching.cancel()
        await asyncio.sleep(RECOVERY_SECONDS)
        after = await at_full_speed(client, BASE_SECONDS)
    print(
        f"{SECONDS:.0f} s of {rate:.0f} batches/s ({rate / before:.1f} times that) and "
        f"{SINGLES_A_SECOND} single texts/s\n"
    )
    print("| | served | p50 ms | p99 | refused | p50 ms | p99 | other |")
    print("|---|---|---|---|---|---|---|---|")
    print(batches.row(f"batches of {BATCH}"))
    print(singles.row("single texts"))
    good = len(batches.served) / SECONDS
    print(f"\nserved under load: {good / before:.2f} of the capacity")
    quarter = max(1, len(memory) // 4)
    print(
        f"memory: {memory[0]:.0f} MB at first, {max(memory[:quarter]):.0f} MB at most in the first "
        f"quarter, {max(memory[-quarter:]):.0f} MB in the last"
    )
    print(f"2 s later: {after:.1f} batches/s, {after / before:.2f} of before")


def main() -> None:
    version = ModelVersion.objects.champions().first()
    if version is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name, ExitStack() as stack:
        server = service(stack, Path(name), version, workers=1)
        print(f"first prediction after {wait_for(server):.1f} s")
        asyncio.run(load(server))


if __name__ == "__main__":
    main()
