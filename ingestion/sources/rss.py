"""RSS and Atom feeds, polled: many feeds, one connection."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from ingestion.events import CaughtUp, Checkpoint, Connected, Event, Heartbeat, malformed
from ingestion.exceptions import BadPost, NothingFollowed, SourceError, Unavailable
from ingestion.language_tags import primary
from ingestion.models import Source, Stream
from ingestion.sources import Followed, Resume, rss_entries
from ingestion.sources.rss_entries import Document, Entry
from ingestion.sources.rss_state import Feed, read_cursor, write_cursor
from ingestion.sources.safe_http import (
    PRIVATE,
    TOTAL_SECONDS,
    Answer,
    Fetch,
    is_private_literal,
    shown,
)

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
# Feeds that are read at the same time; a slow one holds up no other.
WORKERS = 4
MAX_FEEDS = 1000
ACCEPT = (
    "application/atom+xml, application/rss+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.1"
)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A stream that reads a feed."""

    pk: int
    languages: frozenset[str]

    def wants(self, lang: str) -> bool:
        """Whether it keeps entries of this language; what tells none is kept."""
        told = primary(lang)
        return not self.languages or not told or told in self.languages


@dataclass(frozen=True, slots=True)
class _Outcome:
    url: str
    answer: Answer | None = None
    document: Document | None = None
    error: SourceError | None = None


_Outcomes = queue.SimpleQueue[_Outcome | None]


