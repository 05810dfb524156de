"""The stand-in's open connections: what they carry, and how they end."""

from __future__ import annotations

import gzip
import json
import queue
import select
import socket
import struct
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

# What comes without asking for more.
DEFAULT_FIELDS = {"id", "text", "edit_history_tweet_ids", "edit_history_post_ids"}


class Stream:
    """One open connection; the handler's thread writes what others put."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number = number
        self.connection = connection
        self.connected_at = datetime.now(UTC)
        self.actions: queue.Queue[bytes | str] = queue.Queue()
        self.is_stalled = False

    def describe(self, address: str) -> dict[str, Any]:
        return {
            "id": str(self.number),
            "endpoint_name": "filtered_stream",
            "connected_at": self.connected_at.isoformat(),
            "client_ip": address,
        }

    def is_left(self) -> bool:
        """Whether the client has gone, though the handler's thread may not have looked yet."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            # It was reset, or the handler has closed it.
            return True


class Fields:
    """What the client asked for: the rest is left out, as X does."""

    def __init__(self, query: Mapping[str, str]) -> None:
        asked = query.get("tweet.fields") or query.get("post.fields") or ""
        self._fields = DEFAULT_FIELDS | set(asked.split(","))
        # One name asks for either spelling.
        self._fields |= {name.replace("tweet", "post") for name in self._fields}
        self._expands = bool(query.get("expansions"))

    def line(self, line: bytes) -> bytes:
        """A line of a stream."""
        try:
            payload = self.answer(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return line
        return json.dumps(payload, ensure_ascii=False).encode() + b"\r\n"

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """A whole answer: one post, or a page of them."""
        data = payload.get("data")
        if isinstance(data, list):
            payload["data"] = [self._only(item) for item in data]
        elif isinstance(data, dict) and "id" in data:
            payload["data"] = self._only(data)
        if not self._expands:
            payload.pop("includes", None)
        return payload

    def _only(self, item: dict[str, Any]) -> dict[str, Any]:
        return {key: item[key] for key in item if key in self._fields}


class Writer:
    """Serves one stream until it ends; raises OSError when the client has gone."""

    def __init__(
        self,
        handler: BaseHTTPRequestHandler,
        fields: Fields,
        *,
        keep_alive_seconds: float,
        chunk_bytes: int | None,
        zips: bool,
    ) -> None:
        self._handler = handler
        self._fields = fields
        self._keep_alive_seconds = keep_alive_seconds
        self._chunk_bytes = chunk_bytes
        self._zip = zlib.compressobj(wbits=31) if zips else None

    def serve(self, stream: Stream) -> None:
        handler = self._handler
        while (action := self._next_action(stream)) is not None:
            if action == "reset":
                self._reset()
                return
            if action == "cut":
                handler.wfile.write(b"40\r\n" + b'{"data":{"id":"12')
                return
            if isinstance(action, str):
                handler.wfile.write(b"0\r\n\r\n")
                return
            if not stream.is_stalled:
                self._write(self._fields.line(action))

    def _reset(self) -> None:
        handler = self._handler
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.rfile.close()
        handler.wfile.close()
        handler.connection.close()

    def _next_action(self, stream: Stream) -> bytes | str | None:
        """What to do now; a keep-alive when it is time; None when the client has gone."""
        deadline = time.monotonic() + self._keep_alive_seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                return stream.actions.get(timeout=min(left, 0.1))
            except queue.Empty:
                if stream.is_left():
                    return None
        return b"\r\n"

    def _write(self, data: bytes) -> None:
        if self._zip is not None:
            data = self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH)
        size = self._chunk_bytes or max(1, len(data))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self._handler.wfile.flush()


def zipped(data: bytes) -> bytes:
    return gzip.compress(data)
