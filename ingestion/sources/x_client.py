"""tweepy, made safe for long runs. The only module that imports it.

tweepy talks: it knows the routes, parameters and rules. Where its stream falls short
(reconnecting, bad lines, prompt stops, stalls, other hosts), its classes are extended here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import requests
import tweepy
import urllib3

from ingestion.exceptions import (
    Closed,
    NetworkFault,
    RateLimited,
    SourceError,
    Stalled,
    Unavailable,
)
from ingestion.models import Stream
from ingestion.sources import x_http, x_payload, x_problems, x_rules
from ingestion.sources.x_http import brief

# X sends a keep-alive at least every 20 s; 10 s more are grace.
STALL_SECONDS = 30.0
# No post comes near; a line without end must not fill the memory.
MAX_LINE = 1024 * 1024
RULES_A_CALL = 100
_SEARCH = "/2/tweets/search/recent"


class XClient(tweepy.StreamingClient, tweepy.Client):
    """tweepy's clients, at any host, with one connection attempt a call and typed errors."""

    def __init__(self, bearer_token: str, base_url: str, stall_seconds: float) -> None:
        # tweepy logs its headers; the session adds the token when tweepy is done.
        super().__init__("kept-by-the-session", return_type=dict)
        self.session = x_http.session(base_url, bearer_token)
        self._fresh_session = partial(x_http.session, base_url, bearer_token)
        self._stall_seconds = stall_seconds
        self._response: requests.Response | None = None
        self._window: Mapping[str, str] = {}
        self._says_post = False

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
            token = str((answer.get("meta") or {}).get("next_token") or "")
            if not token or token == params.get("pagination_token"):
                return found
            params = {"pagination_token": token}

    def add(self, streams: Sequence[Stream]) -> tuple[dict[int, str], dict[int, str]]:
        """Rule ids of streams, and why others were refused. Raises SourceError.

        X takes all rules of a call or, when they are too many, none: then it is asked for fewer.
        """
        rule_ids: dict[int, str] = {}
        refused: dict[int, str] = {}
        parts = [
            streams[start : start + RULES_A_CALL] for start in range(0, len(streams), RULES_A_CALL)
        ]
        while parts:
            part = parts.pop(0)
            answer = self._add(part)
            if x_rules.has_no_room(answer) and len(part) > 1:
                half = len(part) // 2
                parts[:0] = [part[:half], part[half:]]
                continue
            created, not_created = x_rules.read_answer(answer, part)
            rule_ids |= created
            refused |= not_created
            if x_rules.has_no_room(answer):
                return rule_ids, refused | {s.pk: x_rules.NO_ROOM for p in parts for s in p}
        return rule_ids, refused

    def _add(self, streams: Sequence[Stream], **params: str) -> dict[str, Any]:
        # Two streams may want the same; X takes it once.
        rules = {x_rules.value(stream): x_rules.tag(stream) for stream in reversed(streams)}
        made = [tweepy.StreamRule(value, tag) for value, tag in reversed(rules.items())]
        return self._call(self.add_rules, made, **params)

    def trial(self, stream: Stream) -> dict[str, Any]:
        """X's answer to the stream's rule, which is not added. Raises SourceError."""
        return self._add([stream], dry_run="true")

    def delete(self, rule_ids: Sequence[str]) -> None:
        """Raises SourceError."""
        for start in range(0, len(rule_ids), RULES_A_CALL):
            self._call(self.delete_rules, rule_ids[start : start + RULES_A_CALL])

    def kill_connections(self) -> None:
        """End connections that an earlier process left standing. Raises SourceError."""
        self._call(self._make_request, "DELETE", "/2/connections/filtered_stream")

    def search(self, query: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One page of recent search. Raises SourceError."""
        fields = {
            "tweet.fields": x_payload.FIELDS,
            "expansions": x_payload.EXPANSIONS,
            "user.fields": x_payload.USER_FIELDS,
        }
        if not self._says_post:
            named = {name.replace(".", "_"): text for name, text in fields.items()}
            try:
                return self._call(
                    self.search_recent_tweets, query, **params, **named, what=x_problems.SEARCH
                )
            except x_problems.Refused as error:
                if "tweet.fields" not in str(error):
                    raise
                self._says_post = True
        renamed = {_as_post(name): _as_post(text) for name, text in fields.items()}
        named = {name.replace(".", "_"): text for name, text in renamed.items()}
        return self._call(
            self._make_request,
            "GET",
            _SEARCH,
            params={"query": query, **params, **named},
            endpoint_parameters=("query", *params, *renamed),
            what=x_problems.SEARCH,
        )

    def look_up(self, external_ids: Sequence[str]) -> dict[str, Any]:
        """X's answer about posts, at most 100. Raises SourceError."""
        return self._call(self.get_tweets, list(external_ids), what=x_problems.LOOK_UP)

    def usage(self) -> dict[str, Any]:
        """X's answer about the account's reading. Raises SourceError."""
        return self._call(self._make_request, "GET", "/2/usage/tweets", what=x_problems.USAGE)

    def _call(
        self, function: Callable[..., Any], *args: Any, what: str = x_problems.STREAM, **kwargs: Any
    ) -> dict[str, Any]:
        try:
            answer = function(*args, **kwargs)
        except tweepy.HTTPException as error:
            answer = _rule_errors(error.response) if what == x_problems.STREAM else None
            if answer is None:
                raise _refusal(error, what) from error
        except (requests.exceptions.JSONDecodeError, RecursionError) as error:
            raise Unavailable("X answered with something that is not JSON") from error
        except requests.RequestException as error:
            raise NetworkFault(f"X cannot be reached: {brief(error)}") from error
        if not isinstance(answer, dict):
            raise Unavailable("X answered with something unexpected")
        return answer

    def _connect(self, method: str, endpoint: str, **kwargs: Any) -> None:
        """One attempt; `filter` calls this. tweepy's own would retry in ways that X punishes."""
        self._wait_out_window()
        try:
            # A connection of its own: one that X has closed may still look open to a pool.
            response = self._fresh_session().request(
                method,
                f"{x_http.HOST}/2/tweets/{endpoint}/stream",
                params=kwargs.get("params"),
                headers={"User-Agent": self.user_agent},
                stream=True,
                timeout=(x_http.CONNECT_SECONDS, self._stall_seconds),
            )
        except requests.RequestException as error:
            raise NetworkFault(f"X cannot be reached: {brief(error)}") from error
        self._window = response.headers
        if response.status_code != 200:
            with response:
                body = x_http.read_problem(response)
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
                raise NetworkFault(f"The connection to X broke: {brief(error)}") from error
            return
        finally:
            response.close()
            stopped, self.running, self._response = not self.running, False, None
        if not stopped:
            raise Closed("X closed the connection")

    def _split(self, response: requests.Response) -> Iterator[bytes]:
        rest = b""
        heard = time.monotonic()
        for chunk in x_http.chunks(response):
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


def _as_post(text: str) -> str:
    """X's new words for its old ones."""
    return text.replace("tweet", "post")


def _rule_errors(response: requests.Response) -> dict[str, Any] | None:
    """X reports refused rules under several statuses; the body tells."""
    with suppress(requests.exceptions.JSONDecodeError, RecursionError):
        answer = response.json()
        if not isinstance(answer, dict):
            return None
        errors = answer.get("errors")
        if x_rules.has_no_room(answer) or (
            isinstance(errors, list)
            and any(isinstance(error, dict) and "value" in error for error in errors)
        ):
            return dict(answer)
    return None


def _refusal(error: tweepy.HTTPException, what: str) -> SourceError:
    response = error.response
    return x_problems.failure(response.status_code, response.content, response.headers, what)
