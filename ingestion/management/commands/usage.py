"""What was read, and what it cost."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.models import DailyUsage, source_choices
from ingestion.services import usage

ALL = "(all streams)"


class Command(BaseCommand):
    help = (
        "Prints what each stream and day cost: posts read, times the source's price a post "
        "(X: TWITTER_POST_PRICE; others cost nothing), with the running month's budget and "
        "forecast. Exit code: 0, or 2 for wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", help="A month, as 2026-11; the running one otherwise.")
        parser.add_argument("--days", type=int, help="The last so many days instead of a month.")
        parser.add_argument("--source", help="Of this source only.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        start, end = _span(options["month"], options["days"])
        rows = DailyUsage.objects.filter(day__gte=start, day__lt=end).select_related("stream")
        if options["source"]:
            rows = rows.filter(source=options["source"])
        table = [_entry(row) for row in rows.order_by("source", "day", "stream__name")]
        sources = sorted({row["source"] for row in table})
        months = [_month(source) for source in sources]
        if options["json"]:
            self.stdout.write(json.dumps({"days": table, "months": months}))
            return
        if not table:
            self.stdout.write(f"Nothing was read from {start} to {end - timedelta(days=1)}.")
        for source, month in zip(sources, months, strict=True):
            self._print([row for row in table if row["source"] == source], month)

    def _print(self, rows: list[dict[str, Any]], month: dict[str, Any]) -> None:
        self.stdout.write(f"{month['name']}")
        self.stdout.write(f"  {'day':<10}  {'stream':<32}{'posts':>12}{'US$':>11}")
        for row in rows:
            self.stdout.write(_line(row["day"], row["stream"], row["posts"], row["cost"]))
        for name, (posts, cost) in _totals(rows).items():
            self.stdout.write(_line("total", name, posts, cost))
        self.stdout.write("  " + _month_line(month) + "\n")


def _line(day: str, stream: str, posts: int, cost: float) -> str:
    return f"  {day:<10}  {stream[:31]:<32}{posts:>12,}{cost:>11.2f}"


def _span(month: str | None, days: int | None) -> tuple[date, date]:
    """From the first day to the day after the last."""
    today = timezone.now().date()
    if days is not None:
        if days < 1:
            raise CommandError("--days must be above 0", returncode=2)
        return today - timedelta(days=days - 1), today + timedelta(days=1)
    first = today.replace(day=1)
    if month:
        try:
            first = datetime.strptime(month, "%Y-%m").date()
        except ValueError as error:
            raise CommandError(f"--month {month!r} is not as 2026-11", returncode=2) from error
    return first, (first + timedelta(days=32)).replace(day=1)


def _entry(row: DailyUsage) -> dict[str, Any]:
    posts = row.posts_read + row.looked_up
    return {
        "source": row.source,
        "day": row.day.isoformat(),
        "stream": row.stream.name if row.stream else ALL,
        "posts": posts,
        "cost": round(posts * usage.price(row.source), 4),
    }


def _totals(rows: list[dict[str, Any]]) -> dict[str, tuple[int, float]]:
    totals: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for row in rows:
        posts, cost = totals[row["stream"]]
        totals[row["stream"]] = posts + row["posts"], cost + row["cost"]
    return totals


def _month(source: str) -> dict[str, Any]:
    """The running month of a source, whatever days are shown."""
    now = timezone.now()
    whole = usage.usage_of(source, now=now)[None]
    return {
        "source": source,
        "name": dict(source_choices()).get(source, source),
        "month": usage.month_of(now).strftime("%Y-%m"),
        "used": whole.used,
        "counted": whole.month,
        "reported": whole.reported,
        "budget": whole.budget,
        "forecast": whole.forecast(now),
        "price": usage.price(source),
    }


def _month_line(month: dict[str, Any]) -> str:
    price = month["price"]
    line = f"{month['month']}: {month['used']:,} posts"
    if month["budget"]:
        line += f" of {month['budget']:,} ({month['used'] / month['budget']:.0%})"
    if price:
        line += f", US$ {month['used'] * price:,.2f}"
    line += f"; it would end at {month['forecast']:,}"
    if price:
        line += f", US$ {month['forecast'] * price:,.2f}"
    if month["reported"] is not None:
        line += f"; the account's own count: {month['reported']:,}"
    return line + "."
