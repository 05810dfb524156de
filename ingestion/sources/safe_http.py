"""GET or POST where a user says: bounded in size and time, and never inside the own network."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

from ingestion.exceptions import NeedsAttention, NetworkFault, RateLimited, SourceError, Unavailable

CONNECT_SECONDS = 10.0
READ_SECONDS = 15.0
TOTAL_SECONDS = 30.0
MAX_BODY = 5 * 1024 * 1024
MAX_REDIRECTS = 5
# Whoever asks for more is asked again tomorrow.
MAX_RETRY_AFTER = 24 * 3600.0
READ_SIZE = 65536
USER_AGENT = "live-sentiment/0.1 (feed reader)"

PRIVATE = "is inside a private network; SOURCES_ALLOW_PRIVATE_ADDRESSES=1 allows such addresses"

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# The fetch that this thread is busy with: connections are opened deep inside the library.
_current = threading.local()


class PrivateAddress(NeedsAttention):
    """The name leads into a private, loopback or link-local network."""

    kind = "private_address"


def is_public(address: str) -> bool:
    """Whether the whole Internet can reach this IP address; what it embeds counts as well."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def is_private_literal(host: str) -> bool:
    """Whether a host is such an address by itself, without looking it up."""
    try:
        return not is_public(host)
    except ValueError:
        return host.rstrip(".").casefold().endswith("localhost")


def shown(url: str) -> str:
    """The address as people may see it: without a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2][:300]
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl()[:300]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: status 200, or 304 with an empty body. `url` is where the redirects led."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Fetch:
    """One request. `abort` ends it from another thread."""

    def __init__(
        self, *, allow_private: bool = False, total_seconds: float = TOTAL_SECONDS
    ) -> None:
        self.allow_private = allow_private
        self._total_seconds = total_seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._ended_because = ""

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Raises SourceError; RateLimited.retry_at tells when the server wants to be asked."""
        return self._within_time("GET", url, headers)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """As `get`; a redirect is refused, because following it would drop the body."""
        return self._within_time("POST", url, headers, body)

    def _within_time(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        _current.fetch = self
        timer = threading.Timer(self._total_seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return self._request(method, url, headers, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # A failed task logs what an error came from, and urllib3 names the whole address there,
            # which is a secret where it is a webhook's.
            raise _fault(self._ended_because, error) from None
        finally:
            timer.cancel()
            _current.fetch = None
            self._release()

    def abort(self, why: str = "it was stopped") -> None:
        """End the GET at once; one that has not begun fails when it connects."""
        with self._lock:
            self._ended_because = self._ended_because or why
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def connect(self, host: str, port: int, is_trusted: bool, **options: Any) -> socket.socket:
        """An open socket to an address that is allowed. Raises SourceError or OSError."""
        problem: OSError | None = None
        for address in self.addresses(host, port, is_trusted):
            try:
                return self._watched(create_connection((address, port), **options))
            except OSError as error:
                problem = error
        raise problem or OSError("the name has no address")

    def addresses(self, host: str, port: int, is_trusted: bool = False) -> list[str]:
        """Where a host is and we may go. Raises PrivateAddress when that is nowhere, or OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        allowed = [
            each for each in addresses if is_trusted or self.allow_private or is_public(each)
        ]
        if addresses and not allowed:
            raise PrivateAddress(f"{host} {PRIVATE}")
        return allowed

    def _watched(self, opened: socket.socket) -> socket.socket:
        with self._lock:
            if self._ended_because:
                opened.close()
                raise OSError(self._ended_because)
            # A duplicate, because TLS takes the original over.
            self._sockets.append(opened.dup())
        return opened

    def _expire(self) -> None:
        self.abort(f"it took longer than {self._total_seconds:.0f} s")

    def _release(self) -> None:
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        with requests.Session() as session:
            session.max_redirects = MAX_REDIRECTS
            session.adapters.clear()
            session.mount("http://", _Adapter())
            session.mount("https://", _Adapter())
            response = session.request(
                method,
                url,
                data=body,
                headers={"User-Agent": USER_AGENT, **headers},
                stream=True,
                allow_redirects=body is None,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
            with response:
                return self._read(response)

    def _read(self, response: requests.Response) -> Answer:
        if response.status_code == 304:
            return Answer(304, response.url, response.headers)
        is_post = response.request.method == "POST"
        if is_post and response.is_redirect:
            raise NeedsAttention("it redirects: give the address that it leads to")
        if response.status_code != 200 and not (is_post and response.ok):
            raise refusal(response.status_code, response.headers)
        body = bytearray()
        for chunk in response.raw.stream(READ_SIZE, decode_content=True):
            body += chunk
            if len(body) > MAX_BODY:
                raise NeedsAttention(f"it is larger than {MAX_BODY // 1024**2} MiB")
        if self._ended_because:
            # A body without a length ends just so when its socket is shut.
            raise OSError(self._ended_because)
        return Answer(response.status_code, response.url, response.headers, bytes(body))


class _Adapter(HTTPAdapter):
    """Opens connections through the running Fetch."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        url = str(request.url)
        if select_proxy(url, kwargs.get("proxies")) and not _current.fetch.allow_private:
            _check_before_proxy(_current.fetch, url)
        return super().send(request, *args, **kwargs)


def _check_before_proxy(fetch: Fetch, url: str) -> None:
    """Behind a proxy it is the proxy that connects; refuse at least what we know to be inside."""
    parts = urlsplit(url)
    with suppress(socket.gaierror):
        fetch.addresses(parts.hostname or "", parts.port or 443)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


class _SecureConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


def _open(connection: HTTPConnection) -> socket.socket:
    fetch: Fetch = _current.fetch
    return fetch.connect(
        connection.host.strip("[]"),
        connection.port,
        # The operator's proxy may well be inside.
        is_trusted=connection.proxy is not None,
        timeout=connection.timeout,
        source_address=connection.source_address,
        socket_options=connection.socket_options,
    )


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def refusal(status: int, headers: Mapping[str, str]) -> SourceError:
    """The error that a status stands for."""
    retry_at = _retry_at(headers.get("Retry-After", ""))
    if status == 429 or (status == 503 and retry_at is not None):
        return RateLimited(f"it asks us to come later (HTTP {status})", retry_at)
    if 400 <= status < 500:
        return NeedsAttention(_CLIENT_ERRORS.get(status, f"it answers with HTTP {status}"))
    return Unavailable(f"it answers with HTTP {status}")


_CLIENT_ERRORS = {
    401: "it wants a password (HTTP 401): write the address as https://user:password@…",
    403: "it refuses us (HTTP 403)",
    404: "it does not exist (HTTP 404): check the address",
    410: "it is gone for good (HTTP 410): take it out of the stream",
}


def _retry_at(value: str) -> float | None:
    """Unix seconds from a Retry-After of seconds or a date; None when it says nothing."""
    if value.strip().isdecimal():
        seconds = float(value[:12])
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return time.time() + min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _fault(because: str, error: Exception) -> SourceError:
    if because:
        return NetworkFault(because)
    if isinstance(error, requests.TooManyRedirects):
        return NeedsAttention(f"it redirects more than {MAX_REDIRECTS} times")
    if isinstance(error, ValueError):
        # What requests says of addresses that it cannot use.
        return NeedsAttention(f"its address cannot be used: {shown(str(error))}")
    return NetworkFault(f"it cannot be reached: {_innermost(error)}")


def _innermost(error: BaseException) -> str:
    """The outer errors repeat the cause in many words."""
    while (inner := getattr(error, "reason", None) or error.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"{type(error).__name__}: {error}"[:200]
