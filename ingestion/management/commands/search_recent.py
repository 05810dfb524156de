"""Collects what X's recent search finds."""

from __future__ import annotations

import json
import threading
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion import embedded
from ingestion.exceptions import IngestionError, NotConfigured
from ingestion.management.interrupts import stopped_by_signals
from ingestion.models import RecentSearch
from ingestion.services.search import SearchProgress, search_recent

# A terminal's line is redrawn each time; a log gets one line in so many seconds.
LOG_SECONDS = 10.0
DRAIN_SECONDS = 30.0


def moment(text: str) -> datetime:
    """An ISO 8601 date or time; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time: write 2026-11-24T15:00") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Stores and classifies the posts of the last 7 days that X's recent search finds, newest "
        "first. An interrupted search goes on where it was, unless another time is asked for; "
        "after a finished one only newer posts are read. SIGTERM and Ctrl-C end it after the page. "
        "Exit code: 0 finished, stopped or enough posts, 1 X refuses or stays away, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("query", metavar="QUERY", help="In X's query language.")
        parser.add_argument("--stream", metavar="NAME", help="Add the posts to this stream.")
        begin = parser.add_mutually_exclusive_group()
        begin.add_argument("--days", type=float, metavar="N", help="Only of the last N days.")
        begin.add_argument("--since", type=moment, metavar="T", help="Only from this time on.")
        parser.add_argument("--until", type=moment, metavar="T", help="Only before this time.")
        parser.add_argument(
            "--max-posts", type=int, metavar="N", help="Stop once so many posts are read."
        )
        parser.add_argument(
            "--restart", action="store_true", help="Read again what earlier searches have read."
        )
        parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        start, end, last = self._window(options)
        stop = threading.Event()
        status = _StatusLine(self)
        try:
            with stopped_by_signals(stop), embedded.start_worker() as worker:
                row = search_recent(
                    options["query"],
                    stream=options["stream"],
                    start=start,
                    end=end,
                    last=last,
                    max_posts=options["max_posts"],
                    progress=status.show,
                    resume=not options["restart"],
                    stop=stop,
                )
                # The in-memory queue ends with the process: let what is stored be classified.
                worker.drain(3.0 if stop.is_set() else DRAIN_SECONDS)
        except NotConfigured as error:
            raise CommandError(str(error), returncode=2) from error
        except IngestionError as error:
            raise CommandError(f"{error}; run it again to go on") from error
        finally:
            status.end()
        summary = _summary(row, status)
        self.stdout.write(json.dumps(summary) if options["json"] else _in_words(summary))

    def _window(
        self, options: dict[str, Any]
    ) -> tuple[datetime | None, datetime | None, timedelta | None]:
        """Beginning and end, or instead of a beginning how long ago it is."""
        for name in ("days", "max_posts"):
            if options[name] is not None and not options[name] > 0:
                raise CommandError(f"--{name.replace('_', '-')} must be above 0", returncode=2)
        start, end, last = options["since"], options["until"], None
        if options["days"] is not None:
            last = timedelta(days=min(options["days"], 3650))
        begin = start if last is None else timezone.now() - last
        if begin and begin >= timezone.now():
            raise CommandError("--since lies in the future", returncode=2)
        if begin and end and begin >= end:
            raise CommandError("--until must be later than the beginning", returncode=2)
        return start, end, last


class _StatusLine:
    """One line on standard error: redrawn on a terminal, now and then in a log."""

    def __init__(self, command: BaseCommand) -> None:
        self._err = command.stderr
        self._is_terminal = self._err.isatty()
        self._logged_at = float("-inf")
        self._message = ""
        self._is_begun = False
        self.read_before = 0
        self.saved_before = 0
        self.billed = 0

    def show(self, progress: SearchProgress) -> None:
        self.billed = progress.billed
        if not self._is_begun:
            self._is_begun = True
            self.read_before, self.saved_before = progress.posts_read, progress.saved
            if not (self._is_terminal or progress.message):
                return
        back_to = (
            "" if progress.oldest_at is None else f", back to {progress.oldest_at:%d %b %H:%M}"
        )
        line = f"{progress.posts_read:,} posts read, {progress.saved:,} new{back_to}"
        if progress.message:
            line += f" ({progress.message})"
        if self._is_terminal:
            self._err.write(f"\r\033[K{line[:200]}", str, ending="")
        elif self._is_due(progress.message):
            self._err.write(line, str)

    def _is_due(self, message: str) -> bool:
        """A log hears what is new at once: that it waits, why, and that it goes on."""
        cause = message.partition(";")[0]
        if cause == self._message and time.monotonic() - self._logged_at < LOG_SECONDS:
            return False
        self._message, self._logged_at = cause, time.monotonic()
        return True

    def end(self) -> None:
        if self._is_terminal and self._is_begun:
            self._err.write("")


def _summary(row: RecentSearch, status: _StatusLine) -> dict[str, Any]:
    return {
        "search": row.pk,
        "query": row.query,
        "state": row.state,
        "posts_read": row.posts_read - status.read_before,
        "saved": row.saved - status.saved_before,
        "billed": status.billed,
        "newest_id": row.newest_id,
        "oldest_id": row.oldest_id,
        "cost_usd": round(status.billed * settings.TWITTER_POST_PRICE, 4),
        "note": row.error,
    }


def _in_words(summary: dict[str, Any]) -> str:
    ended = {
        RecentSearch.State.DONE: "Finished",
        RecentSearch.State.STOPPED: "Stopped; run it again to go on",
    }
    note = f"\n{summary['note']}." if summary["note"] else ""
    return (
        f"{ended.get(summary['state'], summary['state'])}: {summary['posts_read']:,} posts read, "
        f"{summary['saved']:,} new, about ${summary['cost_usd']:,.2f}{note}"
    )
