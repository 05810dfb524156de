"""What X's refusals mean, and what to do about each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ingestion.exceptions import (
    NeedsAttention,
    NetworkFault,
    NothingFollowed,
    RateLimited,
    SourceError,
    Unavailable,
)


class ConnectionTaken(Unavailable):
    """An older connection of this account still stands."""

    kind = "taken"


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> SourceError:
    """The error that an answer other than success stands for."""
    problem = _problem(body)
    said = _said(status, problem)
    if status == 429:
        return _too_many(problem, said, headers)
    if status == 409:
        return NothingFollowed(f"X has no rule to follow: see the streams' errors ({said})")
    if status == 408:
        return NetworkFault(f"X timed out ({said})")
    if status >= 500:
        return Unavailable(f"X has trouble of its own ({said})")
    return NeedsAttention(f"{_ADVICE.get(status, _OTHER)} ({said})")


_ADVICE = {
    401: "X does not accept the bearer token: check TWITTER_BEARER_TOKEN",
    402: "The X account is out of credit: buy credit in X's developer portal",
    403: "X does not let this app use the filtered stream: check in X's developer portal that the "
    "app belongs to a project whose plan includes it",
    404: "There is no X API at this address: check TWITTER_API_BASE_URL",
}
_OTHER = "X refused the request: check TWITTER_API_BASE_URL and the streams' queries"


def _problem(body: bytes) -> Mapping[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, Mapping) else {}


def _said(status: int, problem: Mapping[str, Any]) -> str:
    words = [str(problem[key]) for key in ("title", "reason", "detail") if problem.get(key)]
    # Title and detail are often the same word.
    return ": ".join([f"HTTP {status}", *dict.fromkeys(words)])[:500]


def _too_many(problem: Mapping[str, Any], said: str, headers: Mapping[str, str]) -> SourceError:
    words = f"{problem.get('title')} {problem.get('type')} {problem.get('connection_issue')}"
    if "TooManyConnections" in words:
        return ConnectionTaken(f"An older connection to X still stands ({said})")
    if "UsageCapExceeded" in words or "usage-capped" in words:
        return NeedsAttention(
            f"The X account has read all the posts that its plan allows this month ({said})"
        )
    return RateLimited(f"Too many connects to X ({said})", reset_time(headers))


def reset_time(headers: Mapping[str, str]) -> float | None:
    """When the rate window turns, Unix seconds; None when X does not say."""
    text = headers.get("x-rate-limit-reset", "")
    return float(text) if text.isdigit() else None
