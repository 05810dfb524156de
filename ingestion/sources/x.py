"""X API v2's filtered stream. The only module that imports tweepy.

tweepy talks: it knows the routes, parameters and rules. Where its stream falls short
(reconnecting, bad lines, prompt stops, stalls, other hosts), its classes are extended here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import requests
import tweepy
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.utils import should_bypass_proxies

from ingestion.events import (
    Checkpoint,
    Connected,
    Event,
    Heartbeat,
    IncomingPost,
    PostDeleted,
    malformed,
)
from ingestion.exceptions import (
    BadPost,
    Closed,
    NetworkFault,
    NotConfigured,
    RateLimited,
    SourceError,
    Stalled,
    Unavailable,
)
from ingestion.models import Source, Stream
from ingestion.sources import Followed, Resume, x_payload, x_problems, x_rules

# The host that tweepy has built in.
HOST = "https://api.twitter.com"
CONNECT_SECONDS = 10.0
CALL_SECONDS = 20.0
# X sends a keep-alive at least every 20 s; 10 s more are grace.
STALL_SECONDS = 30.0
READ_SIZE = 65536
# No post comes near; a line without end must not fill the memory.
MAX_LINE = 1024 * 1024
MAX_PROBLEM = 65536
RULES_A_CALL = 100


class _Rerouted(HTTPAdapter):
    """Sends what is meant for tweepy's host to another, and lets no call wait for ever."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url.rstrip("/")

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        request.url = self._base_url + str(request.url).removeprefix(HOST)
        if should_bypass_proxies(request.url, no_proxy=None):
            proxies = {}
        timeout = timeout or (CONNECT_SECONDS, CALL_SECONDS)
        return super().send(request, stream, timeout, verify, cert, proxies)


