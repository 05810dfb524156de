"""Kills, restarts and takes away each part of the running stack, under load: `make chaos`.

The stack is the one of docker-compose.yml, started without Docker. Users ask through the proxy and
posts come from a stand-in of X all the while. After each fault nothing may be missing, nothing may
be there twice, and everything must be well again by itself. The table says for how many seconds
users saw errors. Exit code 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

import psycopg2

from deploy.stack import ROOT, Stack, StackError
from tests.stack.faults import FAULTS, Impossible, Scene, small_disk
from tests.stack.load import QUERY, Publisher, Stored, Suffered, Users, look
from tests.x_api import XApi

CALM_SECONDS = 5.0
RECOVER_SECONDS = 240.0


@dataclass(frozen=True)
class Outcome:
    """How a fault ended."""

    fault: str
    recovered_in: float | None
    suffered: Suffered
    stored: Stored | None
    health: str
    published: int

    def is_kept(self) -> bool:
        whole = self.stored is not None and self.stored.is_whole()
        return self.recovered_in is not None and whole

    def row(self) -> str:
        stored = self.stored or Stored(-1, -1, -1)
        took = "NEVER" if self.recovered_in is None else f"{self.recovered_in:.0f}"
        return (
            f"{self.fault:<26} {took:>9} {self.suffered.seconds:>8} {self.suffered.failures:>7}"
            f"/{self.suffered.answers:<5} {self.suffered.slowest:>7.1f} {self.published:>6} "
            f"{stored.missing:>7} {stored.unclassified:>12} {stored.twice:>5}  {self.health}"
        )


HEAD = (
    f"{'fault':<26} {'well in s':>9} {'errors s':>8} {'errors/answers':>14} {'slowest':>7} "
    f"{'posts':>6} {'missing':>7} {'unclassified':>12} {'twice':>5}  health"
)


def health(stack: Stack) -> str:
    """`status` as users get it; empty while there is no answer."""
    try:
        url = f"{stack.addresses()['site']}/health"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(json.load(answer)["status"])
    except HTTPError as error:
        return "unavailable" if error.code == 503 else str(error.code)
    except (URLError, OSError, ValueError):
        return ""


def follow(stack: Stack) -> None:
    """Make the stream that the posts are for."""
    have(stack, f"from ingestion.services import follow_query; follow_query('x', {QUERY!r})")


def have(stack: Stack, code: str) -> None:
    """Run Python code with the environment of a web process."""
    web = stack.of("web")[0]
    environment = {**web.environment}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", code],
        env=environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def settle(stack: Stack, publisher: Publisher, since: int, seconds: float) -> Stored | None:
    """Wait until the site is well and all that was published is stored and classified once.

    What is published while waiting is waited for too, but for the last five seconds' posts.
    """
    url = stack.addresses()["PostgreSQL"]
    deadline = time.monotonic() + seconds
    stored = None
    ids = publisher.ids(since)
    while time.monotonic() < deadline:
        try:
            stored = look(url, ids)
        except psycopg2.Error:
            stored = None
        if stored and stored.is_whole() and health(stack) in {"ok", "degraded"}:
            return stored
        time.sleep(0.5)
    return stored


def is_healthy(stack: Stack) -> bool:
    """Whether each process passes its health check, or comes to do so soon."""
    try:
        for name in stack.processes:
            stack.wait_for(name)
    except StackError as error:
        say(str(error))
        return False
    return True


def suffer(stack: Stack, users: Users, publisher: Publisher, name: str) -> Outcome | None:
    """One fault, from a calm moment to the next; None where it cannot be had here."""
    time.sleep(CALM_SECONDS)
    since, before = time.monotonic(), len(publisher.ids())
    try:
        FAULTS[name](Scene(stack, publisher.api))
    except Impossible as reason:
        say(f"{name}: SKIPPED, {reason}")
        return None
    over = time.monotonic()
    # A little longer, so that posts and answers of the time just after count as well.
    time.sleep(CALM_SECONDS)
    stored = settle(stack, publisher, before, RECOVER_SECONDS)
    is_well = stored is not None and stored.is_whole() and is_healthy(stack)
    took = time.monotonic() - over if is_well else None
    published = len(publisher.ids(before))
    return Outcome(name, took, users.suffered(since), stored, health(stack) or "none", published)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stack.chaos", description=__doc__)
    parser.add_argument("--only", action="append", metavar="WORDS", help="Faults so named.")
    parser.add_argument("--list", action="store_true", help="Name the faults, and end.")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "chaos")
    parser.add_argument("--posts", type=float, default=10.0, help="Posts a second.")
    parser.add_argument("--requests", type=float, default=8.0, help="Requests a second.")
    options = parser.parse_args()
    if options.list:
        say("\n".join(FAULTS))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    chosen = [
        name for name in FAULTS if not options.only or any(part in name for part in options.only)
    ]
    try:
        with tempfile.TemporaryDirectory() as base, XApi() as api:
            environment = {
                **api.environment,
                "API_REQUIRE_AUTH": "0",
                "MODEL_NAME": base_model(base),
            }
            folder = options.folder.resolve()
            # As a container's volume: what fills it fills nothing else.
            with (
                small_disk(folder / "sentiment"),
                Stack(folder, port=8800, environment=environment, say=say) as stack,
            ):
                follow(stack)
                api.wait_for_stream(seconds=120)
                asking = Users(stack.addresses()["site"], options.requests)
                with asking as users, Publisher(api, options.posts) as publisher:
                    settle(stack, publisher, 0, RECOVER_SECONDS)
                    say(f"\n{HEAD}")
                    outcomes = []
                    for name in chosen:
                        if outcome := suffer(stack, users, publisher, name):
                            outcomes.append(outcome)
                            say(outcome.row())
    except StackError as error:
        sys.exit(f"chaos: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    broken = [outcome.fault for outcome in outcomes if not outcome.is_kept()]
    sys.exit(f"broken promises: {', '.join(broken)}" if broken else 0)


def base_model(folder: str) -> str:
    """A base model that trains in seconds; MODEL_NAME names another."""
    if given := os.environ.get("MODEL_NAME"):
        return given
    code = (
        "import django, sys; django.setup(); from pathlib import Path; "
        "from tests.tiny import make_base_model; make_base_model(Path(sys.argv[1]))"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "sentiment_site.settings"}
    subprocess.run([sys.executable, "-c", code, folder], env=environment, cwd=ROOT, check=True)
    return folder


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
