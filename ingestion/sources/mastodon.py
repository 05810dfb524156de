"""Mastodon's public and hashtag timelines. The only module that imports Mastodon.py.

Mastodon.py talks: it knows the routes, parameters and where an instance streams. Its stream reads
byte by byte, ends at the first event that it cannot read, and tells neither status codes nor
stalls; its requests are unbounded. So the session and the listener it is given are ours.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from mastodon import Mastodon
from mastodon.errors import MastodonError, MastodonNetworkError
from mastodon.streaming import StreamListener

from ingestion.events import CaughtUp, Checkpoint, Event, malformed
from ingestion.exceptions import (
    BadPost,
    NetworkFault,
    NotConfigured,
    RateLimited,
    SourceError,
    Stalled,
    Unavailable,
)
from ingestion.models import Source, Stream
from ingestion.sources import (
    Followed,
    Resume,
    mastodon_history,
    mastodon_payload,
    mastodon_positions,
    mastodon_problems,
    mastodon_query,
)
from ingestion.sources.mastodon_connection import Connection, Listener
from ingestion.sources.mastodon_http import CALL_SECONDS, Session, brief, chunks
from ingestion.sources.mastodon_payload import Status
from ingestion.sources.mastodon_query import LOCAL, PUBLIC, Plan
from ingestion.sources.mastodon_sse import Cutter

_Json = dict[str, Any]

# Mastodon says `:thump` every 15 s.
STALL_SECONDS = 30.0
PAGE = 40
# Older instances look up no more at once.
LOOK_UP = 20


class _Reader(StreamListener):
    """Reads one stream for a listener; raises Stalled or NetworkFault, returns at a clean end."""

    def __init__(self, listener: Listener, stall_seconds: float) -> None:
        self._listener = listener
        self._stall_seconds = stall_seconds

    def handle_stream(self, response: requests.Response) -> None:
        """Mastodon.py calls this once the stream stands."""

        def stop() -> None:
            # It may have ended by itself in this instant.
            with suppress(ValueError, RuntimeError, OSError):
                response.raw.shutdown()

        moment = mastodon_problems.server_time(response.headers) or datetime.now(UTC)
        self._listener.opened(moment, stop)
        try:
            self._read(response)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise self._stalled() from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NetworkFault(
                f"The connection of {self._listener.timeline} broke: {brief(error)}"
            ) from error

    def _read(self, response: requests.Response) -> None:
        cutter = Cutter()
        lines, heard = 0, time.monotonic()
        for chunk in chunks(response):
            for message in cutter.feed(chunk):
                self._listener.heard(message)
            if cutter.lines > lines:
                lines, heard = cutter.lines, time.monotonic()
            elif time.monotonic() - heard > self._stall_seconds:
                # A line that only trickles in is a stall too.
                raise self._stalled()

    def _stalled(self) -> Stalled:
        return Stalled(f"{self._listener.timeline} was silent for {self._stall_seconds:.0f} s")


class MastodonClient:
    """One instance, as one user. Every call raises SourceError and has a timeout."""

    def __init__(self, base_url: str, token: str, stall_seconds: float = STALL_SECONDS) -> None:
        self.host = urlsplit(base_url).netloc.rpartition("@")[2].lower()
        self._stall_seconds = stall_seconds
        self._session = Session()
        self._api = Mastodon(
            api_base_url=base_url,
            access_token=token or None,
            request_timeout=CALL_SECONDS,
            ratelimit_method="throw",
            session=self._session,
            user_agent="live-sentiment",
        )

    def prepare(self) -> None:
        """Ask where the instance streams. Mastodon.py would swallow a failure, and guess."""
        try:
            self._api.retrieve_mastodon_version(fail_hard=True)
        except (MastodonError, LookupError, ValueError, TypeError, AttributeError) as error:
            # What is missing or has an odd version streams at its own address.
            cause = _source_error(error)
            if cause is not None and not isinstance(cause, mastodon_problems.NotThere):
                raise cause from error

    def listen(self, listener: Listener) -> None:
        """Read a timeline until it ends; returns when the server has closed it."""
        reader, timeline = _Reader(listener, self._stall_seconds), listener.timeline
        if timeline in {PUBLIC, LOCAL}:
            self._call(
                self._api.stream_public,
                reader,
                timeout=self._stall_seconds,
                local=timeline == LOCAL,
            )
        else:
            self._call(
                self._api.stream_hashtag,
                timeline.removeprefix("#"),
                reader,
                timeout=self._stall_seconds,
            )

    def page(self, timeline: str, after: str) -> list[_Json]:
        """The statuses after this id, oldest first; none when there are no more."""
        return self._timeline(timeline, min_id=after, limit=PAGE)[::-1]

    def newest(self, timeline: str) -> str:
        """The id of the newest status; "" where there is none."""
        found = self._timeline(timeline, limit=1)
        return str(found[0]["id"]) if found else ""

    def missing(self, ids: Sequence[str]) -> set[str]:
        """Those of the statuses that nobody is shown any more."""
        shown = {str(item["id"]) for item in self._list(self._api.statuses, list(ids))}
        # A list leaves out what this account has blocked or muted, too.
        return {identity for identity in ids if identity not in shown and self._is_gone(identity)}

    def _is_gone(self, identity: str) -> bool:
        try:
            self._ask(self._api.status, identity)
        except mastodon_problems.NotThere:
            return True
        return False

    def close(self) -> None:
        self._session.close()

    def _timeline(self, timeline: str, **options: Any) -> list[_Json]:
        if timeline in {PUBLIC, LOCAL}:
            return self._list(self._api.timeline_public, local=timeline == LOCAL, **options)
        return self._list(self._api.timeline_hashtag, timeline.removeprefix("#"), **options)

    def _list(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[_Json]:
        answer = self._ask(function, *args, **kwargs)
        if not isinstance(answer, list):
            raise Unavailable("Mastodon answered with something unexpected")
        items = [item for item in answer if isinstance(item, dict) and item.get("id")]
        if answer and not items:
            raise Unavailable("Mastodon answered with something unexpected")
        return items

    def _ask(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The answer as plain JSON; Mastodon.py makes objects of it."""
        if self._session.closed_until > time.time():
            raise RateLimited("Mastodon's rate window is used up", self._session.closed_until)
        answer = self._call(function, *args, **kwargs)
        return json.loads(json.dumps(answer, default=_plain))

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except SourceError:
            raise
        except MastodonNetworkError as error:
            raise _source_error(error) or NetworkFault(f"Mastodon: {error}"[:300]) from error
        except MastodonError as error:
            raise Unavailable(
                f"Mastodon answered with something unexpected ({type(error).__name__})"
            ) from error


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def _source_error(error: BaseException | None) -> SourceError | None:
    """Our own error, of which Mastodon.py has made one of its."""
    while error is not None:
        if isinstance(error, SourceError):
            return error
        error = error.__cause__ or error.__context__
    return None