class XClient(tweepy.StreamingClient):
    """tweepy's client, at any host, with one connection attempt a call and typed errors."""

    def __init__(self, bearer_token: str, base_url: str, stall_seconds: float) -> None:
        super().__init__(bearer_token, return_type=dict)
        self.session.mount(f"{HOST}/", _Rerouted(base_url))
        self._stall_seconds = stall_seconds
        self._response: requests.Response | None = None
        self._window: Mapping[str, str] = {}

    def rules(self) -> list[dict[str, Any]]:
        """Every rule of the account. Raises SourceError."""
        found: list[dict[str, Any]] = []
        params: dict[str, str] = {}
        while True:
            answer = self._call(
                self._make_request,
                "GET",
                "/2/tweets/search/stream/rules",
                params=params,
                endpoint_parameters=("pagination_token",),
            )
            found += answer.get("data") or []
            token = (answer.get("meta") or {}).get("next_token")
            if not token:
                return found
            params = {"pagination_token": str(token)}

    def add(self, streams: Sequence[Stream]) -> tuple[dict[int, str], dict[int, str]]:
        """Rule ids of streams, and why others were refused. Raises SourceError."""
        rule_ids: dict[int, str] = {}
        refused: dict[int, str] = {}
        for start in range(0, len(streams), RULES_A_CALL):
            part = streams[start : start + RULES_A_CALL]
            rules = [tweepy.StreamRule(x_rules.value(s), x_rules.tag(s)) for s in part]
            created, not_created = x_rules.read_answer(self._call(self.add_rules, rules), part)
            rule_ids |= created
            refused |= not_created
        return rule_ids, refused

    def delete(self, rule_ids: Sequence[str]) -> None:
        """Raises SourceError."""
        for start in range(0, len(rule_ids), RULES_A_CALL):
            self._call(self.delete_rules, rule_ids[start : start + RULES_A_CALL])

    def kill_connections(self) -> None:
        """End connections that an earlier process left standing. Raises SourceError."""
        self._call(self._make_request, "DELETE", "/2/connections/filtered_stream")

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            answer = function(*args, **kwargs)
        except tweepy.BadRequest as error:
            answer = _rule_errors(error.response)
            if answer is None:
                raise _refusal(error) from error
        except tweepy.HTTPException as error:
            raise _refusal(error) from error
        except requests.exceptions.JSONDecodeError as error:
            raise Unavailable("X answered with something that is not JSON") from error
        except requests.RequestException as error:
            raise NetworkFault(f"X cannot be reached: {_brief(error)}") from error
        if not isinstance(answer, dict):
            raise Unavailable("X answered with something unexpected")
        return answer

    def _connect(self, method: str, endpoint: str, **kwargs: Any) -> None:
        """One attempt; `filter` calls this. tweepy's own would retry in ways that X punishes."""
        self._wait_out_window()
        try:
            response = self.session.request(
                method,
                f"{HOST}/2/tweets/{endpoint}/stream",
                params=kwargs.get("params"),
                headers={
                    "Authorization": f"Bearer {self.bearer_token}",
                    "User-Agent": self.user_agent,
                },
                stream=True,
                timeout=(CONNECT_SECONDS, self._stall_seconds),
            )
        except requests.RequestException as error:
            raise NetworkFault(f"X cannot be reached: {_brief(error)}") from error
        self._window = response.headers
        if response.status_code != 200:
            with response:
                body = _read_problem(response)
            raise x_problems.failure(response.status_code, body, response.headers)
        self._response = response
        self.running = True

    def _wait_out_window(self) -> None:
        """The connect after the last one allowed would only be refused, and counted."""
        reset = x_problems.reset_time(self._window)
        if self._window.get("x-rate-limit-remaining") == "0" and reset and reset > time.time():
            raise RateLimited("X's connect window is used up", reset)

    def lines(self) -> Iterator[bytes]:
        """Whole lines of the open stream, without line ends; b"" is a keep-alive.

        Returns after `disconnect`; otherwise raises Closed, Stalled or NetworkFault.
        """
        response = self._response
        if response is None:
            return
        try:
            yield from self._split(response)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise self._stalled() from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # Our own disconnect looks like a fault from here.
            if self.running:
                raise NetworkFault(f"The connection to X broke: {_brief(error)}") from error
            return
        finally:
            response.close()
            stopped, self.running, self._response = not self.running, False, None
        if not stopped:
            raise Closed("X closed the connection")

    def _split(self, response: requests.Response) -> Iterator[bytes]:
        rest = b""
        heard = time.monotonic()
        for chunk in _chunks(response):
            *whole, rest = (rest + chunk).split(b"\n")
            if whole:
                heard = time.monotonic()
                yield from (line.rstrip(b"\r") for line in whole)
            elif time.monotonic() - heard > self._stall_seconds:
                # A line that only trickles in is a stall too.
                raise self._stalled()
            if len(rest) > MAX_LINE:
                raise NetworkFault(f"X sent a line of more than {MAX_LINE} bytes")
            if not self.running:
                return
        if rest:
            yield rest

    def _stalled(self) -> Stalled:
        return Stalled(f"X was silent for {self._stall_seconds:.0f} s")

    def disconnect(self) -> None:
        """Stop now: also wakes a reader that waits for the next byte."""
        super().disconnect()
        response = self._response
        if response is not None:
            # It may have ended by itself in this instant.
            with suppress(ValueError, RuntimeError, OSError):
                response.raw.shutdown()


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Bytes as they arrive. A proxy may have taken the chunked encoding off."""
    if response.raw.chunked:
        yield from response.raw.stream(READ_SIZE, decode_content=True)
        return
    while data := response.raw.read1(READ_SIZE, decode_content=True):
        yield data


def _read_problem(response: requests.Response) -> bytes:
    try:
        return bytes(response.raw.read(MAX_PROBLEM, decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError):
        # The status alone says enough.
        return b""


def _rule_errors(response: requests.Response) -> dict[str, Any] | None:
    """X reports refused rules under several statuses; the body tells."""
    with suppress(requests.exceptions.JSONDecodeError):
        answer = response.json()
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if isinstance(errors, list) and any("value" in error for error in errors):
            return dict(answer)
    return None


def _refusal(error: tweepy.HTTPException) -> SourceError:
    response = error.response
    return x_problems.failure(response.status_code, response.content, response.headers)


def _brief(error: Exception) -> str:
    """The innermost cause: the outer ones repeat it in many words."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {cause}"[:300]


