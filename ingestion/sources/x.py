"""X API v2: the filtered stream, and what can be asked beside it. `x_client` does the talking."""

from __future__ import annotations

import math
import re
import time
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    IncomingPost,
)
from ingestion.exceptions import NotConfigured, RateLimited, SourceError, Stalled, Unavailable
from ingestion.models import Source, Stream
from ingestion.sources import Followed, Reported, Resume, x_events, x_payload, x_problems, x_rules
from ingestion.sources.x_client import STALL_SECONDS, XClient
from ingestion.sources.x_search import PAGE_SIZE, Page, Progress, Window, order, read_page

# A replay that brings nothing newer than the connect is over after so many seconds.
REPLAY_SECONDS = 20.0
# A connect takes a moment, which the replay must reach across, too.
REPLAY_MARGIN = 5.0
CHECKPOINT_SECONDS = 0.5
LOOK_UP_SIZE = 100
_TOKEN = re.compile(r"[\x21-\x7e]+")
_REPOSTS = "keyword search leaves reposts out, so they may be missing"


class XSource:
    """All active X streams as rules of the one connection that X allows.

    `backfill_minutes` is how much X may be asked to replay (0: not at all), `search_lag_seconds`
    how long a post takes to be found by a search.
    """

    name: str = Source.X
    is_paid = True

    def __init__(
        self,
        bearer_token: str,
        base_url: str,
        *,
        stall_seconds: float = STALL_SECONDS,
        backfill_minutes: int = 0,
        search_lag_seconds: float = 10.0,
    ) -> None:
        self._client = XClient(bearer_token, base_url, stall_seconds)
        self._streams: dict[str, frozenset[int]] = {}
        self._backfill_minutes = backfill_minutes
        self._search_lag = timedelta(seconds=search_lag_seconds)
        self._disconnects = 0

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Change the account's rules to these streams', by difference. Raises SourceError."""
        plan = x_rules.difference(self._client.rules(), streams)
        # First, because a stream may take over the query of one that goes.
        self._client.delete(plan.delete)
        added, refused = self._client.add(plan.add)
        rule_ids = plan.keep | added
        served: dict[str, set[int]] = defaultdict(set)
        for stream, rule_id in rule_ids.items():
            served[rule_id].add(stream)
        self._streams = {rule_id: frozenset(served[rule_id]) for rule_id in served}
        return Followed(rule_ids, plan.refused | refused, plan.foreign)

    def connect(self, resume: Resume) -> Iterator[Event]:
        """The filtered stream, once. Where the plan has it, X replays what was missed."""
        disconnects = self._disconnects
        replays = self._open(resume)
        connected_at = timezone.now()
        if self._disconnects != disconnects:
            # Asked for while we were still connecting.
            self._client.disconnect()
        yield Connected(replays=replays)
        events = self._listen(resume.cursor)
        yield from _told_when_caught_up(events, connected_at) if replays else events

    def _open(self, resume: Resume) -> bool:
        """Connect, asking for a replay where that may help; whether one covers all that is missed.

        Raises SourceError.
        """
        missed = _minutes_since(resume.covered_until)
        asked = min(missed, self._backfill_minutes)
        if asked:
            with suppress(x_problems.Refused):
                self._filter(backfill_minutes=asked)
                return asked == missed
        # Refused: the plan may have no replay; X does not always say so. Without it, it may go.
        self._filter()
        if asked:
            self._backfill_minutes = 0
        return False

    def _filter(self, **params: int) -> None:
        try:
            self._client.filter(
                tweet_fields=x_payload.FIELDS,
                expansions=x_payload.EXPANSIONS,
                user_fields=x_payload.USER_FIELDS,
                **params,
            )
        except x_problems.ConnectionTaken:
            self._kill_connections()
            raise

    def _listen(self, cursor: str) -> Iterator[Event]:
        told_at = time.monotonic()
        told = cursor
        try:
            for line in self._client.lines():
                event = x_events.read(line, self._streams_of)
                yield event
                if isinstance(event, IncomingPost) and order(event.external_id) > order(cursor):
                    cursor = event.external_id
                # The cursor only tells a gap's beginning: not worth an event a post.
                if cursor != told and time.monotonic() - told_at > CHECKPOINT_SECONDS:
                    told_at, told = time.monotonic(), cursor
                    yield Checkpoint(cursor)
        except Stalled:
            # X may still believe in the connection, and would refuse the next one.
            self._kill_connections()
            raise

    def _kill_connections(self) -> None:
        # Where the endpoint is not available the connection ends by itself, later.
        with suppress(SourceError):
            self._client.kill_connections()

    def disconnect(self) -> None:
        self._disconnects += 1
        self._client.disconnect()

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one line says; a farewell says nothing any more."""
        with suppress(SourceError):
            yield x_events.read(message, self._streams_of)

    def _streams_of(self, rules: Any) -> frozenset[int]:
        """The streams of the rules that matched; rules of others name none."""
        found: set[int] = set()
        for rule in rules if isinstance(rules, list) else []:
            if isinstance(rule, dict):
                # Another process may have synced the rule: its tag still names the stream.
                owner = x_rules.stream_of(str(rule.get("tag") or ""))
                tagged = frozenset() if owner is None else frozenset({owner})
                found |= self._streams.get(str(rule.get("id")), tagged)
        return frozenset(found)

    def search(
        self, query: str, window: Window, streams: frozenset[int], page_size: int = PAGE_SIZE
    ) -> Iterator[Page]:
        """Pages of recent search, newest first, their posts belonging to `streams`.

        Of the window, what X can search at all. Raises SourceError; Refused is about the query.
        """
        window = window.within_reach(timezone.now(), self._search_lag)
        if window.is_empty:
            return
        params = window.parameters() | {"max_results": str(page_size)}
        while True:
            page = read_page(self._client.search(query, params), streams)
            yield page
            if not page.next_token or page.next_token == params.get("next_token"):
                return
            params["next_token"] = page.next_token

    def backfill(
        self, streams: Sequence[Stream], start: datetime, end: datetime, progress: str
    ) -> Iterator[Event]:
        """What recent search knows of these streams between two moments, at most 7 days back.

        One search a stream, so that each post reaches its stream. RateLimited, too, while X's
        index does not have the last seconds yet.
        """
        now = timezone.now()
        self._check_index_has(end, now)
        reached = Progress(progress)
        missing: list[str] = []
        if Window(start).is_cut(now):
            missing.append("X's search reaches 7 days back; what is older stays missing")
        for stream in streams:
            if reached.is_done(stream.pk):
                continue
            try:
                yield from self._backfill_one(stream, start, end, reached)
            except x_problems.Refused as error:
                missing.append(f"{stream.name}: {error}")
        notes = [_REPOSTS, *missing]
        yield CaughtUp("recent search", is_complete=not missing, note="; ".join(notes)[:2000])

    def _check_index_has(self, end: datetime, now: datetime) -> None:
        # A second more, because X takes whole ones.
        ready = end + self._search_lag + timedelta(seconds=1)
        if self._search_lag and now < ready:
            raise RateLimited("X's search does not have the last seconds yet", ready.timestamp())

    def _backfill_one(
        self, stream: Stream, start: datetime, end: datetime, reached: Progress
    ) -> Iterator[Event]:
        window = Window(start, end, until_id=reached.until_id(stream.pk))
        query = x_rules.search_value(stream)
        for page in self.search(query, window, frozenset({stream.pk})):
            yield from page.events
            reached.reach(stream.pk, page.oldest_id)
            yield Checkpoint(str(reached))
        reached.finish(stream.pk)
        yield Checkpoint(str(reached))

    def gone(self, external_ids: Sequence[str]) -> set[str]:
        """Those of the posts that X calls deleted or closed to us. Raises SourceError."""
        # Posts from files may have ids that are not X's; one of them would spoil the call.
        known = [key for key in external_ids if re.fullmatch(r"[0-9]{1,19}", key)]
        found: set[str] = set()
        for begin in range(0, len(known), LOOK_UP_SIZE):
            part = known[begin : begin + LOOK_UP_SIZE]
            found |= x_problems.gone(self._client.look_up(part)) & set(part)
        return found

    def validate(self, stream: Stream) -> str:
        """What X has against the stream's rule; "" when nothing. Raises SourceError."""
        if reason := x_rules.too_long(stream):
            return reason
        answer = self._client.trial(stream)
        standing = next(map(x_rules.duplicate_of, x_rules.errors(answer)), "")
        if standing:
            return self._owned_by_another(stream, standing)
        return x_rules.read_answer(answer, [stream])[1].get(stream.pk, "")

    def _owned_by_another(self, stream: Stream, rule_id: str) -> str:
        """A rule of the stream's own, or of somebody else on the account, serves it as well."""
        for rule in self._client.rules():
            owner = x_rules.stream_of(str(rule.get("tag") or ""))
            if str(rule.get("id")) == rule_id and owner not in (None, stream.pk):
                other = Stream.objects.active().filter(pk=owner).first()
                return f"Stream {other.name!r} follows exactly this already." if other else ""
        return ""

    def usage(self) -> Reported:
        """What the whole project has read since its cap was last reset. Raises SourceError."""
        answer = self._client.usage().get("data")
        data = answer if isinstance(answer, dict) else {}
        used = str(data.get("project_usage"))
        if not (used.isascii() and used.isdigit()):
            raise Unavailable("X did not say how many posts the account has read")
        return Reported(int(used[:18]), _last_reset(data.get("cap_reset_day"), timezone.now()))


