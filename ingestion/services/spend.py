"""The spend governor: keeps what is read from a paid source within its monthly budgets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from ingestion import metrics
from ingestion.models import Alert, MonthlyUsage, Stream
from ingestion.services import usage
from ingestion.services.alerts import close_alert, raise_alert
from ingestion.services.usage import Usage
from ingestion.sources import Reported, ReportsUsage

logger = logging.getLogger(__name__)

ALERT_SHARE = 0.8
# From here on streams are held until what is left lasts to the month's end.
HOLD_SHARE = 0.95
# X goes on for about 20 s with rules that were taken back: so many seconds are kept in hand.
RESERVE_SECONDS = 30
# Of a budget, so much is kept in hand at least, and at most.
RESERVE_SHARE = 0.005
RESERVE_LIMIT = 1 - HOLD_SHARE


def may_read(source: str) -> bool:
    """Whether the account's budget allows a page more, beyond what streams need."""
    return _has_left(usage.usage_of(source)[None])


def used_up(source: str, stream_ids: Iterable[int]) -> dict[int, str]:
    """Those of a paid source's streams whose own budget allows no page more, and why in words.

    Both budgets are asked before each page, so that one is overrun by a page at most.
    """
    found = usage.usage_of(source)
    spent = (found[pk] for pk in stream_ids if pk in found and not _has_left(found[pk]))
    return {own.stream.pk: f"its {_spent(own)}" for own in spent if own.stream is not None}


def _has_left(of: Usage) -> bool:
    return not of.budget or of.used < of.budget * HOLD_SHARE


def _spent(own: Usage) -> str:
    return f"budget of {own.budget:,} posts this month is used up"


def check_usage(source: ReportsUsage, name: str) -> int:
    """Ask the source what the whole account has read this calendar month, and keep it.

    Raises SourceError.
    """
    now = timezone.now()
    reported = _this_month(name, source.usage(), now)
    MonthlyUsage.objects.update_or_create(
        source=name,
        month=usage.month_of(now),
        stream=None,
        defaults={"reported": reported, "reported_at": now},
    )
    return reported


def _this_month(source: str, reported: Reported, now: datetime) -> int:
    """Budgets are of calendar months: of a billing month that begins on another day, what we read
    before the 1st is taken off, or what we read since the 1st before it began is added."""
    first = usage.month_of(now)
    since = reported.since or first
    ours = usage.read_between(source, min(first, since), max(first, since))
    return max(0, reported.posts - ours) if since < first else reported.posts + ours


@transaction.atomic
def govern(source: str) -> bool:
    """Hold, sample or release the source's streams by its budgets; True when one changed.

    Warns at 80 %. From 95 % on the dearest streams are held, or sampled, until what is left lasts
    to the month's end; before 100 % all are. A new month or a higher budget releases them. Safe to
    repeat and to run in several processes at once.
    """
    now = timezone.now()
    found = usage.usage_of(source, now=now)
    metrics.BUDGET_USED.labels(source).set(found[None].used_share or 0.0)
    _keep_months(source, found, now)
    streams = list(Stream.objects.active().of_source(source).select_for_update())
    wanted = _judge(found, streams, now)
    changed = [stream for stream in streams if _apply(stream, *wanted[stream.pk], now)]
    Stream.objects.bulk_update(changed, ["held_at", "held_reason", "sample_percent", "updated_at"])
    return bool(changed)


Verdict = tuple[str, int | None]
FREE: Verdict = ("", None)


def _judge(
    found: dict[int | None, Usage], streams: Sequence[Stream], now: datetime
) -> dict[int, Verdict]:
    """Stream → why it is held ("" when it is not), and the share that it may take."""
    whole = found[None]
    verdicts = {stream.pk: _by_own_budget(found[stream.pk], whole) for stream in streams}
    if _has_left(whole):
        return verdicts
    left = whole.budget - whole.used
    if left <= _reserve(whole, whole):
        reason = f"The month's budget of {whole.budget:,} posts is used up."
        return {stream.pk: (reason, None) for stream in streams}
    return verdicts | _by_cost(found, streams, verdicts, left, now)


def _by_own_budget(own: Usage, whole: Usage) -> Verdict:
    if own.budget and own.budget - own.month <= _reserve(own, whole):
        return f"Its {_spent(own)}.", None
    return FREE


def _reserve(of: Usage, whole: Usage) -> float:
    """Posts that may still come after a hold, at the source's rate of this minute."""
    coming = whole.per_minute / 60 * RESERVE_SECONDS
    return min(max(of.budget * RESERVE_SHARE, coming), of.budget * RESERVE_LIMIT)


