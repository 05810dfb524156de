"""What was read, by source, stream and day; of paid sources, what it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Max, Q, Sum
from django.utils import timezone

from ingestion.models import DailyUsage, MonthlyUsage, Post, Source, Stream


def count(source: str, reads: Mapping[int | None, int], *, day: date | None = None) -> None:
    """Add posts read today to each stream's count, and under None to the source's.

    Within the transaction that stores them, as its last statement: who waits for these rows
    must hold nothing that others wait for.
    """
    _add(source, day or timezone.now().date(), reads, "posts_read")


def count_looked_up(source: str, posts: int) -> None:
    """Add posts that were asked for again."""
    _add(source, timezone.now().date(), {None: posts}, "looked_up")


def _add(source: str, day: date, reads: Mapping[int | None, int], column: str) -> None:
    """One upsert for the source, one for its streams, rows in a fixed order."""
    for is_overall in (True, False):
        rows = sorted(
            (stream or 0, number)
            for stream, number in reads.items()
            if (stream is None) is is_overall and number
        )
        if rows:
            _upsert(source, day, rows, column, is_overall=is_overall)


def _upsert(
    source: str, day: date, rows: Sequence[tuple[int, int]], column: str, *, is_overall: bool
) -> None:
    table = DailyUsage._meta.db_table
    target = "(source, day) WHERE stream_id IS NULL" if is_overall else "(source, day, stream_id)"
    now = DailyUsage._meta.get_field("last_post_at").get_db_prep_value(timezone.now(), connection)
    on = DailyUsage._meta.get_field("day").get_db_prep_value(day, connection)
    values = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(rows))
    # Only names of our own model are formatted in; Django's upsert cannot add to a column.
    sql = (
        f"INSERT INTO {table} (source, day, stream_id, posts_read, looked_up, last_post_at) "  # noqa: S608
        f"VALUES {values} ON CONFLICT {target} DO UPDATE SET "
        f"{column} = {table}.{column} + excluded.{column}, last_post_at = excluded.last_post_at"
    )
    is_read = column == "posts_read"
    parameters = [
        value
        for stream, number in rows
        for value in (
            source,
            on,
            None if is_overall else stream,
            number if is_read else 0,
            0 if is_read else number,
            now,
        )
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def month_of(moment: datetime) -> date:
    return moment.date().replace(day=1)


def month_end(moment: datetime) -> datetime:
    """The first instant of the next month."""
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def is_billed(source: str) -> bool:
    """Whether each post that the source delivers is billed, once a day (UTC)."""
    return source == Source.X


def price(source: str) -> float:
    """US dollars a post."""
    return settings.TWITTER_POST_PRICE if is_billed(source) else 0.0


def budget(source: str) -> int:
    """Posts a month; 0 means no budget."""
    return settings.TWITTER_MONTHLY_POST_BUDGET if is_billed(source) else 0


@dataclass
class Usage:
    """One stream's, or under `stream` None the whole source's, running month.

    `daily_rate` is of the last day or two; `forecast` is the month's end if it goes on so.
    """

    source: str
    stream: Stream | None
    month: int = 0
    today: int = 0
    daily_rate: float = 0.0
    budget: int = 0
    reported: int | None = None
    last_post_at: datetime | None = None
    # Posts on the month's busiest day.
    peak: int = 0
    # Of the whole source only: posts that came in the last minute.
    per_minute: int = 0

    @property
    def used(self) -> int:
        """What counts against the budget: others may read on the same account."""
        return max(self.month, self.reported or 0)

    @property
    def used_share(self) -> float | None:
        """Of the budget, 1 when it is used up; None without a budget."""
        return self.used / self.budget if self.budget else None

    def forecast(self, now: datetime) -> int:
        left = (month_end(now) - now) / timedelta(days=1)
        return round(self.used + self.daily_rate * left)

    @property
    def cost(self) -> float:
        """US dollars, this month."""
        return self.month * price(self.source)


def usage_of(source: str, *, now: datetime | None = None) -> dict[int | None, Usage]:
    """The running month of a source (under None) and of each of its streams. Four queries."""
    now = now or timezone.now()
    streams = {stream.pk: stream for stream in Stream.objects.of_source(source)}
    found: dict[int | None, Usage] = {
        pk: Usage(source, stream, budget=stream.monthly_budget) for pk, stream in streams.items()
    }
    found[None] = Usage(source, None, budget=budget(source))
    yesterday = now.date() - timedelta(days=1)
    for row in _sums(source, now, yesterday):
        own = found.get(row["stream"])
        if own is not None:
            own.month, own.today, own.peak = row["month"], row["today"], row["peak"]
            own.last_post_at = row["last"]
            own.daily_rate = row["recent"] / _days_watched(own.stream, yesterday, now)
    month = MonthlyUsage.objects.filter(source=source, month=month_of(now), stream=None).first()
    minute_ago = now - timedelta(minutes=1)
    lately = Post.objects.delivered_since(minute_ago).filter(source=source)
    found[None].per_minute = lately.count()
    found[None].reported = month.reported if month is not None else None
    return found


def _sums(source: str, now: datetime, yesterday: date) -> Iterable[Any]:
    month = month_of(now)
    reads = F("posts_read") + F("looked_up")
    return (
        DailyUsage.objects.filter(source=source, day__gte=min(month, yesterday))
        .values("stream")
        .annotate(
            month=Sum(reads, filter=Q(day__gte=month), default=0),
            today=Sum(reads, filter=Q(day=now.date()), default=0),
            recent=Sum(reads, filter=Q(day__gte=yesterday), default=0),
            peak=Max(reads, filter=Q(day__gte=month), default=0),
            last=Max("last_post_at"),
        )
        .order_by()
    )


def _days_watched(stream: Stream | None, yesterday: date, now: datetime) -> float:
    """Days, at least an hour, in which recent posts came."""
    start = datetime(yesterday.year, yesterday.month, yesterday.day, tzinfo=now.tzinfo)
    if stream is not None:
        start = max(start, stream.created_at)
    return max((now - start) / timedelta(days=1), 1 / 24)


def read_between(source: str, start: date, end: date) -> int:
    """Posts read from the source from the day `start` to the day before `end`."""
    days = DailyUsage.objects.filter(source=source, stream=None, day__gte=start, day__lt=end)
    return int(days.aggregate(total=Sum(F("posts_read") + F("looked_up")))["total"] or 0)


def totals(stream_ids: Sequence[int]) -> dict[int, int]:
    """Posts ever read of each stream."""
    rows = (
        DailyUsage.objects.filter(stream_id__in=stream_ids)
        .values_list("stream_id")
        .annotate(total=Sum("posts_read"))
    )
    found: dict[int, int] = defaultdict(int)
    found.update({pk: total for pk, total in rows if pk is not None})
    return found
