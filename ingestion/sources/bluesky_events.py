"""What Jetstream's messages mean for us: posts that streams ask for, and what is taken back."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator

from ingestion.events import (
    AuthorDeleted,
    Checkpoint,
    Event,
    Heartbeat,
    IncomingPost,
    PostDeleted,
)
from ingestion.sources import bluesky_payload
from ingestion.sources.bluesky_filters import Filters
from ingestion.sources.bluesky_payload import Account, Commit, Identity, Message
from ingestion.sources.bluesky_resume import Position

# So many names, deleted posts and deleted accounts are remembered, the latest.
HANDLES = 50_000
DELETED_POSTS = 10_000
DELETED_ACCOUNTS = 10_000

# Gone for good, or taken away by the host: to be forgotten. `deactivated` and `suspended` pass,
# often within days, and what is forgotten cannot be had back.
GONE = frozenset({"deleted", "takendown"})

DELETIONS_A_BATCH = 500
DELETION_SECONDS = 0.5
CHECKPOINT_SECONDS = 1.0
HEARTBEAT_SECONDS = 2.0


class Recent(OrderedDict[str, str]):
    """The latest so many entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: str, value: str = "") -> None:
        # In this order it is safe beside another thread's calls.
        self.pop(key, None)
        self[key] = value
        if len(self) > self._limit:
            self.popitem(last=False)


class Interpreter:
    """Remembers, across connections, who is called what and what is gone already.

    A replay that turns live may deliver a deletion before the post; the post must not follow.
    """

    def __init__(self) -> None:
        self._handles = Recent(HANDLES)
        self._gone = Recent(DELETED_POSTS)
        self._gone_accounts = Recent(DELETED_ACCOUNTS)

    def events(
        self, message: Message, filters: Filters | None
    ) -> Iterator[IncomingPost | PostDeleted | AuthorDeleted]:
        """What to do about a message; without filters every post is wanted. Raises BadPost."""
        if isinstance(message, Commit):
            yield from self._commit(message, filters)
        elif isinstance(message, Account):
            yield from self._account(message)
        elif isinstance(message, Identity) and message.handle:
            self._handles.put(message.did, message.handle)

    def _commit(
        self, commit: Commit, filters: Filters | None
    ) -> Iterator[IncomingPost | PostDeleted]:
        if commit.operation == "delete":
            self._gone.put(commit.uri)
            yield PostDeleted((commit.uri,))
            return
        text = bluesky_payload.text_of(commit.record)
        # Pictures without words have no sentiment to read.
        if not text.strip() or commit.did in self._gone_accounts or commit.uri in self._gone:
            return
        handle = self._handles.get(commit.did, "")
        streams: frozenset[int] = frozenset()
        if filters is not None:
            languages = bluesky_payload.languages_of(commit.record)
            streams = filters.matching(text, handle, commit.did, languages)
            if not streams:
                return
        yield bluesky_payload.post(commit, username=handle, stream_ids=streams)

    def _account(self, account: Account) -> Iterator[AuthorDeleted]:
        if account.is_active:
            self._gone_accounts.pop(account.did, None)
        elif account.status in GONE:
            self._gone_accounts.put(account.did)
            self._handles.pop(account.did, None)
            yield AuthorDeleted(account.did)


class Outbox:
    """Collects what need not be said at once: deletions, the position, that all is well."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self._deleted: list[str] = []
        self._deleted_since = 0.0
        self._is_unsaved = False
        self._saved_at = self._spoke_at = time.monotonic()

    def put(self, event: Event, now: float) -> Iterator[Event]:
        """The event, unless it can wait."""
        if not isinstance(event, PostDeleted):
            self._spoke_at = now
            yield event
            return
        if not self._deleted:
            self._deleted_since = now
        self._deleted += event.external_ids

    def reached(self, position: Position) -> None:
        """Everything up to here has been put; the latest position counts."""
        if self.position is None or position.time_us >= self.position.time_us:
            self.position = position
            self._is_unsaved = True

    def due(self, now: float, *, is_idle: bool, is_alive: bool) -> Iterator[Event]:
        """What has waited long enough; where nothing else comes, whatever waits."""
        is_time = is_idle or now - self._saved_at >= CHECKPOINT_SECONDS
        if self._is_unsaved and is_time:
            yield from self.flush(now)
        elif self._deleted and (
            len(self._deleted) >= DELETIONS_A_BATCH or now - self._deleted_since >= DELETION_SECONDS
        ):
            yield self._deletions(now)
        elif is_alive and now - self._spoke_at >= HEARTBEAT_SECONDS:
            self._spoke_at = now
            yield Heartbeat()

    def flush(self, now: float) -> Iterator[Event]:
        """Everything that waits. The position comes last: what it covers has been said."""
        if self._deleted:
            yield self._deletions(now)
        if self._is_unsaved:
            self._is_unsaved = False
            self._saved_at = self._spoke_at = now
            yield Checkpoint(str(self.position))

    def _deletions(self, now: float) -> PostDeleted:
        deleted, self._deleted = tuple(self._deleted), []
        self._spoke_at = now
        return PostDeleted(deleted)