def _by_cost(
    found: dict[int | None, Usage],
    streams: Sequence[Stream],
    verdicts: dict[int, Verdict],
    left: float,
    now: datetime,
) -> dict[int, Verdict]:
    """The dearest first, until the others fit into what is left."""
    days = (usage.month_end(now) - now) / timedelta(days=1)
    free = [stream for stream in streams if not verdicts[stream.pk][0]]
    # A stream that is held reads nothing now: its rate before is what it would cost again.
    need = {stream.pk: _rate(found[stream.pk], stream) * days for stream in free}
    held: dict[int, Verdict] = {}
    for stream in sorted(free, key=lambda stream: -need[stream.pk]):
        total = sum(need.values())
        if total <= left:
            break
        rest = left - (total - need[stream.pk])
        percent = int(100 * rest / need[stream.pk]) if rest > 0 else 0
        if stream.over_budget == Stream.OverBudget.SAMPLE and percent >= 1:
            held[stream.pk] = "", _steady(percent, stream.sample_percent)
            break
        held[stream.pk] = "The month's budget would not last: it is the dearest stream.", None
        need[stream.pk] = 0.0
    return held


def _steady(percent: int, now: int | None) -> int:
    """Each change of a sample is a change of the rule: it waits until it is worth it."""
    return now if now is not None and now / 2 <= percent <= now * 2 else percent


def _rate(own: Usage, stream: Stream) -> float:
    """Posts a day if nothing held it back: while something does, the month's busiest day."""
    if stream.held_at is None and stream.sample_percent is None:
        return own.daily_rate
    return max(own.daily_rate, float(own.peak))


def _apply(stream: Stream, reason: str, percent: int | None, now: datetime) -> bool:
    """Set what the governor decided; False when it stands so already."""
    if (bool(reason), percent) == (stream.held_at is not None, stream.sample_percent):
        return False
    stream.held_at = now if reason else None
    stream.held_reason, stream.sample_percent, stream.updated_at = reason, percent, now
    if reason:
        said = f"Stream “{stream.name}” is held: {reason}"
    elif percent is not None:
        said = f"Stream “{stream.name}” takes a sample of {percent} % until the month turns."
    else:
        said = f"Stream “{stream.name}” goes on: the budget allows it again."
    logger.warning("%s", said)
    key = f"stream:{stream.pk}"
    if reason:
        raise_alert("budget", said, key=key, severity=Alert.Severity.CRITICAL)
    elif percent is not None:
        raise_alert("budget", said, key=key)
    else:
        close_alert("budget", key=key, message=said)
    return True


def _keep_months(source: str, found: dict[int | None, Usage], now: datetime) -> None:
    """Write the month's rows, and warn once when a budget is 80 % used."""
    month = usage.month_of(now)
    for earlier in MonthlyUsage.objects.filter(
        source=source, month__lt=month, alerted_at__isnull=False
    ):
        MonthlyUsage.objects.filter(pk=earlier.pk).update(alerted_at=None)
        close_alert("budget", _key(earlier), f"{_subject(earlier)}: a new month has begun.")
    rows = {
        row.stream_id: row
        for row in MonthlyUsage.objects.filter(source=source, month=month).select_related("stream")
    }
    for stream_id, own in found.items():
        if own.month or own.budget or stream_id in rows:
            _keep(rows.get(stream_id), own, now)


def _keep(row: MonthlyUsage | None, own: Usage, now: datetime) -> None:
    if row is None:
        row, _ = MonthlyUsage.objects.get_or_create(
            source=own.source, month=usage.month_of(now), stream=own.stream
        )
    is_high = bool(own.budget) and own.used >= own.budget * ALERT_SHARE
    if is_high != (row.alerted_at is not None):
        row.alerted_at = now if is_high else None
        if is_high:
            raise_alert("budget", _warning(row, own, now), key=_key(row))
        else:
            close_alert("budget", _key(row), f"{_subject(row)}: below 80 %.")
    elif (row.posts_read, row.budget) == (own.month, own.budget):
        return
    row.posts_read, row.budget = own.month, own.budget
    row.save(update_fields=["posts_read", "budget", "alerted_at", "updated_at"])


def _subject(row: MonthlyUsage) -> str:
    return f"Budget of {row.stream.name if row.stream else row.get_source_display()}"


def _key(row: MonthlyUsage) -> str:
    return f"month:{row.pk}"


def _warning(row: MonthlyUsage, own: Usage, now: datetime) -> str:
    return (
        f"{_subject(row)}: {own.used:,} of {own.budget:,} posts are read "
        f"({own.used / own.budget:.0%}); the month would end at {own.forecast(now):,}."
    )