def _last_reset(day: object, now: datetime) -> date | None:
    """The last day that was such a day of its month, or in a shorter month the last; None where X
    does not tell one."""
    text = str(day)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:3]) <= 31):
        return None
    for month in (now.date(), now.date().replace(day=1) - timedelta(days=1)):
        reset = month.replace(day=min(int(text), monthrange(month.year, month.month)[1]))
        if reset <= now.date():
            return reset
    return None


def _minutes_since(moment: datetime | None) -> int:
    """Whole minutes that a replay must reach back; 0 when nothing can be missing."""
    if moment is None:
        return 0
    seconds = (timezone.now() - moment).total_seconds() + REPLAY_MARGIN
    return max(1, math.ceil(seconds / 60))


def _told_when_caught_up(events: Iterator[Event], connected_at: datetime) -> Iterator[Event]:
    """The same events, and CaughtUp before the first post that is none of the replay's."""
    deadline = time.monotonic() + REPLAY_SECONDS
    for event in events:
        is_newer = isinstance(event, IncomingPost) and event.created_at > connected_at
        if is_newer or time.monotonic() > deadline:
            yield CaughtUp("backfill_minutes")
            yield event
            break
        yield event
    yield from events


def from_settings() -> XSource:
    """Raises NotConfigured."""
    token = settings.TWITTER_BEARER_TOKEN
    if not token:
        raise NotConfigured("X needs a bearer token: set TWITTER_BEARER_TOKEN")
    if not _TOKEN.fullmatch(token):
        raise NotConfigured("TWITTER_BEARER_TOKEN holds a blank or a line end: copy it anew")
    return XSource(
        token,
        settings.TWITTER_API_BASE_URL,
        backfill_minutes=settings.TWITTER_BACKFILL_MINUTES,
        search_lag_seconds=settings.TWITTER_SEARCH_LAG_SECONDS,
    )
