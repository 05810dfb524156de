"""What X's refusals mean, and what to do about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ingestion.exceptions import (
    NeedsAttention,
    NetworkFault,
    NothingFollowed,
    RateLimited,
    SourceError,
    Unavailable,
)

STREAM = "the filtered stream"
SEARCH = "recent search"
LOOK_UP = "the look-up of posts"
USAGE = "the usage report"


class ConnectionTaken(Unavailable):
    """An older connection of this account still stands."""

    kind = "taken"


class Refused(NeedsAttention):
    """X does not accept what this very request says (400): a query, a parameter."""


def failure(
    status: int, body: bytes, headers: Mapping[str, str], what: str = STREAM
) -> SourceError:
    """The error that an answer other than success to a call for `what` stands for."""
    problem = _problem(body)
    said = _said(status, problem, body)
    if status == 429:
        return _too_many(problem, said, headers)
    if status == 409:
        return NothingFollowed(f"X has no rule to follow: see the streams' errors ({said})")
    if status == 408:
        return NetworkFault(f"X timed out ({said})")
    if status >= 500:
        return Unavailable(f"X has trouble of its own ({said})")
    if 300 <= status < 400:
        return NeedsAttention(f"{_redirect(headers)}: check TWITTER_API_BASE_URL ({said})")
    if status == 400:
        return Refused(f"{_OTHER} ({said})")
    return NeedsAttention(f"{_ADVICE.get(status, _OTHER).format(what=what)} ({said})")


_ADVICE = {
    401: "X does not accept the bearer token: check TWITTER_BEARER_TOKEN",
    402: "The X account is out of credit: buy credit in X's developer portal",
    403: "X does not let this app use {what}: check in X's developer portal that the app belongs "
    "to a project whose plan includes it",
    404: "There is no X API at this address: check TWITTER_API_BASE_URL",
}
_OTHER = "X refused the request: check TWITTER_API_BASE_URL and the streams' queries"


def _redirect(headers: Mapping[str, str]) -> str:
    """Where to, without what may be secret in an address; the token is not sent there."""
    target = urlsplit(headers.get("location", ""))
    if not target.hostname:
        return "The address of X's API leads elsewhere"
    return f"The address of X's API leads to {target.scheme}://{target.hostname}"


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, Mapping) else {}


def _said(status: int, problem: Mapping[str, Any], body: bytes) -> str:
    words = [str(problem[key]) for key in ("title", "reason", "detail") if problem.get(key)]
    words += _messages(problem)
    if not problem and body.strip():
        words.append("not X's JSON; something in between may have answered")
    # Title and detail are often the same word.
    return ": ".join([f"HTTP {status}", *dict.fromkeys(words)])[:500]


def _messages(problem: Mapping[str, Any]) -> list[str]:
    """What a bad request's list of errors says, one for each parameter."""
    errors = problem.get("errors")
    said = [
        error.get("message") or error.get("detail")
        for error in (errors if isinstance(errors, list) else [])[:3]
        if isinstance(error, Mapping)
    ]
    return [str(message)[:300] for message in said if message]


def _too_many(problem: Mapping[str, Any], said: str, headers: Mapping[str, str]) -> SourceError:
    words = f"{problem.get('title')} {problem.get('type')} {problem.get('connection_issue')}"
    if "TooManyConnections" in words:
        return ConnectionTaken(f"An older connection to X still stands ({said})")
    if "UsageCapExceeded" in words or "usage-capped" in words:
        return NeedsAttention(
            f"The X account has read all the posts that its plan allows this month ({said})"
        )
    return RateLimited(f"X allows no more calls for now ({said})", reset_time(headers))


def reset_time(headers: Mapping[str, str]) -> float | None:
    """When the rate window turns, Unix seconds; None when X does not say."""
    text = headers.get("x-rate-limit-reset", "")
    # No more digits than a moment has: a float holds them.
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


# How X says, inside a successful answer, that a post is not to be had any more.
_GONE = ("resource-not-found", "not-authorized-for-resource")


def gone(answer: Mapping[str, Any]) -> set[str]:
    """Ids that a look-up's answer calls deleted or closed to us; silence about one says nothing."""
    errors = answer.get("errors")
    found = set()
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, Mapping) and str(error.get("type")).endswith(_GONE):
            found.add(str(error.get("resource_id") or error.get("value") or ""))
    data = answer.get("data")
    shown = {str(item.get("id")) for item in data or [] if isinstance(item, Mapping)}
    return found - shown - {""}
