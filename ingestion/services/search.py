"""Collecting a query's last days: page by page, to be interrupted and gone on with."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from ingestion import sources
from ingestion.backoff import Backoff
from ingestion.exceptions import (
    IngestionError,
    NeedsAttention,
    NotConfigured,
    RateLimited,
    SourceError,
)
from ingestion.models import RecentSearch, Source, Stream
from ingestion.services import spend, usage
from ingestion.services.posts import store
from ingestion.services.streams import MAX_QUERY
from ingestion.sources.x_search import (
    PAGE_SIZE,
    REACH,
    SMALLEST_PAGE,
    Page,
    Searches,
    Window,
    moment_of,
    order,
)

# So many faults in a row that could pass, and it is no passing fault.
FAULTS = 6
# An honest query has been collected in less searches than that.
CHAIN = 1000
NO_BUDGET = "The month's budget allows no more posts: raise it, or go on next month"
# By so much a beginning that moves with the clock is off, and still the same one.
SLACK = timedelta(minutes=1)
OUT_OF_REACH = "X's search reaches 7 days back; what is older stays missing"


@dataclass(frozen=True)
class SearchProgress:
    """How a search fares; `oldest_at` is how far back everything is stored.

    `billed` posts of this run cost: X bills a post once on each day (UTC) on which it is read.
    """

    posts_read: int
    saved: int
    oldest_at: datetime | None
    message: str = ""
    billed: int = 0


Show = Callable[[SearchProgress], None]


def search_recent(
    query: str,
    *,
    stream: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    last: timedelta | None = None,
    max_posts: int | None = None,
    progress: Show | None = None,
    resume: bool = True,
    stop: threading.Event | None = None,
) -> RecentSearch:
    """Store what X's recent search finds, newest first, and return how it went.

    `start` and `end` limit it, or instead of `start` `last`: how long ago it begins. Each page is
    stored before the next is asked for. A search that was interrupted goes on where it was, unless
    another time is asked for; after a finished one only newer posts are read, unless `start` asks
    for older ones than it read. `resume=False` begins anew. `stream` names the stream that the
    posts join. `max_posts`, `stop` and the month's budgets end it after a page. Waits while X
    allows no call. Raises NotConfigured; or SourceError, and then the row says why, too.
    """
    query = _checked(query)
    joined = _stream(stream)
    source = sources.create(Source.X)
    if not isinstance(source, Searches):
        raise NotConfigured(f"{source.name} cannot be searched")
    row, note = _row(query, joined, _Asked(start, end, last), resume)
    _Search(source, row, max_posts, stop or threading.Event(), progress).run(note)
    return row


def _checked(query: str) -> str:
    query = " ".join(query.split())
    if not query:
        raise NotConfigured("the query is empty")
    if len(query) > MAX_QUERY:
        raise NotConfigured(f"the query is longer than {MAX_QUERY} characters")
    return query


def _stream(name: str | None) -> Stream | None:
    if name is None:
        return None
    stream = Stream.objects.of_source(Source.X).filter(name=name).first()
    if stream is None:
        raise NotConfigured(f"there is no stream of X named {name!r}")
    return stream


@dataclass(frozen=True)
class _Asked:
    """The time that somebody wants searched; `last` is how long before now it begins."""

    start: datetime | None
    end: datetime | None
    last: timedelta | None

    def start_at(self, moment: datetime) -> datetime | None:
        """Where it begins when it is asked for at `moment`."""
        return self.start if self.last is None else moment - self.last

    def is_of(self, row: RecentSearch, done: list[RecentSearch]) -> bool:
        """Whether `row`, begun when the searches `done` were, is for this time."""
        if self.end is not None and self.end != row.end_time:
            return False
        start = self.start_at(row.created_at)
        if start is None:
            return True
        slack = timedelta(0) if self.last is None else SLACK
        begins = filter(None, (start, _newer_only(done, start)))
        return row.start_time is not None and any(
            abs(row.start_time - begin) <= slack for begin in begins
        )


def _row(
    query: str, stream: Stream | None, asked: _Asked, resume: bool
) -> tuple[RecentSearch, str]:
    """The unfinished search of this query and time, or a new one for what is not stored yet.

    And what is to be said about it, or "".
    """
    start, note = asked.start_at(timezone.now()), ""
    earlier = RecentSearch.objects.filter(source=Source.X, query=query, stream=stream)
    last = earlier.first() if resume else None
    if last is not None:
        done = list(earlier.filter(state=RecentSearch.State.DONE)[:CHAIN])
        if last.state != RecentSearch.State.DONE:
            if _is_beyond_reach(last):
                note = _close(last)
                done.insert(0, last)
            elif asked.is_of(last, done):
                return last, ""
            else:
                note = _leave(last)
        start = _newer_only(done, start)
    new = RecentSearch.objects.create(
        source=Source.X, query=query, stream=stream, start_time=start, end_time=asked.end
    )
    return new, note


def _is_beyond_reach(row: RecentSearch) -> bool:
    """Whether X's search finds nothing any more of what an unfinished search has not read."""
    oldest = moment_of(row.oldest_id)
    return oldest is not None and oldest < timezone.now() - REACH


def _close(row: RecentSearch) -> str:
    """It can read no more; what it has read counts as read."""
    row.state, row.error = RecentSearch.State.DONE, OUT_OF_REACH
    row.save(update_fields=["state", "error", "updated_at"])
    return (
        f"Begun anew: the rest of search {row.pk} is older than the 7 days that X's search reaches"
    )


def _leave(row: RecentSearch) -> str:
    row.error = "Left for a search of another time"
    row.save(update_fields=["error", "updated_at"])
    reached = moment_of(row.oldest_id)
    where = "before its first page" if reached is None else f"at {reached:%Y-%m-%d %H:%M} UTC"
    return (
        f"Begun anew for the time asked for: search {row.pk}, of another time, stays where it "
        f"stopped, {where}"
    )


