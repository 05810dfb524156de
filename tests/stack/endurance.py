"""The stack for an hour under steady load: `make endurance`. Is everything as flat at the end?

Posts come from a stand-in of X, users ask through the proxy, and live pages are open, for
`--minutes`. Every half minute is noted what each service holds of memory, how many connections
PostgreSQL has, how long users waited, and how far classification is behind. The table compares the
second quarter of the time (the first is for warming up) with the last. Exit code 1 where memory or
connections of a service grew by over a tenth and 20 MB, posts are missing or there twice, or the
live pages heard nothing. The model is the one that MODEL_NAME names, the offline one by default.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2
import websockets

from deploy.stack import ROOT, Stack, StackError
from tests.stack.chaos import RECOVER_SECONDS, follow, have, say, settle
from tests.stack.load import Publisher, Users
from tests.x_api import XApi

SAMPLE_SECONDS = 30.0
# Growth that is told from noise: beyond this part, and beyond so many megabytes.
TOLERANCE, LEAST_MB = 0.10, 20.0
CONNECTIONS = "PostgreSQL connections"


@dataclass(frozen=True)
class Sample:
    """One look. Megabytes by service (shared pages counted by their share), milliseconds."""

    megabytes: dict[str, float]
    connections: float
    median: float
    p99: float
    behind: float


class Pages:
    """Live pages that are open: websocket clients that read whatever comes."""

    def __init__(self, address: str, count: int) -> None:
        self.ticks = 0
        self._address = address.replace("http://", "ws://") + "/ws/live/"
        # The site refuses sockets that no page of its own opened.
        self._origin = websockets.Origin(address)
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Pages:
        self._thread.start()
        for _ in range(self._count):
            asyncio.run_coroutine_threadsafe(self._watch(), self._loop)
        return self

    def __exit__(self, *details: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _watch(self) -> None:
        # Comes again by itself where a connection breaks.
        async for socket in websockets.connect(self._address, origin=self._origin, max_size=None):
            with suppress(websockets.ConnectionClosed):
                async for message in socket:
                    self.ticks += json.loads(message)["type"] == "tick"

    async def _close(self) -> None:
        pages = asyncio.all_tasks() - {asyncio.current_task()}
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


def memory_of(stack: Stack) -> dict[str, float]:
    """Megabytes of each service: the proportional set size of all of its processes.

    Shared buffers are left out: PostgreSQL was given them, and fills them for as long as it takes.
    """
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: dict[str, float] = {}
    for process in stack.processes.values():
        waiting = [process.handle.pid] if process.handle is not None else []
        while waiting:
            number = waiting.pop()
            waiting += children.get(number, [])
            held = found.get(process.service, 0.0)
            found[process.service] = held + _proportional_megabytes(number)
    return found


def _proportional_megabytes(number: int) -> float:
    with suppress(OSError):
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, _, size in (x.partition(":") for x in lines)}
        return (sizes.get("Pss", 0) - sizes.get("Pss_Shmem", 0)) / 1024
    # It has ended.
    return 0.0


def look(stack: Stack, users: Users, since: float) -> Sample:
    """Everything now; waiting times since `since`."""
    with psycopg2.connect(stack.addresses()["PostgreSQL"]) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        (connections,) = cursor.fetchone() or (0,)
        cursor.execute(
            "SELECT count(*) FROM ingestion_post post WHERE NOT EXISTS ("
            "SELECT 1 FROM modeling_prediction WHERE post_id = post.id)"
        )
        (behind,) = cursor.fetchone() or (0,)
    connection.close()
    waited = sorted(1000 * answer.seconds for answer in users.answers(since)) or [0.0]
    return Sample(
        memory_of(stack),
        connections,
        statistics.median(waited),
        waited[int(0.99 * (len(waited) - 1))],
        behind,
    )


def table(samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """What was, in the second quarter and in the last, and the names of what grew."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    rows: list[tuple[str, Callable[[Sample], float], float | None]] = [
        *(
            (f"{name}, MB", lambda sample, name=name: sample.megabytes.get(name, 0.0), LEAST_MB)
            for name in sorted(samples[-1].megabytes)
        ),
        (CONNECTIONS, lambda sample: sample.connections, 5.0),
        ("answers, median ms", lambda sample: sample.median, None),
        ("answers, p99 ms", lambda sample: sample.p99, None),
        ("posts not classified yet", lambda sample: sample.behind, None),
    ]
    lines = [f"{'':<26} {'2nd quarter':>12} {'last quarter':>12} {'at most':>9}"]
    grown = []
    for name, value, least in rows:
        before, after = (statistics.median(map(value, part)) for part in (early, late))
        lines.append(
            f"{name:<26} {before:>12,.1f} {after:>12,.1f} {max(map(value, samples)):>9,.1f}"
        )
        if least is not None and after - before > max(least, TOLERANCE * before):
            grown.append(name)
    return "\n".join(lines), grown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stack.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "endurance")
    parser.add_argument("--posts", type=float, default=200.0, help="Posts a second.")
    parser.add_argument("--requests", type=float, default=8.0, help="Requests a second.")
    parser.add_argument("--pages", type=int, default=20, help="Live pages that are open.")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with XApi() as api:
            environment = {**api.environment, "API_REQUIRE_AUTH": "0"}
            folder = options.folder.resolve()
            with Stack(folder, port=8800, environment=environment, say=say) as stack:
                follow(stack)
                api.wait_for_stream(seconds=120)
                sys.exit(endure(stack, api, options, folder / "samples.jsonl"))
    except StackError as error:
        sys.exit(f"endurance: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


def endure(stack: Stack, api: XApi, options: argparse.Namespace, log: Path) -> str | int:
    """Load for so long, each sample a line of `log`; what is wrong, else 0."""
    site = stack.addresses()["site"]
    samples: list[Sample] = []
    began = time.monotonic()
    with (
        Users(site, options.requests) as users,
        Publisher(api, options.posts) as publisher,
        Pages(site, options.pages) as pages,
    ):
        has_reported = False
        while (minutes := (time.monotonic() - began) / 60) < options.minutes:
            if not has_reported and minutes > options.minutes / 8:
                # A worker needs more once it has written a report: that belongs to warming up.
                have(stack, "from modeling.tasks import check_quality; check_quality.delay()")
                has_reported = True
            since = time.monotonic()
            time.sleep(SAMPLE_SECONDS)
            samples.append(look(stack, users, since))
            latest, published = samples[-1], len(publisher.ids())
            with log.open("a") as file:
                print(json.dumps({"minutes": minutes, **asdict(latest)}), file=file)
            say(
                f"{minutes:5.1f} min: {published:,} posts, {latest.behind:,} not classified, "
                f"answers {latest.median:.0f} ms (p99 {latest.p99:.0f}), "
                f"{sum(latest.megabytes.values()):,.0f} MB, {pages.ticks:,} ticks"
            )
        seconds = time.monotonic() - began
        suffered = users.suffered(began)
    stored = settle(stack, publisher, 0, RECOVER_SECONDS)
    found, grown = table(samples)
    restarts = sum(process.restarts for process in stack.processes.values())
    say(f"\n{found}\n")
    say(
        f"{len(publisher.ids()):,} posts in {seconds / 60:.0f} min "
        f"({len(publisher.ids()) / seconds:.0f}/s): "
        f"{stored.missing if stored else '?'} missing, "
        f"{stored.unclassified if stored else '?'} unclassified, "
        f"{stored.twice if stored else '?'} twice; {suffered.failures} of {suffered.answers:,} "
        f"answers failed; {pages.ticks:,} ticks on {options.pages} pages; {restarts} restarts"
    )
    if stored is None or not stored.is_whole():
        return "posts are missing, unclassified or there twice"
    if options.pages and not pages.ticks:
        return "the live pages heard nothing"
    return f"grew: {', '.join(grown)}" if grown else 0


if __name__ == "__main__":
    main()
