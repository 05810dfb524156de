"""One websocket to a Jetstream host. The only module that imports websockets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from ingestion.exceptions import (
    Closed,
    NeedsAttention,
    NetworkFault,
    RateLimited,
    SourceError,
    Stalled,
    Unavailable,
)

OPEN_SECONDS = 10.0
CLOSE_SECONDS = 1.0
# After so long without a message `receive` returns.
TICK_SECONDS = 0.25
# No post comes near it; hosts are asked to leave out what is longer.
MAX_MESSAGE = 1024 * 1024
# Frames read ahead; the socket's own buffer holds the rest while nobody takes them.
MAX_QUEUE = 256

_FAREWELLS = {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART}


class CursorRefused(Exception):
    """The host cannot go on at this cursor; it may at another."""


class Socket:
    """`with Socket(…) as socket:` is connected; afterwards it is closed.

    Silence of `stall_seconds` is a stall. Where `may_be_quiet`, an answer to our pings breaks it;
    otherwise only a message does: hosts have been seen that answer and have nothing to say.
    `close` works from any thread, while the connection is being made, too.
    """

    def __init__(self, url: str, host: str, stall_seconds: float, *, may_be_quiet: bool) -> None:
        self._url = url
        self._host = host
        self._stall_seconds = stall_seconds
        self._may_be_quiet = may_be_quiet
        self._silent_seconds = 0.0
        self._has_heard = False
        self._pong: threading.Event | None = None
        self._is_closed = False
        self._connection: ClientConnection | None = None

    def __enter__(self) -> Socket:
        """Connect. Raises SourceError or CursorRefused."""
        try:
            connect(
                self._url,
                # Inflating costs more than it saves; version 2 does not offer it.
                compression=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,
                max_size=MAX_MESSAGE,
                max_queue=MAX_QUEUE,
                create_connection=cast(type[ClientConnection], self._make),
                legacy=True,
            )
        except InvalidStatus as error:
            response = error.response
            body = bytes(response.body or b"")
            raise refusal(self._host, response.status_code, body, response.headers) from error
        except (OSError, EOFError, WebSocketException) as error:
            raise NetworkFault(f"{self._host} cannot be reached: {_brief(error)}") from error
        if self._is_closed:
            self.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def _make(self, *args: Any, **kwargs: Any) -> ClientConnection:
        """Keep the connection from its first byte on, so that `close` ends a handshake too."""
        self._connection = ClientConnection(*args, **kwargs)
        return self._connection

    def receive(self) -> bytes | None:
        """The next message; None when none came for a moment. Raises SourceError."""
        if self._connection is None:
            raise RuntimeError("not connected: use it in a with statement")
        try:
            message = self._connection.recv(TICK_SECONDS, decode=False)
        except TimeoutError:
            self._wait(self._connection)
            return None
        except ConnectionClosed as error:
            raise self._end(error) from error
        self._hear()
        return message

    def has_heard(self) -> bool:
        """Whether the host has given a sign of life since this was last asked."""
        has_heard, self._has_heard = self._has_heard, False
        return has_heard

    def _hear(self) -> None:
        self._has_heard = True
        self._silent_seconds = 0.0

    def _wait(self, connection: ClientConnection) -> None:
        """Nothing came for a tick. Only waiting counts: while we are busy we hear nothing."""
        self._silent_seconds += TICK_SECONDS
        if self._may_be_quiet and self._is_answered(connection):
            self._hear()
        elif self._silent_seconds >= self._stall_seconds:
            raise self._stalled()

    def _is_answered(self, connection: ClientConnection) -> bool:
        """Whether our ping was; asks again."""
        if self._pong is not None and not self._pong.is_set():
            return False
        is_answered = self._pong is not None
        try:
            self._pong = connection.ping()
        except ConnectionClosed as error:
            raise self._end(error) from error
        return is_answered

    def close(self) -> None:
        """End the connection at once: a reader that waits gets an error."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.close_socket()

    def _stalled(self) -> Stalled:
        return Stalled(f"{self._host} was silent for {self._stall_seconds:.0f} s")

    def _end(self, error: ConnectionClosed) -> SourceError:
        """What ended the connection: their word, our complaint, or the network."""
        if (frame := error.rcvd) is not None:
            said = f"{self._host} closed the connection ({frame.code} {frame.reason[:200]})"
            return Closed(said) if frame.code in _FAREWELLS else Unavailable(said)
        if error.sent is None or error.sent.code == CloseCode.NORMAL_CLOSURE:
            return NetworkFault(f"The connection to {self._host} broke")
        if error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            return NetworkFault(f"{self._host} sent a message of more than {MAX_MESSAGE} bytes")
        return NetworkFault(f"{self._host} broke the protocol: {error.sent.reason[:200]}")


def refusal(
    host: str, status: int, body: bytes, headers: Mapping[str, str]
) -> SourceError | CursorRefused:
    """What an answer other than 101 stands for."""
    name, message = _problem(body)
    said = f"{status} {name} {message}".strip()
    if name == "CursorTooOld":
        return CursorRefused(message)
    if status == 429:
        return RateLimited(f"{host} has had too many connects ({said})", _retry_at(headers))
    if status >= 500:
        return Unavailable(f"{host} has trouble of its own ({said})")
    return NeedsAttention(
        f"{host} does not serve this Jetstream stream: check BLUESKY_JETSTREAM_HOSTS and "
        f"BLUESKY_JETSTREAM_VERSION ({said})"
    )


def _problem(body: bytes) -> tuple[str, str]:
    """Version 2 names its errors in JSON; version 1 sends a line of text."""
    with suppress(ValueError, RecursionError):
        problem = json.loads(body)
        if isinstance(problem, dict):
            return str(problem.get("error", ""))[:100], str(problem.get("message", ""))[:300]
    return "", body[:300].decode(errors="replace").strip()


def _retry_at(headers: Mapping[str, str]) -> float | None:
    """Unix seconds; hosts of Bluesky give them, others the seconds to wait."""
    with suppress(ValueError):
        if reset := headers.get("RateLimit-Reset"):
            return float(reset)
        if wait := headers.get("Retry-After"):
            return time.time() + float(wait)
    return None


def _brief(error: BaseException) -> str:
    """The innermost cause: the outer ones repeat it in many words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"[:300]
