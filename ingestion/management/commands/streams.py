"""How all sources and their streams are doing."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.exceptions import BadQuery
from ingestion.models import source_choices
from ingestion.selectors import SourceReport, StreamReport, source_reports
from ingestion.services.trial import Trial, try_query

WATCH_SECONDS = 2.0


class Command(BaseCommand):
    help = (
        "Prints all sources with their streams: state, lag, rates, gaps, usage. With --try it "
        "tells how many of the newest stored posts a query would have matched, before one pays "
        "for it. Exit code: 0, 1 when a source has failed, 2 for wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--watch", action="store_true", help="Again every 2 seconds.")
        parser.add_argument("--try", dest="query", help="Try this query on stored posts.")
        parser.add_argument(
            "--source",
            default="",
            choices=[name for name, _ in source_choices()],
            help="With --try: in its query language, on its own posts if there are enough.",
        )
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["query"] is not None:
            self._try(options["query"], options["source"], options["json"])
            return
        # Ctrl-C is how one stops watching.
        with suppress(KeyboardInterrupt):
            while options["watch"]:
                self._show(source_reports(), options["json"], is_redrawn=self.stdout.isatty())
                time.sleep(WATCH_SECONDS)
        if options["watch"]:
            return
        reports = source_reports()
        self._show(reports, options["json"])
        if any(report.is_failed for report in reports):
            raise CommandError("A source is not streamed any more: see its reason above.")

    def _show(
        self, reports: list[SourceReport], as_json: bool, *, is_redrawn: bool = False
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps([report.as_dict() for report in reports]))
            return
        text = "\n".join(_lines(reports))
        self.stdout.write(f"\033[H\033[J{text}" if is_redrawn else text)

    def _try(self, query: str, source: str, as_json: bool) -> None:
        try:
            trial = try_query(query, source=source)
        except BadQuery as error:
            raise CommandError(str(error), returncode=2) from error
        if as_json:
            self.stdout.write(json.dumps(trial.as_dict()))
            return
        self.stdout.write(
            f"{trial.matched:,} of the newest {trial.tried:,} stored posts match "
            f"({trial.share:.1%})."
        )
        if trial.posts_per_day is not None:
            self.stdout.write(_rate_line(trial))
        if trial.unsupported:
            self.stdout.write(f"Not judged here: {', '.join(trial.unsupported)}")
        for text in trial.examples:
            self.stdout.write(f"  {' '.join(text.split())[:96]}")


def _rate_line(trial: Trial) -> str:
    cost = f", US$ {trial.cost_month_usd:,.2f} in 30 days" if trial.cost_month_usd else ""
    return (
        f"That is {trial.posts_per_day:,.0f} a day{cost}; at least, as posts that no stream "
        "asked for are not here."
    )


def _lines(reports: list[SourceReport]) -> list[str]:
    if not reports:
        return ["No source yet: make a stream in the admin, or `manage.py stream --query …`."]
    lines: list[str] = []
    for report in reports:
        lines += [_source_line(report), *_detail_lines(report)]
        lines += [_stream_line(stream) for stream in report.streams]
        lines.append("")
    return lines[:-1]


def _source_line(report: SourceReport) -> str:
    lag = "never" if report.lag_seconds is None else f"{report.lag_seconds:,.1f} s ago"
    return (
        f"{report.name:<12}{report.words:<34}heard {lag:>13}"
        f"{report.posts_a_minute:>8,} posts/min{report.today:>11,} today"
    )


def _detail_lines(report: SourceReport) -> list[str]:
    """What is worth a line: why, what waits, gaps, budget."""
    lines = [
        f"  month: {report.month:,} posts{report.budget_words}",
        f"  in all: {report.saved:,} saved, {report.duplicates:,} duplicates, "
        f"{report.malformed:,} malformed, {report.reconnects:,} reconnects",
    ]
    if report.gaps_words:
        lines.append(f"  gaps of 24 h: {report.gaps_words}")
    if report.spilled_bytes:
        lines.append(f"  {report.spilled_bytes / 2**20:.1f} MiB wait for the database")
    if report.reason:
        lines.append(f"  {report.reason[:96]}")
    if report.next_attempt_at:
        lines.append(f"  next attempt at {report.next_attempt_at[11:19]} UTC")
    return lines


def _stream_line(stream: StreamReport) -> str:
    line = (
        f"    {stream.name[:30]:<31}{stream.state:<9}{stream.today:>9,} today"
        f"{stream.month:>10,} month  {stream.query[:23]}"
    )
    return f"{line}\n      {stream.reason[:92]}" if stream.reason else line
