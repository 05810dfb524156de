"""Bluesky's Jetstream, versions 1 and 2: free, and without an account.

It sends every public post; what nobody asks for is dropped here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.conf import settings

from ingestion import queries
from ingestion.events import CaughtUp, Connected, Event, malformed
from ingestion.exceptions import (
    BadPost,
    BadQuery,
    Closed,
    NeedsAttention,
    NotConfigured,
    NothingFollowed,
    SourceError,
    Unavailable,
)
from ingestion.models import Source, Stream
from ingestion.sources import Followed, Resume, bluesky_payload
from ingestion.sources.bluesky_events import Interpreter, Outbox
from ingestion.sources.bluesky_filters import Filters
from ingestion.sources.bluesky_hosts import PATHS, PUBLIC_HOSTS, Hosts, base_address, is_address
from ingestion.sources.bluesky_payload import COLLECTION, Failure, Info, Moment
from ingestion.sources.bluesky_resume import Position, Replay, start
from ingestion.sources.bluesky_socket import MAX_MESSAGE, CursorRefused, Socket

# The firehose is never silent so long, and a host that lives answers a ping.
STALL_SECONDS = 30.0
# How long nothing old, or nothing at all, comes before a replay is taken to be over.
SETTLE_SECONDS = 1.0
QUIET_SECONDS = 5.0
# The number, then the time; after that without either.
MAX_REFUSALS = 2


class BlueskySource:
    """The posts of the whole network that active streams ask for."""

    name: str = Source.BLUESKY
    is_paid = False

    def __init__(
        self,
        hosts: Sequence[str],
        version: int = 1,
        *,
        stall_seconds: float = STALL_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self.version = version
        self.stall_seconds = stall_seconds
        self.settle_seconds = settle_seconds
        self.quiet_seconds = quiet_seconds
        self.filters: Filters | None = None
        self.interpreter = Interpreter()
        self.is_stopped = False
        self.socket: Socket | None = None
        self._hosts = Hosts(hosts)

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Judge posts by these streams from now on, on the open connection too."""
        self.filters = filters = Filters(streams)
        return Followed(refused=filters.refused)

    def validate(self, stream: Stream) -> str:
        """What is wrong with a query; asks nobody."""
        try:
            queries.parse(stream.query)
        except BadQuery as error:
            return str(error)
        return ""

    def connect(self, resume: Resume) -> Iterator[Event]:
        """Jetstream at the host that failed least recently, going on at the cursor."""
        self.is_stopped = False
        host = self._hosts.choose()
        session = _Session(self, host, resume)
        try:
            yield from session.events()
            yield from session.outbox.flush(time.monotonic())
        except SourceError as error:
            yield from session.outbox.flush(time.monotonic())
            if not self.is_stopped:
                self._judge(host, error)
                raise

    def disconnect(self) -> None:
        self.is_stopped = True
        if (socket := self.socket) is not None:
            socket.close()

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one message says, to the streams that are followed; before that, to all."""
        try:
            yield from self.interpreter.events(bluesky_payload.read(message), self.filters)
        except BadPost as error:
            yield malformed(str(error), message)

    def connected(self) -> None:
        """Note that a host serves us."""
        self._hosts.accepted()

    def _judge(self, host: str, error: SourceError) -> None:
        """Turn to another host next; one host's refusal needs nobody while there are others."""
        if isinstance(error, NothingFollowed):
            return
        self._hosts.failed(host, time.monotonic())
        if isinstance(error, NeedsAttention) and not self._hosts.refused(host):
            raise Unavailable(str(error)) from error


