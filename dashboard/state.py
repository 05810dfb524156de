"""How the sources fare: gaps in what a view shows, connections and budgets, standing alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Max, Q
from django.utils import timezone

from dashboard.events import GapEvent, SourceEvent, StandingAlert, TrainingEvent
from dashboard.selectors import View
from ingestion.models import Alert, Gap, MonthlyUsage
from ingestion.selectors import SourceState, source_states
from modeling.models import TrainingRun

# The newest gaps that a page shows; all are in the admin.
MAXIMUM_GAPS = 100
# A reconnection shorter than this, all of it got back, is nothing to look at.
BLINK = timedelta(seconds=1)
AWAY = timedelta(minutes=1)
DAY = timedelta(days=1)
BUDGET_SHARE = 0.8
MAXIMUM_HELD = 5
MAXIMUM_KEPT = 20
UNSETTLED = (Gap.State.OPEN, Gap.State.PENDING, Gap.State.FILLING)
STOPPED = "stopped"
# Connections, gaps and budgets say more of these than the words an alert was raised with.
TOLD_FROM_ROWS = ("stream", "budget")


def gaps(view: View) -> list[GapEvent]:
    """Outages within the view, of its streams' sources or of all, newest first."""
    rows = Gap.objects.between(view.first, view.end).exclude(
        state=Gap.State.FILLED, ended_at__lt=F("started_at") + BLINK
    )
    if view.sources is not None:
        rows = rows.filter(source__in=view.sources)
    return [_gap(row) for row in rows[:MAXIMUM_GAPS]]


def _gap(row: Gap) -> GapEvent:
    return GapEvent(
        id=row.pk,
        source=row.source,
        name=str(row.get_source_display()),
        started_at=row.started_at.isoformat(),
        ended_at=None if row.ended_at is None else row.ended_at.isoformat(),
        cause=row.cause,
        detail=row.detail,
        state=row.state,
        filled_by=row.filled_by,
        recovered=row.recovered,
        completeness=row.completeness,
        note=row.note,
    )


def sources(states: Sequence[SourceState]) -> list[SourceEvent]:
    """What the panel of sources says of each."""
    return [
        SourceEvent(
            source=state.connection.source,
            name=str(state.connection.get_source_display()),
            status="lost" if state.is_lost else state.connection.status,
            words=state.words,
            reason=state.connection.last_error,
            next_attempt_at=_iso(state.connection.next_attempt_at),
            last_event_at=_iso(state.connection.last_event_at),
            rate=state.posts_a_minute,
            used=None if state.usage is None else state.usage.used,
            budget=None if state.usage is None else state.usage.budget or None,
            waiting_bytes=state.connection.spilled_bytes,
            held=[f"{stream.name}: {stream.held_reason}" for stream in state.held[:MAXIMUM_HELD]],
        )
        for state in states
    ]


def _iso(moment: datetime | None) -> str | None:
    # To the second: what changes more often would be told more often.
    return None if moment is None else moment.replace(microsecond=0).isoformat()


def training() -> TrainingEvent | None:
    """The run that is under way, or waits to be, if there is one."""
    run = TrainingRun.objects.filter(status__in=TrainingRun.ACTIVE).select_related("version").last()
    return None if run is None else training_event(run)


def training_event(run: TrainingRun) -> TrainingEvent:
    return TrainingEvent(
        type="training",
        run=run.pk,
        status=run.status,
        progress=round(run.progress, 4),
        message=run.message,
        loss=None if run.loss is None else round(run.loss, 4),
        seconds_left=None if run.seconds_left is None else round(run.seconds_left),
        version=None if run.version is None else run.version.version,
        reason=run.error or str(run.gate.get("reason", "")),
    )


def standing_alerts(
    states: Sequence[SourceState], now: datetime | None = None
) -> list[StandingAlert]:
    """What needs a human now, whoever raised it and however late a page is opened."""
    now = now or timezone.now()
    failed = {state.connection.source for state in states if state.is_failed}
    return [
        *_failures(states),
        *_outages(now, failed),
        *_budgets(now),
        *_held(states),
        *_kept(),
    ]


