"""Questions about the sources that pages and the API ask alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from ingestion.language_tags import normalised, primary
from ingestion.models import Connection, Gap, MonthlyUsage, Post, Stream
from ingestion.services import usage
from ingestion.services.usage import Usage

RATE_WINDOW = timedelta(seconds=60)
# A holder that is late with its lease by this much is gone.
LATE = timedelta(seconds=5)
GAP_WINDOW = timedelta(hours=24)
UNFILLED = (Gap.State.OPEN, Gap.State.PENDING, Gap.State.FILLING)
# A row that says so is kept up by whoever holds the lease; without one it is only what was.
_KEPT_UP = (
    Connection.Status.CONNECTING,
    Connection.Status.CONNECTED,
    Connection.Status.IDLE,
    Connection.Status.WAITING,
)

MOST_LANGUAGES = 100
# As many are looked through for regions of a language: a step of the index each.
MOST_TAGS = 2000
# From one language to the next by the index: as many steps as languages, however many posts.
_LANGUAGES = """
    WITH RECURSIVE found (lang, place) AS (
        SELECT MIN(lang), 1 FROM ingestion_post
        UNION ALL
        SELECT (SELECT MIN(post.lang) FROM ingestion_post AS post
                WHERE post.lang > found.lang), place + 1
        FROM found WHERE lang IS NOT NULL AND place < %s
    )
    SELECT lang FROM found WHERE lang IS NOT NULL ORDER BY place
"""


def languages() -> list[str]:
    """The languages of stored posts in their order, `MOST_LANGUAGES` at most; "" where of some
    none is known."""
    return _stored_languages(MOST_LANGUAGES)


def language_tags(asked: Iterable[str]) -> list[str]:
    """The tags of stored posts in these languages: en is en-gb, too. One query; none of tags that
    name no language. Regions beyond the first `MOST_TAGS` stored tags are left out."""
    wanted = {tag for code in asked if (tag := normalised(code))}
    if not wanted:
        return []
    # Stored tags are told as they are, also those that an older release still writes.
    stored = _stored_languages(MOST_TAGS)
    found = {tag for tag in stored if not wanted.isdisjoint((normalised(tag), primary(tag)))}
    return sorted(wanted | found)


def _stored_languages(most: int) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_LANGUAGES, [most])
        return [lang for (lang,) in cursor.fetchall()]


@dataclass(frozen=True)
class SourceState:
    """How a source fares now: its connection, what comes, and what its month has used.

    `is_lost` tells that the process that streamed it ended without a word.
    """

    connection: Connection
    is_lost: bool
    posts_a_minute: int
    usage: MonthlyUsage | None
    held: list[Stream] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The status as people say it."""
        if self.connection._state.adding:
            return "not streamed yet"
        return status_words(self.connection, is_lost=self.is_lost)

    @property
    def is_failed(self) -> bool:
        return self.is_lost or self.connection.status == Connection.Status.FAILED


def status_words(row: Connection, *, is_lost: bool | None = None) -> str:
    """How a connection is, as people say it."""
    if is_lost is None:
        is_lost = _is_lost(row, timezone.now())
    return "not streamed: its process is gone" if is_lost else str(row.get_status_display())


def source_states(now: datetime | None = None) -> list[SourceState]:
    """Every source that was ever streamed or has streams to follow, by name. Five queries."""
    now = now or timezone.now()
    recent = Post.objects.delivered_since(now - RATE_WINDOW).order_by()
    rates = dict(recent.values_list("source").annotate(Count("pk")))
    months = MonthlyUsage.objects.filter(month=now.date().replace(day=1), stream=None)
    usage = {row.source: row for row in months}
    held: dict[str, list[Stream]] = defaultdict(list)
    for stream in Stream.objects.active().filter(held_at__isnull=False):
        held[stream.source].append(stream)
    return [
        SourceState(
            connection=row,
            is_lost=_is_lost(row, now),
            posts_a_minute=rates.get(row.source, 0),
            usage=usage.get(row.source),
            held=held[row.source],
        )
        for row in _connections()
    ]


def _connections() -> list[Connection]:
    """A row for each source; of those that nobody has streamed yet it is not stored."""
    rows = {row.source: row for row in Connection.objects.all()}
    followed = Stream.objects.followed().order_by().values_list("source", flat=True)
    for source in followed.distinct():
        rows.setdefault(source, Connection(source=source))
    return [rows[source] for source in sorted(rows)]


def _is_lost(row: Connection, now: datetime) -> bool:
    held = row.lease_expires_at is not None and row.lease_expires_at >= now - LATE
    return row.status in _KEPT_UP and not held


@dataclass(frozen=True)
class StreamReport:
    """A stream, and what it brings. `state` is active, paused, held, sampled or refused."""

    id: int
    name: str
    query: str
    state: str
    reason: str
    today: int
    month: int
    cost: float


