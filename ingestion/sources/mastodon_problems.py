"""What Mastodon's refusals mean, and what to do about each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ingestion.exceptions import (
    NeedsAttention,
    NetworkFault,
    RateLimited,
    SourceError,
    Unavailable,
)

# Mastodon's windows are 5 minutes; nobody means hours.
MAX_WAIT = 3600.0


class NotThere(NeedsAttention):
    """There is nothing at this address."""

    kind = "not_there"


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> SourceError:
    """The error that an answer other than success stands for."""
    said = _said(status, body)
    if status == 429:
        return RateLimited(f"Too many requests to Mastodon ({said})", reset_time(headers))
    if status == 408:
        return NetworkFault(f"Mastodon timed out ({said})")
    if status >= 500:
        return Unavailable(f"Mastodon has trouble of its own ({said})")
    if status == 404:
        return NotThere(f"{_ADVICE[404]} ({said})")
    return NeedsAttention(f"{_ADVICE.get(status, _OTHER)} ({said})")


_ADVICE = {
    401: "Mastodon does not accept the access token: check MASTODON_ACCESS_TOKEN",
    403: "Mastodon does not let this account read the timeline: check that MASTODON_ACCESS_TOKEN "
    "is a user's token with the scope read:statuses, of an account that is confirmed",
    404: "There is no such timeline at this address: check MASTODON_BASE_URL and the streams' "
    "queries",
    422: "Mastodon shows this timeline to signed-in users only, or refuses the query: check "
    "MASTODON_ACCESS_TOKEN and the streams' queries",
}
_OTHER = "Mastodon refused the request: check MASTODON_BASE_URL and the streams' queries"


def _said(status: int, body: bytes) -> str:
    words: list[str] = []
    with suppress(ValueError, RecursionError):
        problem: Any = json.loads(body)
        if isinstance(problem, Mapping):
            words = [str(problem[key]) for key in ("error", "error_description") if key in problem]
    return ": ".join([f"HTTP {status}", *words])[:500]


def reset_time(headers: Mapping[str, str]) -> float | None:
    """When the rate window turns, in Unix seconds of our clock; None when nobody says."""
    now = time.time()
    with suppress(ValueError, OverflowError):
        if seconds := headers.get("Retry-After", ""):
            return now + min(MAX_WAIT, max(0.0, float(seconds)))
    reset = _moment(headers.get("X-RateLimit-Reset", ""))
    if reset is None:
        return None
    # The server's clock may be wrong, but it is the one that counts.
    wait = reset - (server_time(headers) or datetime.now(UTC)).timestamp()
    return now + min(MAX_WAIT, max(0.0, wait))


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """What the server's clock says, to the second."""
    with suppress(ValueError, TypeError):
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC)
    return None


def _moment(text: str) -> float | None:
    """ISO 8601 at Mastodon, Unix seconds elsewhere."""
    with suppress(ValueError, OverflowError):
        if text.isascii() and text.isdigit():
            return float(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