def _failures(states: Sequence[SourceState]) -> Iterator[StandingAlert]:
    for state in states:
        if state.is_failed:
            row = state.connection
            why = row.last_error if not state.is_lost else "its process is gone"
            yield StandingAlert(
                key=f"failed:{row.source}",
                kind="stream",
                message=f"{row.get_source_display()} is not streamed: {why or 'look at its log'}",
            )


def _outages(now: datetime, failed: set[str]) -> Iterator[StandingAlert]:
    down = Gap.objects.filter(
        state=Gap.State.OPEN, ended_at__isnull=True, started_at__lt=now - AWAY
    )
    for row in down.exclude(cause=STOPPED).exclude(source__in=failed):
        why = row.detail or row.cause
        since = f"{row.started_at:{'%H:%M' if now - row.started_at < DAY else '%-d %b %H:%M'}} UTC"
        yield StandingAlert(
            key=f"away:{row.source}",
            kind="stream",
            message=f"{row.get_source_display()} is away since {since}: {why}",
        )


def _budgets(now: datetime) -> Iterator[StandingAlert]:
    month = MonthlyUsage.objects.filter(month=now.date().replace(day=1), budget__gt=0)
    for row in month.select_related("stream"):
        if row.used >= row.budget * BUDGET_SHARE:
            of = row.stream.name if row.stream else row.get_source_display()
            yield StandingAlert(
                key=f"budget:{row.pk}",
                kind="budget",
                message=f"Budget of {of}: {row.used:,} of {row.budget:,} posts are read this month "
                f"({row.used / row.budget:.0%}).",
            )


def _held(states: Sequence[SourceState]) -> Iterator[StandingAlert]:
    for state in states:
        for stream in state.held[:MAXIMUM_HELD]:
            yield StandingAlert(
                key=f"held:{stream.pk}",
                kind="budget",
                message=f"Stream “{stream.name}” is held: {stream.held_reason}",
            )


def _kept() -> Iterator[StandingAlert]:
    """What the ledger of alerts holds, but for what is told from newer figures above."""
    for row in Alert.objects.standing().exclude(kind__in=TOLD_FROM_ROWS)[:MAXIMUM_KEPT]:
        yield StandingAlert(key=f"alert:{row.pk}", kind=row.kind, message=row.message)


class Seen(NamedTuple):
    """What changed since the last look; None where all is as it was."""

    gaps: list[GapEvent]
    sources: list[SourceEvent] | None
    alerts: list[StandingAlert] | None

    def then(self, later: Seen) -> Seen:
        """Both, of what nobody was told yet."""
        return Seen(
            self.gaps + later.gaps,
            self.sources if later.sources is None else later.sources,
            self.alerts if later.alerts is None else later.alerts,
        )


NOTHING = Seen([], None, None)


class Watch:
    """Follows gaps, sources and alerts, for a live page: a few small queries a look."""

    def __init__(self) -> None:
        self._last_gap = Gap.objects.aggregate(last=Max("pk"))["last"] or 0
        # A page's snapshot is read after this: what is settled from here on is a change to it.
        unsettled = Gap.objects.filter(state__in=UNSETTLED).order_by("-pk")[:MAXIMUM_GAPS]
        self._gaps = {row.pk: _gap(row) for row in unsettled}
        self._sources: list[SourceEvent] | None = None
        self._alerts: list[StandingAlert] | None = None

    def look(self) -> Seen:
        """What is new or other than at the last look; at the first, all sources and alerts."""
        states = source_states()
        now_sources, now_alerts = sources(states), standing_alerts(states)
        seen = Seen(
            self._changed_gaps(),
            None if now_sources == self._sources else now_sources,
            None if now_alerts == self._alerts else now_alerts,
        )
        self._sources, self._alerts = now_sources, now_alerts
        return seen

    def _changed_gaps(self) -> list[GapEvent]:
        """A gap is watched until it is settled; then it was told for the last time."""
        wanted = Q(state__in=UNSETTLED) | Q(pk__in=self._gaps) | Q(pk__gt=self._last_gap)
        rows = list(Gap.objects.filter(wanted).order_by("-pk")[:MAXIMUM_GAPS])
        told = {row.pk: _gap(row) for row in rows}
        changed = [event for pk, event in told.items() if self._gaps.get(pk) != event]
        self._last_gap = max([self._last_gap, *told])
        self._gaps = {row.pk: told[row.pk] for row in rows if row.state in UNSETTLED}
        return changed