class XSource:
    """All active X streams as rules of the one connection that X allows."""

    name: str = Source.X
    is_paid = True

    def __init__(
        self, bearer_token: str, base_url: str, *, stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._client = XClient(bearer_token, base_url, stall_seconds)
        self._streams: dict[str, int] = {}
        self._stopped = False

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Change the account's rules to these streams', by difference. Raises SourceError."""
        plan = x_rules.difference(self._client.rules(), streams)
        # First, because a stream may take over the query of one that goes.
        self._client.delete(plan.delete)
        added, refused = self._client.add(plan.add)
        rule_ids = plan.keep | added
        self._streams = {rule_id: stream for stream, rule_id in rule_ids.items()}
        return Followed(rule_ids, plan.refused | refused, plan.foreign)

    def connect(self, resume: Resume) -> Iterator[Event]:
        """The filtered stream, once. X resumes only for Enterprise."""
        try:
            self._client.filter(
                tweet_fields=x_payload.FIELDS,
                expansions=x_payload.EXPANSIONS,
                user_fields=x_payload.USER_FIELDS,
            )
        except x_problems.ConnectionTaken:
            # Where the endpoint is not available the connection ends by itself, later.
            with suppress(SourceError):
                self._client.kill_connections()
            raise
        if self._stopped:
            self._client.disconnect()
        yield Connected()
        newest = resume.cursor
        for line in self._client.lines():
            event = self._event(line)
            yield event
            if isinstance(event, IncomingPost) and _order(event.external_id) > _order(newest):
                newest = event.external_id
                yield Checkpoint(newest)

    def disconnect(self) -> None:
        self._stopped = True
        self._client.disconnect()

    def parse(self, message: bytes) -> Iterator[Event]:
        """What one line says."""
        yield self._event(message)

    def _event(self, line: bytes) -> Event:
        """What a line says. One that cannot be understood is an event, too, not an end."""
        if not line.strip():
            return Heartbeat()
        try:
            payload = json.loads(line)
        except (ValueError, RecursionError) as error:
            return malformed(f"not JSON: {error}", line)
        if not isinstance(payload, dict):
            return malformed("not an object", line)
        data = payload.get("data")
        if data is None:
            _raise_if_disconnected(payload)
            return malformed("neither a post nor a disconnect", line)
        if not isinstance(data, dict):
            return malformed("`data` is not an object", line)
        if isinstance(data.get("delete"), dict):
            return _deletion(data["delete"], line)
        includes = payload.get("includes")
        streams = self._stream_ids(payload.get("matching_rules"))
        try:
            return x_payload.post(data, includes if isinstance(includes, dict) else {}, streams)
        except BadPost as error:
            return malformed(str(error), line)

    def _stream_ids(self, rules: Any) -> frozenset[int]:
        """The streams of the rules that matched; rules of others name none."""
        found = set()
        for rule in rules if isinstance(rules, list) else []:
            if isinstance(rule, dict):
                known = self._streams.get(str(rule.get("id")))
                # Another process may have synced the rule: its tag still names the stream.
                found.add(known or x_rules.stream_of(str(rule.get("tag") or "")))
        return frozenset(stream for stream in found if stream is not None)


def _order(external_id: str) -> tuple[int, str]:
    """X's ids are numbers that grow."""
    return len(external_id), external_id


def _deletion(data: Mapping[str, Any], line: bytes) -> Event:
    post = data.get("tweet") or data.get("post")
    identity = post.get("id") if isinstance(post, dict) else None
    if not identity:
        return malformed("a deletion without an id", line)
    return PostDeleted((str(identity),))


def _raise_if_disconnected(payload: Mapping[str, Any]) -> None:
    """Raise what a farewell line stands for; other errors are no reason to leave."""
    errors = payload.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if not isinstance(error, dict):
            continue
        said = str(error.get("detail") or error.get("title"))[:300]
        if error.get("connection_issue") == "TooManyConnections":
            raise x_problems.ConnectionTaken(f"X ended the connection: {said}")
        if "disconnect_type" in error or str(error.get("type")).endswith("operational-disconnect"):
            raise Closed(f"X ended the connection: {said}")


def from_settings() -> XSource:
    """Raises NotConfigured."""
    if not settings.TWITTER_BEARER_TOKEN:
        raise NotConfigured("X needs a bearer token: set TWITTER_BEARER_TOKEN")
    return XSource(settings.TWITTER_BEARER_TOKEN, settings.TWITTER_API_BASE_URL)