class MastodonSource:
    """All active Mastodon streams, over one connection for each timeline that they name."""

    name: str = Source.MASTODON
    is_paid = False

    def __init__(
        self, base_url: str, token: str = "", *, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._new_client = lambda: MastodonClient(base_url, token, stall_seconds)
        self._client = self._new_client()
        self._plan = Plan()
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Read the timelines of these streams; asks nobody."""
        self._plan = mastodon_query.plan(streams)
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.follow()
        return Followed(refused=dict(self._plan.refused))

    def connect(self, resume: Resume) -> Iterator[Event]:
        """Every timeline, once. What came since the cursor follows by REST, beside what is new."""
        # Where to stream is remembered by the client, even if it has changed or was a guess.
        client = self._new_client()
        connection = Connection(client, lambda: self._plan, resume.cursor)
        with self._lock:
            self._connection = connection
        try:
            yield from connection.events()
        finally:
            with self._lock:
                # An abandoned generator may end after the next one has begun.
                if self._connection is connection:
                    self._connection = None
            client.close()

    def disconnect(self) -> None:
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.close()

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one server-sent event, or the JSON of one status, says."""
        for said in mastodon_payload.read(message, self._client.host):
            if not isinstance(said, Status):
                yield said
            elif (post := self._plan.of_anywhere(said)) is not None:
                yield post

    def backfill(
        self, streams: Sequence[Stream], start: datetime, end: datetime, progress: str
    ) -> Iterator[Event]:
        """What the streams' timelines held between two moments, by REST."""
        plan = mastodon_query.plan(streams)
        done = _progress(progress)
        notes: list[str] = []
        for timeline in sorted(plan.timelines):
            begin = done.get(timeline) or self._begin(timeline, start)
            if not begin:
                notes.append(f"{timeline}: the ids of this instance do not tell the time")
                continue
            for page in mastodon_history.walk(self._client, timeline, begin):
                yield from self._posts(page, plan)
                done[timeline] = page.newest
                yield Checkpoint(json.dumps(done))
                if mastodon_history.is_after(page, end):
                    break
        yield CaughtUp("REST", not notes, "; ".join(notes)[:1000])

    def _begin(self, timeline: str, start: datetime) -> str:
        """The id to begin behind; "" where ids are not made of the time."""
        newest = self._client.newest(timeline) or mastodon_positions.at(start)
        known = mastodon_positions.moment(newest) is not None
        return mastodon_positions.at(start) if known else ""

    def _posts(self, page: mastodon_history.Page, plan: Plan) -> Iterator[Event]:
        for item in page.statuses:
            try:
                status = mastodon_payload.status(item, self._client.host)
            except BadPost as error:
                yield malformed(str(error), json.dumps(item).encode())
                continue
            if (post := plan.of_timeline(status, page.timeline)) is not None:
                yield post

    def validate(self, stream: Stream) -> str:
        """What is wrong with a query; asks nobody."""
        return dict(mastodon_query.plan([stream]).refused).get(stream.pk, "")

    def gone(self, external_ids: Sequence[str]) -> set[str]:
        """Those that the instance does not show any more; others' it does not judge."""
        known: dict[str, list[str]] = {}
        for external_id in external_ids:
            host, _, identity = external_id.partition("@")[0].rpartition("/")
            if host == self._client.host:
                known.setdefault(identity, []).append(external_id)
        missing: set[str] = set()
        ids = list(known)
        for start in range(0, len(ids), LOOK_UP):
            missing |= self._client.missing(ids[start : start + LOOK_UP])
        return {external_id for identity in missing for external_id in known[identity]}


def _progress(text: str) -> dict[str, str]:
    with suppress(ValueError):
        said = json.loads(text)
        if isinstance(said, Mapping):
            return {str(key): str(value) for key, value in said.items()}
    return {}


def from_settings() -> MastodonSource:
    """Raises NotConfigured."""
    base_url = settings.MASTODON_BASE_URL
    if not base_url:
        raise NotConfigured(
            "Mastodon needs an instance: set MASTODON_BASE_URL, as https://mastodon.social"
        )
    if "://" not in base_url:
        base_url = f"https://{base_url}"
    if not _is_address(base_url):
        raise NotConfigured("MASTODON_BASE_URL is no address: set it as https://mastodon.social")
    return MastodonSource(base_url, settings.MASTODON_ACCESS_TOKEN)


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        address = urlsplit(text)
        return address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    return False
