"""What was read, and what it cost."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import defaultdict
from datetime import date, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ingestion.models import DailyUsage, MonthlyUsage, source_choices
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
        first = start if options["days"] is None else usage.month_of(timezone.now())
        months = [_month(source, first) for source in sources]
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
    return first, _next_month(first)


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


def _month(source: str, first: date) -> dict[str, Any]:
    """A source's month; while it runs, with a forecast and the budget that holds now."""
    now = timezone.now()
    row = MonthlyUsage.objects.filter(source=source, month=first, stream=None).first()
    month: dict[str, Any] = {
        "source": source,
        "name": dict(source_choices()).get(source, source),
        "month": first.strftime("%Y-%m"),
        "counted": usage.read_between(source, first, _next_month(first)),
        "reported": row.reported if row else None,
        "reported_at": row.reported_at.isoformat() if row and row.reported_at else None,
        "budget": row.budget if row else 0,
        "forecast": None,
        "price": usage.price(source),
    }
    if first == usage.month_of(now):
        whole = usage.usage_of(source, now=now)[None]
        month |= {"budget": whole.budget, "forecast": whole.forecast(now)}
    return month | {"used": max(month["counted"], month["reported"] or 0)}


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def _month_line(month: dict[str, Any]) -> str:
    price = month["price"]
    line = f"{month['month']}: {month['used']:,} posts"
    if month["budget"]:
        line += f" of {month['budget']:,} ({month['used'] / month['budget']:.0%})"
    if price:
        line += f", US$ {month['used'] * price:,.2f}"
    if month["forecast"] is not None:
        line += f"; it would end at {month['forecast']:,}"
        line += f", US$ {month['forecast'] * price:,.2f}" if price else ""
    if month["reported"] is not None:
        at = f" at {month['reported_at'][:16]} UTC" if month["reported_at"] else ""
        line += f"\n  {month['name']} itself counts {month['reported']:,} of the account{at}"
    return line + "."
