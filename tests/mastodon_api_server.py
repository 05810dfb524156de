"""The routes of the stand-in for Mastodon: requests in, timelines and events out."""

from __future__ import annotations

import io
import json
import queue
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from tests.mastodon_api import MastodonApi

STREAMING = "/api/v1/streaming/"
TIMELINES = "/api/v1/timelines/"
STATUSES = "/api/v1/statuses"
WINDOW_SECONDS = 300


@dataclass(frozen=True)
class Refusal:
    """An answer other than success; "reset" as status ends the connection without one."""

    status: int | str
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def rate_limited(reset_in: float | None = None) -> Refusal:
    headers = {}
    if reset_in is not None:
        moment = datetime.fromtimestamp(time.time() + reset_in, UTC)
        headers = {
            "X-RateLimit-Limit": "300",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": moment.isoformat().replace("+00:00", "Z"),
        }
    return Refusal(429, "Too many requests", headers)


class Stream:
    """One open connection; the handler's thread writes what others put."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.actions: queue.Queue[bytes | str] = queue.Queue()
        self.is_stalled = False


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    api: MastodonApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no trouble; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and the first line leave at once.
    disable_nagle_algorithm = True
    server: Server

    @property
    def api(self) -> MastodonApi:
        return self.server.api

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path).rstrip("/")
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.api.requests.append(f"{path}?{address.query}" if address.query else path)
        self.api.before_request()
        if (refusal := self._scripted(path)) is not None:
            self._refuse(refusal)
        elif path in {"/api/v1/instance", "/api/v2/instance"}:
            self._answer(self._instance(int(path[6])))
        elif self.headers.get("Authorization") != f"Bearer {self.api.token}":
            self._refuse(Refusal(401, "The access token is invalid"))
        elif path.startswith(STREAMING):
            self._stream(path.removeprefix(STREAMING), query)
        elif path.startswith(TIMELINES):
            self._page(path.removeprefix(TIMELINES), query)
        elif path.startswith(STATUSES):
            self._statuses(path, parse_qs(address.query).get("id[]", []))
        else:
            self._refuse(Refusal(404, "Record not found"))

    def _scripted(self, path: str) -> Refusal | None:
        with self.api._lock:
            for beginning, answers in self.api.script.items():
                if path.startswith(beginning) and answers:
                    return answers.popleft()
        return None

    def _instance(self, version: int) -> dict[str, Any]:
        streaming = self.api.url.replace("http", "ws", 1)
        common = {"title": "Stand-in", "version": "4.4.0", "description": ""}
        if version == 1:
            return {**common, "uri": self.api.host, "urls": {"streaming_api": streaming}}
        return {
            **common,
            "domain": self.api.host,
            "api_versions": {"mastodon": 6},
            "configuration": {"urls": {"streaming": streaming}},
        }

    def _page(self, name: str, query: dict[str, str]) -> None:
        channel = f"#{name.removeprefix('tag/').lower()}"
        if name == "public":
            channel = "public:local" if query.get("local") in {"1", "true"} else "public"
        self.api.before_page()
        if self.api.window <= 0:
            self._refuse(rate_limited(WINDOW_SECONDS))
            return
        self.api.window -= 1
        found = self.api.timeline(channel, query)
        self._answer(found, {**self._window(), **self._links(name, query, found)})

    def _links(
        self, name: str, query: dict[str, str], found: list[dict[str, Any]]
    ) -> dict[str, str]:
        if not found:
            return {}
        rest = {key: query[key] for key in query if not key.endswith("_id")}
        address = f"{self.api.url}{TIMELINES}{name}"
        before = urlencode({**rest, "max_id": found[-1]["id"]})
        after = urlencode({**rest, "min_id": found[0]["id"]})
        return {"Link": f'<{address}?{before}>; rel="next", <{address}?{after}>; rel="prev"'}

    def _window(self) -> dict[str, str]:
        reset = datetime.fromtimestamp(time.time() + WINDOW_SECONDS, UTC)
        return {
            "X-RateLimit-Limit": "300",
            "X-RateLimit-Remaining": str(self.api.window),
            "X-RateLimit-Reset": reset.isoformat().replace("+00:00", "Z"),
        }

    def _statuses(self, path: str, ids: list[str]) -> None:
        statuses = self.api.statuses
        if path == STATUSES:
            shown = {int(key) for key in ids} & statuses.keys() - self.api.hidden
            self._answer([statuses[key] for key in shown])
        elif (status := statuses.get(int(path.rpartition("/")[2]))) is not None:
            self._answer(status)
        else:
            self._refuse(Refusal(404, "Record not found"))

    # --- streaming

    def _stream(self, name: str, query: Mapping[str, str]) -> None:
        channel = {"public": "public", "public/local": "public:local"}.get(name, "")
        if name == "hashtag":
            channel = f"#{query['tag'].lower()}"
        if not channel:
            self._refuse(Refusal(400, "Unknown channel requested"))
            return
        self.send_response(200)
        self.send_header("Content-Type", self.api.streaming_type)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        stream = Stream(channel)
        with self.api._lock:
            self.api.connects += 1
            self.api.streams.append(stream)
        self.close_connection = True
        try:
            self.end_headers()
            self._write(b":)\n")
            self._serve(stream)
        except OSError:
            # The client has gone.
            return
        finally:
            with self.api._lock:
                self.api.streams.remove(stream)

    def _serve(self, stream: Stream) -> None:
        while (action := self._next_action(stream)) is not None:
            if action == "reset":
                self._reset()
                return
            if action == "cut":
                self.wfile.write(b"40\r\n" + b'event: update\ndata: {"id":"12')
                return
            if isinstance(action, str):
                self.wfile.write(b"0\r\n\r\n")
                return
            if not stream.is_stalled:
                self._write(action)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        # The server flushes once more.
        self.wfile = io.BytesIO()

    def _next_action(self, stream: Stream) -> bytes | str | None:
        """What to do now; a heartbeat when it is time; None when the client has gone."""
        deadline = time.monotonic() + self.api.keep_alive_seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                return stream.actions.get(timeout=min(left, 0.05))
            except queue.Empty:
                readable, _, _ = select.select([self.connection], [], [], 0)
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return None
        return b":thump\n"

    def _write(self, data: bytes) -> None:
        size = self.api.chunk_bytes or max(1, len(data))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()

    def _refuse(self, refusal: Refusal) -> None:
        if isinstance(refusal.status, str):
            self.close_connection = True
            self._reset()
        else:
            self._answer({"error": refusal.error}, refusal.headers, refusal.status)

    def _answer(
        self, body: object, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