def _newer_only(done: list[RecentSearch], start: datetime | None) -> datetime | None:
    """The newest moment that finished searches, newest first, have read; or `start`.

    `start` stands when they leave a hole after it, or have found nothing.
    """
    newest = next((moment_of(row.newest_id) for row in done if row.newest_id), None)
    if newest is None:
        return start
    covered_from = newest
    for row in done:
        if (row.end_time or row.created_at) < covered_from:
            break
        covered_from = min(covered_from, row.start_time or row.created_at - REACH)
    if start is not None and (start < covered_from or start > newest):
        return start
    return newest


class _Search:
    """One run of a search: its row says at any moment how far it is."""

    def __init__(
        self,
        source: Searches,
        row: RecentSearch,
        max_posts: int | None,
        stop: threading.Event,
        show: Show | None,
    ) -> None:
        self._source = source
        self._row = row
        self._stop = stop
        self._show = show
        self._billed = 0
        self._left = math.inf if max_posts is None else max_posts
        self._page_size = _page_size(max_posts)
        self._streams = frozenset() if row.stream_id is None else frozenset({row.stream_id})
        self._since_id = _newest_before(row)

    def run(self, note: str = "") -> None:
        """`note` is told first, and stays with the row."""
        is_cut = self._window().is_cut(timezone.now())
        notes = filter(None, (note, OUT_OF_REACH if is_cut else ""))
        self._save(state=RecentSearch.State.RUNNING, error=". ".join(notes))
        self._tell(self._row.error)
        try:
            is_done = self._collect_patiently()
        except IngestionError as error:
            self._save(state=RecentSearch.State.FAILED, error=str(error))
            raise
        self._save(state=RecentSearch.State.DONE if is_done else RecentSearch.State.STOPPED)

    def _collect_patiently(self) -> bool:
        """Whether everything has been read; faults that can pass are waited out."""
        backoff = Backoff()
        faults = 0
        while not self._is_over():
            read = self._row.posts_read
            try:
                return self._collect()
            except NeedsAttention:
                raise
            except SourceError as error:
                comes_on = self._row.posts_read > read or _says_when(error)
                faults = 1 if comes_on else faults + 1
                if faults >= FAULTS:
                    raise
                self._wait(str(error), backoff.delay(error))
        return False

    def _window(self) -> Window:
        row = self._row
        return Window(row.start_time, row.end_time, self._since_id, row.oldest_id)

    def _collect(self) -> bool:
        pages = self._source.search(self._row.query, self._window(), self._streams, self._page_size)
        for page in pages:
            self._store(page)
            if self._is_over():
                # The last page may have been the one that fills the measure.
                return not page.next_token
        return True

    def _is_over(self) -> bool:
        """Whether no page more may be read: each costs as much as the stream."""
        if self._stop.is_set() or self._left <= 0:
            return True
        if why := self._why_not():
            self._save(error=why)
        return bool(why)

    def _why_not(self) -> str:
        """What keeps us from reading a page more: a used-up budget; "" when nothing does."""
        row = self._row
        if not spend.may_read(row.source):
            return NO_BUDGET
        for reason in spend.used_up(row.source, self._streams).values():
            return f"Stream {row.stream} may read no more, {reason}: raise it, or go on next month"
        return ""

    def _store(self, page: Page) -> None:
        """Posts first, then how far we are: what is read twice is stored once."""
        row = self._row
        stored = store(page.posts)
        bad = page.posts_read - len(page.posts)
        if bad:
            # They are billed as the others.
            usage.count(row.source, {None: bad})
        self._billed += stored.counted + bad
        self._left -= page.posts_read
        self._save(
            newest_id=row.newest_id or page.newest_id,
            oldest_id=_older(row.oldest_id, page.oldest_id),
            posts_read=row.posts_read + page.posts_read,
            saved=row.saved + len(stored.post_ids),
        )
        self._tell(f"{bad} posts could not be understood" if bad else "")

    def _wait(self, why: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stop.is_set() and (left := deadline - time.monotonic()) > 0:
            self._tell(f"{why}; going on in {left:.0f} s")
            # Not stop.wait(): a signal handler that sets the event must find its lock free.
            time.sleep(min(left, 0.5))

    def _save(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self._row, name, value)
        self._row.save(update_fields=[*changes, "updated_at"])

    def _tell(self, message: str) -> None:
        if self._show is not None:
            row = self._row
            oldest_at = moment_of(row.oldest_id)
            self._show(SearchProgress(row.posts_read, row.saved, oldest_at, message, self._billed))


def _newest_before(row: RecentSearch) -> str:
    """The newest id of the search that this one goes on from; "" when it goes on from none.

    It begins in that post's millisecond; the id tells the posts of that millisecond apart.
    """
    if row.start_time is None:
        return ""
    earlier = RecentSearch.objects.filter(
        source=row.source, query=row.query, stream=row.stream_id, pk__lt=row.pk
    )
    newest = earlier.values_list("newest_id", flat=True)[:CHAIN]
    return next((key for key in newest if moment_of(key) == row.start_time), "")


def _says_when(error: SourceError) -> bool:
    retry_at = error.retry_at if isinstance(error, RateLimited) else None
    return retry_at is not None and retry_at > time.time()


def _page_size(max_posts: int | None) -> int:
    """Pages of one size that read no more than needed: each post costs."""
    if max_posts is None:
        return PAGE_SIZE
    pages = math.ceil(max_posts / PAGE_SIZE)
    return max(SMALLEST_PAGE, math.ceil(max_posts / pages))


def _older(one: str, other: str) -> str:
    return min(filter(None, (one, other)), key=order, default="")
