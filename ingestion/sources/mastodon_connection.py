"""One connection to Mastodon: many timelines as one stream of events, and what was missed.

Each timeline has a thread that listens; one more asks the REST API for what came before. All of
them hand over through one bounded queue to the caller's thread, which alone knows how far each
timeline has been delivered.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    Heartbeat,
    Malformed,
    malformed,
)
from ingestion.exceptions import BadPost, Closed, NothingFollowed
from ingestion.sources import mastodon_payload
from ingestion.sources.mastodon_history import CaughtUpWith, History, Page
from ingestion.sources.mastodon_payload import Status
from ingestion.sources.mastodon_positions import Positions
from ingestion.sources.mastodon_query import Plan
from ingestion.sources.mastodon_sse import COMMENT, Oversized

# Messages that wait for the caller; then the sockets' buffers hold on.
BUFFER = 500
CHECKPOINT_SECONDS = 1.0
# At the end, for a thread to hand over what it has read.
LINGER_SECONDS = 2.0
NOTHING = "no stream names a timeline of Mastodon that could be read"


class Client(Protocol):
    """What a connection needs of Mastodon; mastodon.py has it."""

    host: str

    def prepare(self) -> None:
        """Find out where the streams are. Raises SourceError."""

    def listen(self, listener: Listener) -> None:
        """Read the listener's timeline until it ends. Raises SourceError."""

    def page(self, timeline: str, after: str) -> Sequence[Mapping[str, Any]]:
        """Statuses after this id, oldest first; none when there are no more."""

    def newest(self, timeline: str) -> str:
        """The id of the newest status; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A timeline is being listened to, since this moment of the server's clock."""

    timeline: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of a timeline."""

    timeline: str
    message: bytes | Oversized


@dataclass(frozen=True, slots=True)
class Broken:
    """A timeline cannot be listened to any longer."""

    error: Exception


class Woken:
    """Something has changed that the caller's thread should look at."""


Item = Opened | Heard | Broken | Woken | Page | CaughtUpWith


class Listener:
    """One timeline's reading end; the client calls it from the timeline's thread."""

    def __init__(self, timeline: str, connection: Connection) -> None:
        self.timeline = timeline
        self.is_reading = False
        self.is_stopped = False
        self._connection = connection
        self._stop: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def opened(self, moment: datetime, stop: Callable[[], None]) -> None:
        """The server has accepted; returns when it is time to read. `stop` ends the reading."""
        with self._lock:
            self._stop = stop
            is_stopped = self.is_stopped
        if is_stopped:
            stop()
            return
        self.is_reading = True
        self._connection.put(Opened(self.timeline, moment))
        self._connection.wait_for_start()

    def heard(self, message: bytes | Oversized) -> None:
        self._connection.put(Heard(self.timeline, message))

    def stop(self) -> None:
        """End the reading at once, from any thread."""
        with self._lock:
            self.is_stopped = True
            stop = self._stop
        if stop is not None:
            stop()


