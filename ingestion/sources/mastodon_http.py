"""The session that Mastodon.py talks through: calls that end, answers that are bounded."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from ingestion.exceptions import NeedsAttention, NetworkFault
from ingestion.sources import mastodon_problems

CONNECT_SECONDS = 10.0
CALL_SECONDS = 20.0
# From the first byte of an answer to its last.
ANSWER_SECONDS = 60.0
READ_SIZE = 65536
MAX_ANSWER = 16 * 1024 * 1024
MAX_PROBLEM = 65536


class Session(requests.Session):
    """Lets no call wait or grow without end, and gives every failure its own error."""

    def __init__(self) -> None:
        super().__init__()
        # Until when nothing may be asked, in Unix seconds.
        self.closed_until = 0.0

    # Mastodon.py names each of the options; we pass on what it gives.
    def request(  # type: ignore[override]
        self, method: str, url: str, **options: Any
    ) -> requests.Response:
        """Raises SourceError, also for an answer that is a refusal."""
        is_stream = bool(options.get("stream"))
        waits = options.get("timeout")
        reading = waits[1] if isinstance(waits, tuple) else CALL_SECONDS
        # A `.netrc` must not replace the token.
        options.setdefault("auth", _unchanged)
        options |= {"stream": True, "timeout": (CONNECT_SECONDS, reading)}
        try:
            response = super().request(method, url, **options)
        except requests.RequestException as error:
            raise NetworkFault(f"Mastodon cannot be reached: {brief(error)}") from error
        _check_is_same_host(response, url)
        if response.status_code >= 400:
            with response:
                body = _problem(response)
            raise mastodon_problems.failure(response.status_code, body, response.headers)
        if is_stream:
            _check_is_stream(response)
        else:
            self._note_window(response)
            response.raw = io.BytesIO(_body(response, MAX_ANSWER))
        return response

    def _note_window(self, response: requests.Response) -> None:
        reset = mastodon_problems.reset_time(response.headers)
        is_used_up = response.headers.get("X-RateLimit-Remaining") == "0"
        self.closed_until = reset if is_used_up and reset is not None else 0.0
        # Mastodon.py keeps its own books, and fails on a time that it cannot read.
        response.headers.pop("X-RateLimit-Reset", None)


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _check_is_same_host(response: requests.Response, asked: str) -> None:
    """The token does not go with a redirect, so that the answer would only mislead."""
    host = urlsplit(response.url).netloc
    if host != urlsplit(asked).netloc:
        response.close()
        raise NeedsAttention(
            f"{urlsplit(asked).netloc} sends on to {host[:200]}: if that is your instance, set "
            "MASTODON_BASE_URL to it"
        )


def _check_is_stream(response: requests.Response) -> None:
    kind = response.headers.get("Content-Type", "")
    if not kind.startswith("text/event-stream"):
        response.close()
        raise NeedsAttention(
            f"This address answers with {kind[:80] or 'nothing known'} instead of a stream: check "
            "MASTODON_BASE_URL"
        )


def _problem(response: requests.Response) -> bytes:
    try:
        return _body(response, MAX_PROBLEM)
    except NetworkFault:
        # The status alone says enough.
        return b""


def _body(response: requests.Response, limit: int) -> bytes:
    """The whole answer. Raises NetworkFault when it breaks off, is too long or too slow."""
    parts: list[bytes] = []
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        for part in chunks(response):
            parts.append(part)
            if (limit := limit - len(part)) < 0 or time.monotonic() > deadline:
                raise NetworkFault("Mastodon's answer is too long or too slow")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NetworkFault(f"Mastodon's answer broke off: {brief(error)}") from error
    return b"".join(parts)


def chunks(response: requests.Response) -> Iterator[bytes]:
    """Bytes as they arrive. A proxy may have taken the chunked encoding off."""
    if response.raw.chunked:
        yield from response.raw.stream(READ_SIZE, decode_content=True)
        return
    while data := response.raw.read1(READ_SIZE, decode_content=True):
        yield data


def brief(error: BaseException) -> str:
    """The innermost cause: the outer ones repeat it in many words."""
    cause = error
    while isinstance(inner := getattr(cause, "reason", None) or cause.__context__, BaseException):
        cause = inner
    return f"{type(cause).__name__}: {cause}"[:300]