class _Session:
    """One call of `connect`: usually one websocket, several when the cursor is refused."""

    def __init__(self, source: BlueskySource, host: str, resume: Resume) -> None:
        now = datetime.now(UTC)
        self.outbox = Outbox()
        self._source = source
        self._host = host
        self._position = start(resume.cursor, resume.covered_until, now)
        self._by_number = True
        self._replay: Replay | None = None
        self._lost = ""
        self._latest: Position | None = None
        self._dids: frozenset[str] | None = None
        self._is_greeted = False
        self._refusals = 0
        if self._position is not None:
            since = Moment(self._position.time_us).time
            self._replay = Replay(
                max(since, resume.covered_until or since),
                now,
                source.settle_seconds,
                source.quiet_seconds,
            )

    def events(self) -> Iterator[Event]:
        """What the host says, until `disconnect`. Raises SourceError."""
        while not self._source.is_stopped:
            try:
                yield from self._converse()
            except CursorRefused as error:
                self._ask_otherwise(str(error))

    def _converse(self) -> Iterator[Event]:
        """One websocket, until it has to be another one."""
        self._dids = self._filters().dids
        socket = Socket(
            self._url(),
            self._host,
            self._source.stall_seconds,
            may_be_quiet=self._dids is not None,
        )
        self._source.socket = socket
        if self._source.is_stopped:
            return
        with socket:
            self._source.connected()
            yield from self._greet()
            while not self._source.is_stopped and self._gets_all():
                yield from self._hear(socket)
        # Streams ask for more authors: they are told of from where this connection ends.
        yield from self.outbox.flush(time.monotonic())
        self._position = self.outbox.position or self._position
        self._by_number = True

    def _filters(self) -> Filters:
        filters = self._source.filters
        if not filters:
            raise NothingFollowed("Bluesky has nothing to deliver: see the streams' errors")
        return filters

    def _gets_all(self) -> bool:
        """Whether this connection brings every author that streams ask for."""
        wanted = self._filters().dids
        return self._dids is None or (wanted is not None and wanted <= self._dids)

    def _url(self) -> str:
        dids = sorted(self._dids or ())
        if self._source.version == 1:
            query = [("wantedCollections", COLLECTION), *(("wantedDids", did) for did in dids)]
        else:
            # Identities tell what authors are called, accounts what is to be forgotten.
            query = [("kinds", kind) for kind in ("commit", "account", "identity")]
            query += [("collections", COLLECTION), *(("dids", did) for did in dids)]
        query.append(("maxMessageSizeBytes", str(MAX_MESSAGE)))
        if cursor := self._cursor():
            query.append(("cursor", cursor))
        return f"{base_address(self._host)}{PATHS[self._source.version]}?{urlencode(query)}"

    def _cursor(self) -> str:
        if self._position is None:
            return ""
        number = ""
        if self._by_number and self._source.version == 2:
            number = self._position.number(self._host)
        return number or self._position.rewound()

    def _ask_otherwise(self, why: str) -> None:
        """A number may be too old, or another archive's; the time finds what is still kept."""
        self._refusals += 1
        if self._position is None or self._refusals > MAX_REFUSALS:
            raise Unavailable(f"{self._host} accepts no cursor ({why})")
        if self._by_number and self._position is not None and self._position.seq:
            self._by_number = False
            return
        self._lost = f"the host cannot go back to where we were ({why})"
        self._position = None

    def _greet(self) -> Iterator[Event]:
        if not self._is_greeted:
            self._is_greeted = True
            yield Connected(replays=self._replay is not None)
        if self._replay is not None:
            self._replay.begin(time.monotonic())
            if self._lost:
                self._replay = None
                yield CaughtUp("started live", is_complete=False, note=self._lost)
        if self._position is None:
            # Should this connection have to be another before anything came.
            self._position = Position.at(datetime.now(UTC))

    def _hear(self, socket: Socket) -> Iterator[Event]:
        message = socket.receive()
        now = time.monotonic()
        if message is not None:
            yield from self._take(message, now)
        if self._replay is not None and self._replay.ends(now):
            yield from self._catch_up(now)
        is_alive = socket.has_heard()
        yield from self.outbox.due(now, is_idle=message is None, is_alive=is_alive)

    def _take(self, message: bytes, now: float) -> Iterator[Event]:
        filters = self._filters()
        moment = None if filters.may_match(message) else bluesky_payload.glance(message)
        if moment is None:
            try:
                parsed = bluesky_payload.read(message)
            except BadPost as error:
                yield from self.outbox.put(malformed(str(error), message), now)
                return
            if isinstance(parsed, Failure):
                raise _failure(self._host, parsed)
            if isinstance(parsed, Info):
                self._inform(parsed)
                return
            try:
                for event in self._source.interpreter.events(parsed, filters):
                    yield from self.outbox.put(event, now)
            except BadPost as error:
                yield from self.outbox.put(malformed(str(error), message), now)
            moment = parsed.at
        if moment is not None:
            self._reached(moment, now)

    def _inform(self, info: Info) -> None:
        if info.name == "FutureCursor":
            raise CursorRefused(info.message)
        if info.name == "OutdatedCursor" and self._replay is not None:
            self._replay.is_clamped = True

    def _reached(self, moment: Moment, now: float) -> None:
        self._latest = Position(moment.time_us, moment.seq, self._host if moment.seq else "")
        if self._replay is not None:
            self._replay.heard(moment, now)
            # A live event that overtakes the replay must not take the cursor along.
            if not self._replay.is_old(moment):
                return
        self.outbox.reached(self._latest)

    def _catch_up(self, now: float) -> Iterator[Event]:
        replay, self._replay = self._replay, None
        if self._latest is not None:
            self.outbox.reached(self._latest)
        yield from self.outbox.flush(now)
        if replay is not None:
            note = replay.missing(is_filtered=self._dids is not None)
            yield CaughtUp("cursor replay", is_complete=not note, note=note)


def _failure(host: str, failure: Failure) -> SourceError:
    if failure.name == "ConsumerTooSlow":
        return Closed(f"{host} ended the connection: we were too slow to take what it sent")
    return Unavailable(f"{host} ended the connection: {failure.name} {failure.message[:300]}")


def from_settings() -> BlueskySource:
    """Works without any setting. Raises NotConfigured."""
    version = settings.BLUESKY_JETSTREAM_VERSION
    hosts = settings.BLUESKY_JETSTREAM_HOSTS or PUBLIC_HOSTS[version]
    for host in hosts:
        if not is_address(host):
            raise NotConfigured(
                f"BLUESKY_JETSTREAM_HOSTS: {host!r} is no host; give names, as "
                "jetstream1.us-east.bsky.network, or addresses, as ws://127.0.0.1:6008"
            )
    return BlueskySource(hosts, version)
