"""What is known of one feed between two polls, and across restarts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingestion.exceptions import RateLimited, SourceError
from ingestion.sources.rss_entries import Document, Entry

# Of so many of a feed's entries a restart remembers which version it had.
REMEMBERED = 50
MAX_VALIDATOR = 512
# A failing feed is asked ever more rarely, up to this; a ttl counts up to this as well.
MAX_WAIT_SECONDS = 3600.0
_ROW = struct.Struct(">III")


@dataclass(slots=True)
class Feed:
    """One feed. `known` maps an entry to its text and time of change: as many as it lists."""

    url: str
    etag: str = ""
    modified: str = ""
    ttl_seconds: float = 0.0
    retry_at: float = 0.0
    known: dict[int, tuple[int, int]] = field(default_factory=dict)
    failures: int = 0
    error: str = ""
    due: float = 0.0
    is_polled: bool = False
    may_lack: bool = False

    def headers(self) -> dict[str, str]:
        """Ask for the document only if it has changed."""
        conditions = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in conditions.items() if value}

    def forget(self) -> None:
        """Deliver all that it lists once more; a wait that the server asked for stands."""
        self.known, self.etag, self.modified = {}, "", ""
        self.due = self.retry_at

    def succeed(
        self, headers: Mapping[str, str], document: Document | None, poll_seconds: float
    ) -> None:
        """Asked again after `poll_seconds`, or later where the feed says how long it stays so."""
        self.failures, self.error, self.retry_at = 0, "", 0.0
        if document is not None:
            self._note_validators(headers)
            self.ttl_seconds = document.ttl_seconds
        wait = max(poll_seconds, min(self.ttl_seconds, MAX_WAIT_SECONDS))
        self.due = time.time() + wait * random.uniform(0.95, 1.05)

    def fail(self, error: SourceError | None, poll_seconds: float) -> None:
        """Asked again ever later, and not before the time that the server names."""
        self.error = str(error)
        wait = min(poll_seconds * 2 ** min(self.failures, 10), max(MAX_WAIT_SECONDS, poll_seconds))
        self.failures += 1
        self.due = time.time() + wait * random.uniform(0.95, 1.05)
        if isinstance(error, RateLimited) and error.retry_at is not None:
            self.retry_at = error.retry_at
            self.due = max(self.due, error.retry_at)

    def _note_validators(self, headers: Mapping[str, str]) -> None:
        etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        self.etag = etag if len(etag) <= MAX_VALIDATOR else ""
        self.modified = modified if len(modified) <= MAX_VALIDATOR else ""

    def news(
        self, entries: Iterable[Entry], now: datetime
    ) -> Iterator[tuple[Entry, datetime | None]]:
        """New entries, and changed ones with the time of the change; oldest first."""
        before, self.known = self.known, {}
        fresh: list[tuple[Entry, datetime | None]] = []
        for entry in entries:
            key = _short(entry.external_id)
            if key in self.known:
                continue
            row = self.known[key] = _short(entry.full_text), entry.updated
            if key not in before:
                fresh.append((entry, None))
            elif before[key][0] != row[0]:
                fresh.append((entry, _edited_at(entry, before[key][1], now)))
        # Nothing that it listed the last time is there any more: more may have come and gone.
        self.may_lack = bool(before and self.known) and before.keys().isdisjoint(self.known)
        yield from reversed(fresh)

    def as_json(self) -> dict[str, Any]:
        rows = [_ROW.pack(key, *row) for key, row in list(self.known.items())[:REMEMBERED]]
        values = {
            "e": self.etag,
            "m": self.modified,
            "r": round(self.retry_at),
            "k": base64.b64encode(b"".join(rows)).decode(),
        }
        return {name: value for name, value in values.items() if value}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where `as_json` was written; raises ValueError or TypeError for other data."""
        rows = base64.b64decode(str(saved.get("k", "")), validate=True)
        self.known = {key: (text, changed) for key, text, changed in _ROW.iter_unpack(rows)}
        self.etag, self.modified = str(saved.get("e", "")), str(saved.get("m", ""))
        self.retry_at = self.due = float(saved.get("r", 0))


def _edited_at(entry: Entry, changed_before: int, now: datetime) -> datetime:
    """The feed's own word when it is a new one: it stays the same when the edit comes twice."""
    if entry.updated > changed_before:
        return datetime.fromtimestamp(entry.updated, UTC)
    return now


def write_cursor(feeds: Iterable[Feed]) -> str:
    """All that a restart needs, as compact JSON."""
    states = {_key(feed.url): feed.as_json() for feed in feeds}
    return json.dumps(states, separators=(",", ":"))


def read_cursor(cursor: str, feeds: Iterable[Feed]) -> None:
    """Restore the feeds that the cursor knows; one that cannot be read is a new beginning."""
    try:
        states = json.loads(cursor or "{}")
        for feed in feeds:
            feed.restore(states.get(_key(feed.url), {}))
    except (ValueError, TypeError, AttributeError, struct.error, binascii.Error):
        for feed in feeds:
            feed.known, feed.etag, feed.modified, feed.retry_at = {}, "", "", 0.0


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _short(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest)
