"""Questions about the sources that pages and the API ask alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count
from django.utils import timezone

from ingestion.models import Connection, MonthlyUsage, Post, Stream

RATE_WINDOW = timedelta(seconds=60)
# A row that says so is kept up by whoever holds the lease; without one it is only what was.
_KEPT_UP = (
    Connection.Status.CONNECTING,
    Connection.Status.CONNECTED,
    Connection.Status.IDLE,
    Connection.Status.WAITING,
)


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
        if self.is_lost:
            return "not streamed: its process is gone"
        return str(self.connection.get_status_display())

    @property
    def is_failed(self) -> bool:
        return self.is_lost or self.connection.status == Connection.Status.FAILED


def source_states(now: datetime | None = None) -> list[SourceState]:
    """Every source that was ever streamed, by name. Four queries."""
    now = now or timezone.now()
    recent = Post.objects.filter(received_at__gte=now - RATE_WINDOW).order_by()
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
        for row in Connection.objects.all()
    ]


def _is_lost(row: Connection, now: datetime) -> bool:
    held = row.lease_expires_at is not None and row.lease_expires_at >= now
    return row.status in _KEPT_UP and not held
