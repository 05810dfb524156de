"""The ledger of outages: when nothing came, why, and what was got back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Min, QuerySet
from django.utils import timezone

from ingestion import metrics
from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Event,
    IncomingPost,
    PostDeleted,
)
from ingestion.exceptions import NeedsAttention, RateLimited, SourceError
from ingestion.models import Gap, Post, Stream
from ingestion.services import spend
from ingestion.services.posts import forget, forget_author, store
from ingestion.sources import Backfills, LiveSource

logger = logging.getLogger(__name__)

STOPPED = "stopped"
# The ends of an outage are not sharp.
OVERLAP = timedelta(seconds=5)
# Who fills a gap holds it so long without a sign of life.
CLAIM = timedelta(minutes=5)
ATTEMPTS = 10
# Fewer posts than this in the hour before a gap tell nothing about what it lacks.
ENOUGH_TO_TELL = 10
PAGE = 500


def open_gap(source: str, started_at: datetime, cause: str, detail: str, after_id: str) -> Gap:
    """The outage that began at `started_at`; a gap that is still open goes on instead."""
    gap, is_new = Gap.objects.get_or_create(
        source=source,
        state=Gap.State.OPEN,
        defaults={
            "started_at": started_at,
            "cause": cause[:32],
            "detail": detail,
            "after_id": after_id[:255],
        },
    )
    if is_new:
        metrics.GAPS.labels(source, cause).inc()
    else:
        Gap.objects.filter(pk=gap.pk).update(ended_at=None)
    return gap


def close_gap(source: LiveSource, ended_at: datetime, *, replays: bool) -> Gap | None:
    """The source is connected again: note the end of its outage, and how it will be filled.

    A replay keeps the gap open until `finish_replay`. None when there was no outage.
    """
    gap = Gap.objects.filter(source=source.name, state=Gap.State.OPEN).first()
    if gap is None:
        return None
    if gap.started_at > ended_at:
        # By a clock that was ahead; posts tell the time by their source's.
        gap.started_at = _newest_post(source.name, ended_at)
    gap.ended_at = ended_at
    gap.expected = _expected(gap)
    if not replays:
        gap.state = _how_to_fill(source, gap)
        gap.next_attempt_at = gap.ended_at + OVERLAP
        gap.note = _NOTES.get(gap.state, "")
    gap.save()
    return gap


def _newest_post(source: str, moment: datetime) -> datetime:
    """When the newest post of before `moment` was written; `moment` where there is none."""
    posts = Post.objects.filter(source=source, created_at__lte=moment)
    newest = posts.order_by("-created_at").values_list("created_at", flat=True).first()
    return newest or moment


_NOTES = {
    Gap.State.UNRECOVERABLE: "The source cannot be asked for the past.",
    Gap.State.LEFT: "It was stopped on purpose, and reading the past costs money: "
    "the admin can have it filled.",
}


def _how_to_fill(source: LiveSource, gap: Gap) -> Gap.State:
    if not isinstance(source, Backfills):
        return Gap.State.UNRECOVERABLE
    length = (gap.ended_at or timezone.now()) - gap.started_at
    allowed = timedelta(minutes=settings.GAP_FILL_AFTER_STOP_MINUTES)
    if gap.cause == STOPPED and source.is_paid and length > allowed:
        return Gap.State.LEFT
    return Gap.State.PENDING


def _expected(gap: Gap) -> int | None:
    """What the hour before the gap lets expect; None when too little came then to tell."""
    before = Post.objects.filter(
        source=gap.source,
        created_at__gte=gap.started_at - timedelta(hours=1),
        created_at__lt=gap.started_at,
    ).aggregate(count=Count("id"), first=Min("created_at"))
    if before["count"] < ENOUGH_TO_TELL:
        return None
    # Of a source that began within the hour, the time since then counts.
    watched = gap.started_at - before["first"]
    length = (gap.ended_at or timezone.now()) - gap.started_at
    return round(before["count"] * (length / watched))


def finish_replay(source: LiveSource, said: CaughtUp) -> Gap | None:
    """The source has delivered what was missed, as far as it could."""
    gap = Gap.objects.filter(
        source=source.name, state=Gap.State.OPEN, ended_at__isnull=False
    ).first()
    if gap is None or gap.ended_at is None:
        return None
    # Nothing of that time had come before, so what is there now was got back.
    gap.recovered = Post.objects.filter(
        source=source.name, created_at__gt=gap.started_at, created_at__lte=gap.ended_at
    ).count()
    gap.filled_by, gap.note = said.how[:64], said.note
    gap.state = Gap.State.FILLED if said.is_complete else Gap.State.PARTIAL
    if not said.is_complete and isinstance(source, Backfills):
        gap.state, gap.next_attempt_at = Gap.State.PENDING, gap.ended_at + OVERLAP
    gap.save()
    return gap


def ask_to_fill(gaps: Sequence[int]) -> int:
    """Have closed gaps filled now, whatever was decided before; return how many."""
    asked = Gap.objects.filter(pk__in=gaps).exclude(
        state__in=[Gap.State.OPEN, Gap.State.FILLED, Gap.State.FILLING]
    )
    return asked.update(
        state=Gap.State.PENDING,
        attempts=0,
        next_attempt_at=timezone.now(),
        note="",
        updated_at=timezone.now(),
    )


def fill_gaps(source: LiveSource) -> int:
    """Ask the source for what its gaps missed, gap by gap; return how many were looked at.

    Any number of processes may call this: a gap is filled by one at a time, and an interrupted
    fill goes on where it was.
    """
    if not isinstance(source, Backfills):
        return 0
    count = 0
    for gap in _due(source.name):
        if _claim(gap):
            _Filling(source, source.name, gap, is_paid=source.is_paid).run()
            count += 1
    return count


def _due(source: str) -> Iterator[Gap]:
    due = Gap.objects.unfilled().filter(source=source, next_attempt_at__lte=timezone.now())
    yield from due.order_by("-started_at")[:10]


def _claim(gap: Gap) -> bool:
    now = timezone.now()
    mine = Gap.objects.unfilled().filter(pk=gap.pk, next_attempt_at=gap.next_attempt_at)
    return bool(
        mine.update(
            state=Gap.State.FILLING,
            attempts=F("attempts") + 1,
            next_attempt_at=now + CLAIM,
            updated_at=now,
        )
    )


class _Filling:
    """One attempt at one gap."""

    def __init__(self, source: Backfills, name: str, gap: Gap, *, is_paid: bool) -> None:
        self._source = source
        self._name = name
        self._gap = gap
        self._is_paid = is_paid
        self._posts: list[IncomingPost] = []
        # Streams, by primary key: those to ask for, whose posts came with the last page, that
        # have been read to the end, and that are left out, and why.
        self._asked: dict[int, Stream] = {}
        self._current: set[int] = set()
        self._read: set[int] = set()
        self._left_out: dict[int, str] = {}

    def run(self) -> None:
        end = self._end_by_posts()
        self._asked = {stream.pk: stream for stream in self._streams_until(end)}
        if not self._asked:
            self._end(Gap.State.FILLED, "nothing to ask for", "No stream of that time is active.")
            return
        try:
            # Once more without a stream whose budget is used up, until none is any more.
            while self._may_go_on():
                self._leave_out_used_up()
                if not self._asked:
                    self._end(self._state_of_failure(), "", self._with_left_out(""))
                    return
                if self._ask_until(end):
                    return
        except RateLimited as error:
            self._later(_moment(error.retry_at), "")
        except NeedsAttention as error:
            self._end(self._state_of_failure(), "", error)
        except SourceError as error:
            self._retry(error)

    def _streams_until(self, end: datetime) -> QuerySet[Stream]:
        """Streams that miss what was posted then: all but those that were held all the time."""
        there = Stream.objects.active().of_source(self._name).filter(created_at__lte=end)
        return there.exclude(held_at__lte=self._gap.started_at)

    def _ask_until(self, end: datetime) -> bool:
        """Whether the source was asked to the end; False when it must stop before."""
        gap = self._gap
        streams = list(self._asked.values())
        begin = gap.started_at - OVERLAP
        for event in self._source.backfill(streams, begin, end + OVERLAP, gap.progress):
            if not self._take(event):
                return False
        return True

    def _leave_out_used_up(self) -> bool:
        """Ask no more for streams whose own budget is used up; whether there are such."""
        if not self._is_paid:
            return False
        # What has been read to the end lacks nothing, however little is left of its budget.
        spent = spend.used_up(self._name, self._asked.keys() - self._read)
        for stream, reason in spent.items():
            self._left_out[stream] = f"{self._asked.pop(stream).name} is not asked for: {reason}."
        return bool(spent)

    def _with_left_out(self, note: str) -> str:
        return " ".join(filter(None, (note, *self._left_out.values())))

    def _end_by_posts(self) -> datetime:
        """When the gap ended; later where the first post that came after it was written later: then
        our clock was behind the source's."""
        end = self._gap.ended_at or timezone.now()
        after = Post.objects.filter(source=self._name, received_at__gte=end).order_by("received_at")
        first = after.values_list("created_at", flat=True).first()
        return end if first is None else max(end, min(first, timezone.now()))

    def _take(self, event: Event) -> bool:
        """Deal with one event; False when the fill must stop here."""
        if isinstance(event, IncomingPost):
            self._posts.append(event)
            if len(self._posts) >= PAGE:
                self._store("")
        elif isinstance(event, Checkpoint):
            self._store(event.cursor)
            return self._may_go_on() and not self._leave_out_used_up()
        elif isinstance(event, PostDeleted):
            forget(event.source or self._name, event.external_ids)
        elif isinstance(event, AuthorDeleted):
            forget_author(event.source or self._name, event.author_id)
        elif isinstance(event, CaughtUp):
            self._store("")
            is_complete = event.is_complete and not self._left_out
            state = Gap.State.FILLED if is_complete else Gap.State.PARTIAL
            self._end(state, event.how, self._with_left_out(event.note))
        return True

    def _may_go_on(self) -> bool:
        """Asked before each page: a search costs as much as the stream."""
        if spend.may_read(self._name):
            return True
        self._later(timezone.now() + timedelta(hours=1), "It waits for the budget.")
        return False

    @transaction.atomic
    def _store(self, progress: str) -> None:
        """Posts and how far we are: together, so that none is counted twice or skipped."""
        gap = self._gap
        if self._posts:
            self._turn_to(set().union(*(post.stream_ids for post in self._posts)))
            gap.recovered += len(store(self._posts).post_ids)
            self._posts = []
        gap.progress = progress or gap.progress
        self._save(next_attempt_at=timezone.now() + CLAIM)

    def _turn_to(self, streams: set[int]) -> None:
        """A paid source is asked for one stream after the other: earlier ones are read."""
        self._read |= self._current - streams
        self._current = streams

    def _save(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self._gap, name, value)
        fields = ["recovered", "progress", *changes, "updated_at"]
        self._gap.save(update_fields=fields)

    def _later(self, moment: datetime, note: str) -> None:
        # Waiting is no failure: the attempt that was counted when it began is taken back.
        self._save(next_attempt_at=moment, note=note, attempts=self._gap.attempts)

    def _retry(self, error: SourceError) -> None:
        attempts = self._gap.attempts + 1
        if attempts >= ATTEMPTS:
            self._end(self._state_of_failure(), "", f"Given up after {attempts} attempts: {error}")
            return
        logger.warning("a gap of %s is not filled yet: %s", self._name, error)
        wait = timedelta(seconds=min(30 * 2**attempts, 3600))
        self._save(next_attempt_at=timezone.now() + wait, note=str(error))

    def _state_of_failure(self) -> Gap.State:
        return Gap.State.PARTIAL if self._gap.recovered else Gap.State.UNRECOVERABLE

    def _end(self, state: Gap.State, how: str, note: object) -> None:
        self._save(state=state, filled_by=how[:64], note=str(note))
        logger.info(
            "gap of %s from %s: %s, %d posts got back",
            self._name,
            self._gap.started_at.isoformat(timespec="seconds"),
            state.label,
            self._gap.recovered,
        )


def _moment(retry_at: float | None) -> datetime:
    now = timezone.now()
    if retry_at is None:
        return now + timedelta(minutes=1)
    return max(now, datetime.fromtimestamp(retry_at, now.tzinfo)) + timedelta(seconds=1)
