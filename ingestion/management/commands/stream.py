"""Streams a source in the foreground."""

from __future__ import annotations

import gc
import json
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion import embedded, sources
from ingestion.exceptions import IngestionError, NotConfigured
from ingestion.management.interrupts import stopped_by_signals
from ingestion.models import Stream
from ingestion.services import Tally, follow_query, run_stream
from ingestion.services.audit import by_command

# A terminal's line is redrawn each second; a log gets one line in so many.
LOG_SECONDS = 10.0
DRAIN_SECONDS = 30.0


class Command(BaseCommand):
    help = (
        "Streams posts from a source until stopped, and has each classified. SIGTERM and Ctrl-C "
        "store what has arrived and hand the source over. Exit code: 0 stopped or a limit "
        "reached, 1 the source refuses or another process took over, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--source", choices=sources.names(), default="x")
        parser.add_argument(
            "--query", help="Follow this query: makes a stream of it, or wakes up the one it has."
        )
        parser.add_argument("--max-posts", type=int, help="Stop once so many new posts are stored.")
        parser.add_argument("--max-seconds", type=float, help="Stop after so many seconds.")
        parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        self._check(options)
        stop = threading.Event()
        status = _StatusLine(self)
        _tune_garbage_collector()
        try:
            source = sources.create(options["source"])
            if options["query"]:
                follow_query(source.name, options["query"], by=by_command("stream"))
            if not Stream.objects.active().of_source(source.name).exists():
                raise NotConfigured(
                    f"no active stream of {source.name}: give --query, or make one in the admin"
                )
            with stopped_by_signals(stop), embedded.start_worker() as worker:
                tally = run_stream(
                    source,
                    stop=stop,
                    max_posts=options["max_posts"],
                    max_seconds=options["max_seconds"],
                    progress=status.show,
                )
                # The in-memory queue ends with the process: let what is stored be classified.
                worker.drain(3.0 if stop.is_set() else DRAIN_SECONDS)
        except NotConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        except IngestionError as error:
            raise CommandError(str(error)) from error
        finally:
            status.end()
        self.stdout.write(json.dumps(tally.as_dict()) if options["json"] else _summary(tally))

    def _check(self, options: dict[str, Any]) -> None:
        for name in ("max_posts", "max_seconds"):
            if options[name] is not None and options[name] <= 0:
                raise CommandError(f"--{name.replace('_', '-')} must be above 0", returncode=2)


def _tune_garbage_collector() -> None:
    """A flood of short-lived posts needs no search for cycles every 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class _StatusLine:
    """One line on standard error: redrawn on a terminal, now and then in a log."""

    def __init__(self, command: BaseCommand) -> None:
        self._err = command.stderr
        self._is_terminal = self._err.isatty()
        self._saved = 0
        self._seconds = 0.0
        self._logged_at = float("-inf")

    def show(self, tally: Tally) -> None:
        elapsed = tally.seconds - self._seconds
        rate = (tally.saved - self._saved) / elapsed if elapsed > 0 else 0.0
        if not self._is_terminal and time.monotonic() - self._logged_at < LOG_SECONDS:
            return
        self._saved, self._seconds = tally.saved, tally.seconds
        self._logged_at = time.monotonic()
        delay = "-" if tally.delay_seconds is None else f"{tally.delay_seconds:.1f} s"
        line = (
            f"{tally.source} {tally.status}: {tally.saved:,} saved, {rate:.1f} posts/s, lag "
            f"{delay}, {tally.duplicates:,} duplicates, {tally.malformed:,} malformed, "
            f"{tally.reconnects:,} reconnects"
        )
        if tally.spilled_bytes:
            line += f", {tally.spilled_bytes / 2**20:.1f} MiB wait for the database"
        if tally.last_error:
            line += f" ({tally.last_error})"
        if self._is_terminal:
            self._err.write(f"\r\033[K{line[:200]}", str, ending="")
        else:
            self._err.write(line, str)

    def end(self) -> None:
        if self._is_terminal and self._seconds:
            self._err.write("")


def _summary(tally: Tally) -> str:
    ended = {"stopped": "Stopped", "max_posts": "Enough posts", "max_seconds": "Time is up"}
    return (
        f"{ended.get(tally.ended_by, tally.ended_by)} after {tally.seconds:.1f} s: "
        f"{tally.saved:,} saved, {tally.duplicates:,} duplicates, {tally.malformed:,} malformed, "
        f"{tally.deleted:,} deleted, {tally.reconnects:,} reconnects"
    )