@dataclass(frozen=True)
class SourceReport:
    """Everything that an operator asks of a source; times in seconds, money in US dollars."""

    source: str
    name: str
    words: str
    is_failed: bool
    reason: str
    next_attempt_at: str | None
    lag_seconds: float | None
    posts_a_minute: int
    today: int
    month: int
    used: int
    budget: int
    forecast: int
    cost: float
    received: int
    saved: int
    duplicates: int
    malformed: int
    reconnects: int
    spilled_bytes: int
    gaps: int
    gaps_unfilled: int
    completeness: float | None
    streams: list[StreamReport]

    @property
    def budget_words(self) -> str:
        if not self.budget:
            return ""
        return (
            f" ({self.used / self.budget:.0%} of {self.budget:,}, would end at {self.forecast:,})"
        )

    @property
    def gaps_words(self) -> str:
        if not self.gaps:
            return ""
        whole = "" if self.completeness is None else f", {self.completeness:.1%} of time covered"
        return f"{self.gaps}, {self.gaps_unfilled} not filled yet{whole}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def source_reports(now: datetime | None = None) -> list[SourceReport]:
    """The same, with their streams. Five queries a source and five for all."""
    now = now or timezone.now()
    return [_report(state, now) for state in source_states(now)]


def _report(state: SourceState, now: datetime) -> SourceReport:
    row = state.connection
    name = row.source
    found = usage.usage_of(name, now=now)
    whole = found[None]
    gaps = list(Gap.objects.filter(source=name).between(now - GAP_WINDOW, now))
    lag = row.lag(now)
    return SourceReport(
        source=name,
        name=str(row.get_source_display()),
        words=state.words,
        is_failed=state.is_failed,
        reason=row.last_error,
        next_attempt_at=row.next_attempt_at.isoformat() if row.next_attempt_at else None,
        lag_seconds=None if lag is None else round(lag.total_seconds(), 1),
        posts_a_minute=state.posts_a_minute,
        today=whole.today,
        month=whole.month,
        used=whole.used,
        budget=whole.budget,
        forecast=whole.forecast(now),
        cost=round(whole.cost, 2),
        received=row.received,
        saved=row.saved,
        duplicates=row.duplicates,
        malformed=row.malformed,
        reconnects=row.reconnects,
        spilled_bytes=row.spilled_bytes,
        gaps=len(gaps),
        gaps_unfilled=sum(gap.state in UNFILLED for gap in gaps),
        completeness=_completeness(gaps, now) if gaps else None,
        streams=[_stream_report(own) for own in found.values() if own.stream is not None],
    )


def _completeness(gaps: Sequence[Gap], now: datetime) -> float:
    """The share of the window's time whose posts are stored; a gap counts by what came back."""
    missing = timedelta()
    for gap in gaps:
        start = max(gap.started_at, now - GAP_WINDOW)
        length = max((gap.ended_at or now) - start, timedelta())
        missing += length * (1 - (gap.completeness or 0.0))
    return round(max(0.0, 1 - missing / GAP_WINDOW), 4)


def _stream_report(own: Usage) -> StreamReport:
    stream = own.stream
    if stream is None:
        raise ValueError("a source's whole usage is of no stream")
    state, reason = _stream_state(stream)
    return StreamReport(
        id=stream.pk,
        name=stream.name,
        query=stream.query,
        state=state,
        reason=reason,
        today=own.today,
        month=own.month,
        cost=round(own.cost, 2),
    )


def _stream_state(stream: Stream) -> tuple[str, str]:
    if not stream.is_active:
        return "paused", stream.last_error
    if stream.held_at is not None:
        return "held", stream.held_reason
    if stream.last_error:
        return "refused", stream.last_error
    if stream.sample_percent is not None:
        return "sampled", f"{stream.sample_percent} % of its posts, until the month turns"
    return "active", ""


def stream_counters(streams: Sequence[Stream]) -> dict[int, dict[str, Any]]:
    """By primary key, what each of the streams brings. Five queries a source, and one for all."""
    now = timezone.now()
    totals = usage.totals([stream.pk for stream in streams])
    months = {name: usage.usage_of(name, now=now) for name in {s.source for s in streams}}
    return {
        stream.pk: _counters(months[stream.source].get(stream.pk), totals[stream.pk])
        for stream in streams
    }


def _counters(own: Usage | None, total: int) -> dict[str, Any]:
    return {
        "posts_today": own.today if own else 0,
        "posts_month": own.month if own else 0,
        "posts_total": total,
        "last_post_at": own.last_post_at if own else None,
        "cost_month_usd": round(own.cost, 4) if own else 0.0,
    }
