"""The writing half of a run: stores what the reader hands over, and keeps the books."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from django.db import close_old_connections
from django.db.models import F
from django.utils import timezone

from ingestion import metrics
from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Heartbeat,
    IncomingPost,
    Malformed,
    PostDeleted,
    malformed,
)
from ingestion.exceptions import IngestionError, StreamHeld
from ingestion.models import Alert, Connection
from ingestion.services import dead_letters, gaps
from ingestion.services.alerts import close_alert, raise_alert
from ingestion.services.journal import Began, Idle, Item, Lost
from ingestion.services.lease import RENEW_SECONDS, Lease
from ingestion.services.posts import Stored, forget, forget_author, store
from ingestion.services.refusals import AWAY, REFUSED, together, write_all
from ingestion.services.tally import Tally
from ingestion.sources import LiveSource

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A connection that is down for longer is told to people.
ALERT_SECONDS = 60.0
LONGEST_RETRY = 2.0
LOG_SECONDS = 30.0
# What came since then came just now.
RECENT_SECONDS = 1.0


def _as_received(posts: Sequence[tuple[Item, IncomingPost]]) -> list[IncomingPost]:
    """Those that waited to be stored say when they came."""
    recent = time.time() - RECENT_SECONDS
    return [
        post if item.at > recent else replace(post, received_at=item.moment) for item, post in posts
    ]


class Away(IngestionError):
    """The database is away, and it is time to stop."""


class Writer:
    """Stores items in order. All of it may be repeated: what is stored already stays as it is."""

    def __init__(
        self,
        source: LiveSource,
        lease: Lease,
        connection: Connection,
        tally: Tally,
        may_stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._lease = lease
        self._tally = tally
        self._may_stop = may_stop
        self._cursor = connection.cursor
        self._covered = connection.covered_until
        self._has_alerted = False
        self._down_since: float | None = None
        self._is_connected = False
        self._is_replaying = False
        self._renewed = time.monotonic()
        self.heard: datetime | None = None
        self._heard_at: float | None = None

    def write(self, items: Sequence[Item]) -> None:
        """Posts first; then deletions, the ledger, counters, cursor and status.

        What cannot be stored, whatever it is, is put aside as a dead letter.
        Waits for the database as long as it takes. Raises Away when it may not wait any longer,
        and StreamHeld when another process has taken over; the items are stored then.
        """
        changes: dict[str, Any] = {}
        posts = [(item, item.event) for item in items if isinstance(item.event, IncomingPost)]
        if posts:
            self._store(posts, changes)
        for item in items:
            event = item.event
            # Most are posts, which are done with.
            if isinstance(event, IncomingPost | Heartbeat):
                self._heard_at = item.at
                continue
            self._cover()
            self._note(event, item.moment, changes)
            if not isinstance(event, Lost | Idle | Began):
                self._heard_at = item.at
        self._cover()
        self._forget(items)
        if changes or time.monotonic() - self._renewed > RENEW_SECONDS:
            self._renew(changes)

    def _store(self, posts: list[tuple[Item, IncomingPost]], changes: dict[str, Any]) -> None:
        stored = self.persist(lambda: self._store_all(_as_received(posts)))
        newest = max(post.created_at for _, post in posts)
        self._tally.delay_seconds = (timezone.now() - newest).total_seconds()
        metrics.LAG.labels(self._source.name).set(self._tally.delay_seconds)
        self._count(changes, "received", len(posts))
        self._count(changes, "saved", len(stored.post_ids))
        self._count(changes, "duplicates", stored.duplicates)

    def _store_all(self, posts: Sequence[IncomingPost]) -> Stored:
        # A folder's files may hold posts of X, which X has not delivered.
        save = partial(store, read_from=self._source.name)
        return together(write_all(posts, save, self._put_post_aside))

    def _put_post_aside(self, post: IncomingPost, error: Exception) -> None:
        raw = post.raw or {"id": post.external_id, "text": post.text}
        self._put_aside(f"{post.source}:{post.external_id}", raw, error)

    def _put_aside(self, what: str, message: Mapping[str, Any], error: Exception) -> None:
        logger.error("%s cannot be stored", what, exc_info=error)
        text = json.dumps(dict(message), default=str)
        letter = malformed(f"it cannot be stored: {error}", text.encode())
        dead_letters.keep(self._source.name, [letter])

    def _forget(self, items: Sequence[Item]) -> None:
        gone: dict[str, list[str]] = defaultdict(list)
        for item in items:
            if isinstance(item.event, PostDeleted):
                gone[item.event.source or self._source.name] += item.event.external_ids
        for source, keys in gone.items():
            self._tally.deleted += self.persist(partial(self._forget_posts, source, keys))
        for item in items:
            if isinstance(item.event, AuthorDeleted):
                self._tally.deleted += self.persist(partial(self._forget_author, item.event))

    def _forget_posts(self, source: str, keys: Sequence[str]) -> int:
        def put_aside(key: str, error: Exception) -> None:
            message = asdict(PostDeleted((key,), source))
            self._put_aside(f"the deletion of {source}:{key}", message, error)

        return sum(write_all(keys, partial(forget, source), put_aside))

    def _forget_author(self, event: AuthorDeleted) -> int:
        source = event.source or self._source.name

        def put_aside(author: str, error: Exception) -> None:
            what = f"the deletion of what {source}'s {author} wrote"
            self._put_aside(what, asdict(event), error)

        def forget_them(authors: Sequence[str]) -> int:
            return sum(forget_author(source, author) for author in authors)

        return sum(write_all([event.author_id], forget_them, put_aside))

    def _cover(self) -> None:
        """Everything that came until then is stored, unless a replay is still under way."""
        if self._heard_at is None:
            return
        self.heard = datetime.fromtimestamp(self._heard_at, UTC)
        if self._is_connected and not self._is_replaying:
            # Earlier than before, where the clock was set back: then more is asked for again.
            self._covered = self.heard

    def _note(self, event: Any, moment: datetime, changes: dict[str, Any]) -> None:
        try:
            self._note_news(event, moment, changes)
        except REFUSED as error:
            what, message = type(event).__name__, asdict(event)
            self.persist(partial(self._put_aside, what, message, error))

    def _note_news(self, event: Any, moment: datetime, changes: dict[str, Any]) -> None:
        if isinstance(event, Malformed):
            self._note_malformed(event, changes)
        elif isinstance(event, Checkpoint):
            self._cursor = changes["cursor"] = event.cursor
        elif isinstance(event, Connected):
            self._note_connected(event, moment, changes)
        elif isinstance(event, CaughtUp):
            self.persist(lambda: gaps.finish_replay(self._source, event))
            self._is_replaying = False
            self._covered = moment
        elif isinstance(event, Lost):
            self._note_lost(event, moment, changes)
        elif isinstance(event, Began):
            self.note_gap(event.cause, event.message)
            self._set_status(changes, Connection.Status.CONNECTING, "")
        elif isinstance(event, Idle):
            self._note_idle(moment, changes)

    def _note_malformed(self, event: Malformed, changes: dict[str, Any]) -> None:
        name = self._source.name
        self._count(changes, "malformed", 1)
        metrics.POSTS.labels(name, "malformed").inc()
        logger.warning("%s sent a message that was put aside: %s", name, event.reason)
        self.persist(lambda: dead_letters.keep(name, [event]))

    def _note_connected(self, event: Connected, moment: datetime, changes: dict[str, Any]) -> None:
        gap = self.persist(lambda: gaps.close_gap(self._source, moment, replays=event.replays))
        self._is_connected = True
        self._is_replaying = event.replays and gap is not None
        if not self._is_replaying:
            self._covered = moment
        self._down_since = None
        self._set_status(changes, Connection.Status.CONNECTED, "")
        changes |= {"connected_at": moment, "next_attempt_at": None}
        # What stands may be of a process that is gone.
        self.close_alert(f"{self._title} streams again.")

    def _note_lost(self, event: Lost, moment: datetime, changes: dict[str, Any]) -> None:
        logger.warning("%s: %s", self._source.name, event.message)
        self._is_connected = self._is_replaying = False
        self.note_gap(event.kind, event.message)
        self._down_since = self._down_since or moment.timestamp()
        self._set_status(changes, Connection.Status.WAITING, event.message)
        changes["next_attempt_at"] = event.retry_at
        self._count(changes, "reconnects", 1)
        metrics.RECONNECTS.labels(self._source.name, event.kind).inc()

    def note_gap(self, cause: str, detail: str) -> None:
        """Nothing comes from here on; a gap that is open goes on."""
        covered = self._covered
        if covered is not None:
            self.persist(
                lambda: gaps.open_gap(self._source.name, covered, cause, detail, self._cursor)
            )

    def _note_idle(self, moment: datetime, changes: dict[str, Any]) -> None:
        self._is_connected = self._is_replaying = False
        self.persist(lambda: gaps.close_gap(self._source, moment, replays=False))
        self._covered = self._down_since = None
        self._set_status(changes, Connection.Status.IDLE, "")
        self.close_alert(f"{self._title} has nothing to follow any more.")

    def _count(self, changes: dict[str, Any], name: str, number: int) -> None:
        setattr(self._tally, name, getattr(self._tally, name) + number)
        changes[name] = changes.get(name, F(name)) + number

    def _set_status(self, changes: dict[str, Any], status: str, error: str) -> None:
        self._tally.status = status
        self._tally.last_error = error
        changes |= {"status": status, "last_error": error}
        metrics.CONNECTED.labels(self._source.name).set(status == Connection.Status.CONNECTED)

    def books(self) -> dict[str, Any]:
        """What the connection's row says of how far everything is stored."""
        return {
            "covered_until": self._covered,
            "last_event_at": self.heard,
            "spilled_bytes": self._tally.spilled_bytes,
        }

    def _renew(self, changes: dict[str, Any]) -> None:
        books = self.books()
        if self.heard is None:
            del books["last_event_at"]
        held = self.persist(lambda: self._lease.renew(**books, **changes))
        self._renewed = time.monotonic()
        if not held:
            raise StreamHeld(f"another process has taken over {self._source.name}")

    def alert_if_down(self) -> None:
        """Tell people, once, when the connection has been away for a while."""
        if self._down_since is None or self._has_alerted:
            return
        if time.time() - self._down_since <= ALERT_SECONDS:
            return
        since = datetime.fromtimestamp(self._down_since, UTC)
        message = f"{self._title} is away since {since:%H:%M} UTC: {self._tally.last_error}"
        try:
            raise_alert("stream", message, key=self._source.name)
            self._has_alerted = True
        except AWAY as error:
            # The next report tries again; posts must not wait for this.
            close_old_connections()
            logger.warning("an alert could not be kept yet: %s", error)

    def alert_of_failure(self, why: str) -> None:
        message = f"{self._title} is not streamed any more: {why}"
        self.persist(
            lambda: raise_alert(
                "stream", message, key=self._source.name, severity=Alert.Severity.CRITICAL
            )
        )

    def close_alert(self, message: str) -> None:
        self.persist(lambda: close_alert("stream", key=self._source.name, message=message))
        self._has_alerted = False

    @property
    def _title(self) -> str:
        return str(Connection(source=self._source.name).get_source_display())

    def persist(self, write: Callable[[], T]) -> T:
        """Do `write`, which is safe to repeat, again until the database is back. Raises Away."""
        wait = 0.1
        told = float("-inf")
        while True:
            try:
                return write()
            except AWAY as error:
                close_old_connections()
                if self._may_stop():
                    raise Away(f"the database is away: {error}") from error
                if time.monotonic() - told > LOG_SECONDS:
                    logger.warning("the database takes no writes, posts are kept: %s", error)
                    told = time.monotonic()
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY)