class Connection:
    """Opens the plan's timelines and yields what they say, until one breaks or `close`."""

    def __init__(self, client: Client, plan: Callable[[], Plan], cursor: str) -> None:
        self._client = client
        self._plan = plan
        self._positions = Positions(client.host, cursor, plan().timelines)
        self._queue: queue.Queue[Item] = queue.Queue(BUFFER)
        self._history = History(client, self.put, self._is_read)
        self._listeners: dict[str, Listener] = {}
        # Closed ones too, for they may still hold something.
        self._readers: list[Listener] = []
        self._lock = threading.Lock()
        self._is_prepared = False
        self._reading = threading.Event()
        self._closed = threading.Event()
        self._abandoned = threading.Event()
        self._is_dirty = False
        self._checkpointed = time.monotonic()

    # --- from any thread

    def close(self) -> None:
        """End it at once; what has been read is still handed over."""
        self._closed.set()
        self._reading.set()
        self._history.stop()
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener.stop()
        self._wake()

    def follow(self) -> None:
        """Open what the plan has now, close what it has no longer."""
        wanted = self._plan().timelines
        with self._lock:
            if not self._is_prepared or self._closed.is_set():
                return
            gone = [self._listeners.pop(name) for name in set(self._listeners) - wanted]
            for name in sorted(wanted - set(self._listeners)):
                self._listen(name)
        for listener in gone:
            listener.stop()
        if wanted:
            self._wake()
        else:
            self.put(Broken(NothingFollowed(NOTHING)))

    def put(self, item: Item) -> None:
        """Hand over; waits while there is too much already."""
        while not self._abandoned.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def wait_for_start(self) -> None:
        self._reading.wait()

    def _wake(self) -> None:
        # Where the queue is full, its reader is awake.
        try:
            self._queue.put_nowait(Woken())
        except queue.Full:
            return

    def _is_read(self, timeline: str) -> bool:
        return timeline in self._listeners and not self._closed.is_set()

    # --- threads

    def _listen(self, timeline: str) -> None:
        listener = self._listeners[timeline] = Listener(timeline, self)
        self._readers = [reader for reader in self._readers if reader.is_reading] + [listener]
        _start(self._run, f"mastodon {timeline}", listener)

    def _run(self, listener: Listener) -> None:
        try:
            self._client.listen(listener)
            error: Exception = Closed(f"Mastodon closed the connection of {listener.timeline}")
        except Exception as caught:
            # Not swallowed: the caller's thread raises it.
            error = caught
        # Our own end looks like a fault from here.
        if not listener.is_stopped:
            self.put(Broken(error))
        listener.is_reading = False

    def _open(self) -> None:
        """In a thread of its own, so that `close` need not wait for the network."""
        try:
            self._client.prepare()
        except Exception as caught:
            self.put(Broken(caught))
            return
        with self._lock:
            self._is_prepared = True
        self.follow()

    # --- in the caller's thread

    def events(self) -> Iterator[Event]:
        """The first is Connected. Raises what ended it; returns after `close`."""
        try:
            if not self._plan().timelines:
                raise NothingFollowed(NOTHING)
            _start(self._open, "mastodon opening")
            opened = self._wait_for_all()
            if self._closed.is_set():
                return
            self._positions.keep(opened)
            behind = self._positions.behind
            self._history.start(opened, behind)
            self._reading.set()
            yield Connected(replays=bool(behind))
            yield from self._until_broken(set(behind))
        finally:
            self.close()
            self._abandoned.set()

    def _wait_for_all(self) -> dict[str, datetime]:
        """Since when each timeline is open, once all are. Raises what keeps one from opening."""
        opened: dict[str, datetime] = {}
        while not self._closed.is_set() and not self._is_open(opened):
            item = self._queue.get()
            if isinstance(item, Broken):
                raise item.error
            if isinstance(item, Opened):
                opened[item.timeline] = item.moment
        return {name: opened[name] for name in self._plan().timelines if name in opened}

    def _is_open(self, opened: Mapping[str, datetime]) -> bool:
        with self._lock:
            return self._is_prepared and self._plan().timelines <= opened.keys()

    def _until_broken(self, behind: set[str]) -> Iterator[Event]:
        notes: list[str] = []
        is_behind = bool(behind)
        while not self._closed.is_set():
            item = self._queue.get()
            if isinstance(item, Broken):
                self.close()
                yield from self._rest()
                raise item.error
            yield from self._events_of(item)
            if isinstance(item, CaughtUpWith):
                behind.discard(item.timeline)
                notes += filter(None, [item.note])
            if is_behind and not behind:
                is_behind = False
                yield CaughtUp("REST", not notes, "; ".join(notes)[:1000])
            if self._is_dirty and time.monotonic() - self._checkpointed >= CHECKPOINT_SECONDS:
                yield self._checkpoint()
        yield from self._rest()

    def _rest(self) -> Iterator[Event]:
        """What the threads have read by now, after the end."""
        deadline = time.monotonic() + LINGER_SECONDS
        while True:
            try:
                item = self._queue.get(timeout=0.02)
            except queue.Empty:
                if time.monotonic() > deadline or not self._is_any_reading():
                    break
                continue
            yield from self._events_of(item)
        if self._is_dirty:
            yield self._checkpoint()

    def _is_any_reading(self) -> bool:
        with self._lock:
            return any(reader.is_reading for reader in self._readers)

    def _checkpoint(self) -> Event:
        self._is_dirty = False
        self._checkpointed = time.monotonic()
        return Checkpoint(self._positions.cursor())

    def _events_of(self, item: Item) -> Iterator[Event]:
        if isinstance(item, Heard):
            yield from self._said(item)
        elif isinstance(item, Page):
            yield from self._past(item)
        elif isinstance(item, CaughtUpWith):
            self._move(self._positions.caught_up, item.timeline, item.newest)
        elif isinstance(item, Opened):
            if not self._positions.knows(item.timeline):
                self._history.begin(item.timeline)
        elif isinstance(item, Woken):
            self._positions.keep(self._plan().timelines)
            self._is_dirty = True

    def _said(self, heard: Heard) -> Iterator[Event]:
        message = heard.message
        if message == COMMENT:
            yield Heartbeat()
        elif isinstance(message, Oversized):
            yield Malformed("an event that is too long", message.excerpt, message.size)
        else:
            for said in mastodon_payload.read(message, self._client.host):
                if isinstance(said, Status):
                    yield from self._wanted(said, heard.timeline)
                    self._move(self._positions.live, heard.timeline, said.id)
                else:
                    yield said

    def _past(self, page: Page) -> Iterator[Event]:
        for item in page.statuses:
            try:
                status = mastodon_payload.status(item, self._client.host)
            except BadPost as error:
                yield malformed(str(error), json.dumps(item).encode())
            else:
                yield from self._wanted(status, page.timeline)
        self._move(self._positions.replayed, page.timeline, page.newest)

    def _wanted(self, status: Status, timeline: str) -> Iterable[Event]:
        post = self._plan().of_timeline(status, timeline)
        return () if post is None else (post,)

    def _move(self, move: Callable[[str, str], None], timeline: str, identity: str) -> None:
        if timeline in self._plan().timelines:
            move(timeline, identity)
            self._is_dirty = True


def _start(target: Callable[..., None], name: str, *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, name=name, daemon=True).start()
