"""How calls to X travel: to one host, with the token, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import should_bypass_proxies

# The host that tweepy has built in.
HOST = "https://api.twitter.com"
CONNECT_SECONDS = 10.0
CALL_SECONDS = 20.0
READ_SIZE = 65536
MAX_PROBLEM = 65536
# A page of 100 long posts with all that they refer to stays far below either.
MAX_ANSWER = 32 * 1024 * 1024
MAX_ANSWER_SECONDS = 120.0
RESET = "x-rate-limit-reset"


def session(base_url: str, bearer_token: str) -> requests.Session:
    """A session that sends what is meant for `HOST` to `base_url`, signed.

    Nobody else sees the token: it is in no request object before the last step, so that a library
    that logs its headers logs none, and redirects are not followed.
    """
    made = _Session()
    made.mount(f"{HOST}/", Rerouted(base_url, bearer_token))
    return made


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: a redirect is an answer like any other."""
        return None


class Rerouted(HTTPAdapter):
    """Sends what is meant for tweepy's host to another, and lets no call wait for ever."""

    def __init__(self, base_url: str, bearer_token: str) -> None:
        super().__init__()
        self._base_url = base_url.rstrip("/")
        self._authorization = f"Bearer {bearer_token}"

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        signed = request.copy()
        signed.url = self._base_url + str(request.url).removeprefix(HOST)
        signed.headers["Authorization"] = self._authorization
        if should_bypass_proxies(signed.url, no_proxy=None):
            proxies = {}
        timeout = timeout or (CONNECT_SECONDS, CALL_SECONDS)
        response = super().send(signed, stream, timeout, verify, cert, proxies)
        response.request = request
        reset = response.headers.get(RESET, "")
        if not reset.isdecimal() or len(reset) > 12:
            # tweepy would stumble over one that is no number.
            response.headers.pop(RESET, None)
        if not stream:
            response.raw = _Bounded(response.raw)
        return response


class _Bounded:
    """A raw answer that ends in an error when it is too big or too slow."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, size: int, decode_content: bool | None = None) -> Iterator[bytes]:
        deadline = time.monotonic() + MAX_ANSWER_SECONDS
        left = MAX_ANSWER
        for chunk in self._raw.stream(size, decode_content=decode_content):
            left -= len(chunk)
            if left < 0:
                raise urllib3.exceptions.ProtocolError(f"more than {MAX_ANSWER} bytes")
            if time.monotonic() > deadline:
                raise urllib3.exceptions.ProtocolError(f"more than {MAX_ANSWER_SECONDS:.0f} s")
            yield chunk


def chunks(response: requests.Response) -> Iterator[bytes]:
    """Bytes as they arrive. A proxy may have taken the chunked encoding off."""
    if response.raw.chunked:
        yield from response.raw.stream(READ_SIZE, decode_content=True)
        return
    while data := response.raw.read1(READ_SIZE, decode_content=True):
        yield data


def read_problem(response: requests.Response) -> bytes:
    """The beginning of a refusal's body; b"" when it does not come."""
    try:
        return bytes(response.raw.read(MAX_PROBLEM, decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError):
        # The status alone says enough.
        return b""


def brief(error: Exception) -> str:
    """The innermost cause: the outer ones repeat it in many words."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return f"{type(cause).__name__}: {cause}"[:300]