class RssSource:
    """All active streams' feeds. Each is asked every `poll_seconds`, and only for what is new."""

    name: str = Source.RSS
    is_paid = False

    def __init__(
        self, *, poll_seconds: float, allow_private: bool, fetch_seconds: float = TOTAL_SECONDS
    ) -> None:
        self._poll_seconds = poll_seconds
        self._allow_private = allow_private
        self._fetch_seconds = fetch_seconds
        self._stopped = threading.Event()
        # Guards what other threads than the polling one touch: the three below.
        self._lock = threading.Lock()
        self._readers: dict[str, tuple[_Reader, ...]] = {}
        self._anew: set[str] = set()
        self._fetches: dict[str, Fetch] = {}
        self._feeds: dict[str, Feed] = {}
        # What workers bring; None only wakes the poll, so that it looks again.
        self._outcomes: _Outcomes = queue.SimpleQueue()

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Read these streams' feeds, and no others; at once, if a connection is open."""
        readers: dict[str, tuple[_Reader, ...]] = {}
        refused: dict[int, str] = {}
        for stream in streams:
            urls = list(dict.fromkeys(stream.query.split()))
            if problem := self._problem(urls) or _crowd(readers.keys() | set(urls)):
                refused[stream.pk] = problem
                continue
            reader = _Reader(stream.pk, frozenset(map(primary, stream.languages)))
            for url in urls:
                readers[url] = (*readers.get(url, ()), reader)
        with self._lock:
            # Who joins a feed's readers gets what it lists already, too.
            self._anew |= {url for url in readers if set(readers[url]) - set(self._of(url))}
            self._readers = readers
        self._outcomes.put(None)
        return Followed(refused=refused)

    def connect(self, resume: Resume) -> Iterator[Event]:
        """Poll until `disconnect`. A feed lists its last entries, so what was missed comes first.

        A feed that fails is shown on its streams and asked again later; the others go on.
        """
        stopped = threading.Event()
        with self._lock:
            self._feeds, self._fetches = {}, {}
            self._stopped, self._outcomes = stopped, queue.SimpleQueue()
        self._look()
        read_cursor(resume.cursor, self._feeds.values())
        if not self._feeds:
            raise NothingFollowed("There is no feed to read: give a stream a feed's address")
        workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="rss-fetch")
        try:
            yield Connected(replays=True)
            yield from self._poll(workers, stopped)
        finally:
            stopped.set()
            self._abort()
            workers.shutdown(wait=False, cancel_futures=True)

    def disconnect(self) -> None:
        self._stopped.set()
        self._abort()
        self._outcomes.put(None)

    def parse(self, message: bytes) -> Iterator[Event]:
        """What an entry that was put aside, or a whole feed document, says."""
        try:
            if message.lstrip()[:1] == b"{":
                entries: Sequence[Entry] = (rss_entries.entry(message),)
            else:
                entries = rss_entries.read(message, "").entries
        except (BadPost, SourceError) as error:
            yield malformed(str(error), message)
            return
        for entry in entries:
            yield self._event(entry, None)

    def _poll(self, workers: ThreadPoolExecutor, stopped: threading.Event) -> Iterator[Event]:
        is_caught_up = False
        while not stopped.is_set():
            self._look()
            self._begin(workers)
            try:
                outcome = self._outcomes.get(timeout=self._patience())
            except queue.Empty:
                yield Heartbeat()
                continue
            if outcome is not None:
                yield from self._take(outcome)
            if not is_caught_up and all(feed.is_polled for feed in self._feeds.values()):
                is_caught_up = True
                yield _caught_up(self._feeds.values())

    def _look(self) -> None:
        """Bring the feeds in step with what is followed now."""
        with self._lock:
            anew, self._anew = self._anew, set()
            wanted = set(self._readers)
        for url in self._feeds.keys() - wanted:
            del self._feeds[url]
        for url in wanted:
            feed = self._feeds.setdefault(url, Feed(url))
            if url in anew and feed.is_polled:
                feed.forget()

    def _begin(self, workers: ThreadPoolExecutor) -> None:
        """Have the feeds fetched whose time has come."""
        now = time.time()
        for url, feed in self._feeds.items():
            if feed.due > now or url in self._fetches:
                continue
            fetch = Fetch(allow_private=self._allow_private, total_seconds=self._fetch_seconds)
            with self._lock:
                self._fetches[url] = fetch
            asking = {"Accept": ACCEPT, **feed.headers()}
            workers.submit(self._fetch, fetch, url, asking, self._outcomes)

    def _patience(self) -> float:
        """Seconds until the next feed is due, at most until a heartbeat is."""
        waiting = [feed.due for url, feed in self._feeds.items() if url not in self._fetches]
        due = min(waiting, default=float("inf"))
        return min(max(due - time.time(), 0.0), HEARTBEAT_SECONDS)

    @staticmethod
    def _fetch(fetch: Fetch, url: str, headers: dict[str, str], outcomes: _Outcomes) -> None:
        """In a worker: fetching and parsing both may take long."""
        try:
            answer = fetch.get(url, headers)
            kind = answer.headers.get("Content-Type", "")
            is_new = answer.status == 200
            document = rss_entries.read(answer.body, url, kind) if is_new else None
            outcome = _Outcome(url, answer, document)
        except SourceError as error:
            outcome = _Outcome(url, error=error)
        except Exception as error:
            logger.exception("a feed could not be read: %s", shown(url))
            outcome = _Outcome(
                url, error=Unavailable(f"it cannot be read ({type(error).__name__})")
            )
        outcomes.put(outcome)

    def _take(self, outcome: _Outcome) -> Iterator[Event]:
        # Only now may it be fetched again: it was due all the while.
        with self._lock:
            del self._fetches[outcome.url]
        if outcome.url in self._feeds:
            yield from self._apply(self._feeds[outcome.url], outcome)

    def _apply(self, feed: Feed, outcome: _Outcome) -> Iterator[Event]:
        before = feed.as_json()
        feed.is_polled = True
        if outcome.answer is None:
            feed.fail(outcome.error, self._poll_seconds)
            logger.warning("feed %s: %s", shown(feed.url), feed.error)
        else:
            feed.succeed(outcome.answer.headers, outcome.document, self._poll_seconds)
            yield from self._news(feed, outcome.document)
        self._show(feed.url)
        if feed.as_json() != before:
            yield Checkpoint(write_cursor(self._feeds.values()))

    def _news(self, feed: Feed, document: Document | None) -> Iterator[Event]:
        if document is None:
            return
        for entry, edited_at in feed.news(document.entries, timezone.now()):
            if any(reader.wants(entry.lang) for reader in self._of(feed.url)):
                yield self._event(entry, edited_at)
        if feed.may_lack:
            logger.warning(
                "feed %s lists nothing that it listed before: entries may have been missed; "
                "set RSS_POLL_SECONDS lower",
                shown(feed.url),
            )

    def _event(self, entry: Entry, edited_at: datetime | None) -> Event:
        streams = frozenset(r.pk for r in self._of(entry.feed) if r.wants(entry.lang))
        try:
            return entry.post(streams, timezone.now(), edited_at)
        except (BadPost, ValueError, OverflowError, TypeError) as error:
            return malformed(str(error), entry.as_message())

    def _of(self, url: str) -> tuple[_Reader, ...]:
        return self._readers.get(url, ())

    def _show(self, url: str) -> None:
        """Say on the feed's streams which of their feeds fail."""
        for reader in self._of(url):
            problems = [
                f"{shown(feed.url)}: {feed.error}"
                for feed in self._feeds.values()
                if feed.error and reader in self._of(feed.url)
            ]
            text = "; ".join(problems)[:1000]
            try:
                rows = Stream.objects.filter(pk=reader.pk).exclude(last_error=text)
                rows.update(last_error=text)
            except DatabaseError as error:
                logger.warning("stream %d cannot be told of its feeds: %s", reader.pk, error)

    def _abort(self) -> None:
        with self._lock:
            for fetch in self._fetches.values():
                fetch.abort()

    def _problem(self, urls: Sequence[str]) -> str:
        """Why these are not the addresses of feeds; "" when they are."""
        if not urls:
            return "Give the address of a feed, or several with spaces between"
        return next(filter(None, (self._problem_of(url) for url in urls)), "")

    def _problem_of(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            return f"{shown(url)} is no address: {error}"
        if parts.scheme not in {"http", "https"} or not host or port == 0:
            return f"{shown(url)} is no address of a feed: it must begin with https:// or http://"
        if not self._allow_private and is_private_literal(host):
            return f"{shown(url)} {PRIVATE}"
        return ""


def _crowd(urls: Collection[str]) -> str:
    return f"More than {MAX_FEEDS} feeds are too many" if len(urls) > MAX_FEEDS else ""


def _caught_up(feeds: Iterable[Feed]) -> CaughtUp:
    failing = [shown(feed.url) for feed in feeds if feed.error]
    lacking = [shown(feed.url) for feed in feeds if feed.may_lack]
    notes = []
    if failing:
        notes.append(f"could not be read yet: {', '.join(failing[:5])}")
    if lacking:
        notes.append(f"list nothing from before, so more may be missing: {', '.join(lacking[:5])}")
    return CaughtUp("the feeds' own lists", not notes, "; ".join(notes))


def from_settings() -> RssSource:
    """Needs no account."""
    return RssSource(
        poll_seconds=settings.RSS_POLL_SECONDS,
        allow_private=settings.SOURCES_ALLOW_PRIVATE_ADDRESSES,
    )
