"""A stand-in for Bluesky's Jetstream, versions 1 and 2: real websockets on a real socket.

Tests script its faults. By hand, `python -m tests.jetstream` streams invented posts, for those
who want to try the program off line; it prints the settings to use.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import random
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.server import ServerConnection, serve

from tests.connects import wait_for_connect
from tests.jetstream_events import (
    ALICE,
    BOB,
    FIRST_TIME,
    POSTS,
    Happening,
    as_json,
    commit_body,
    info,
    post_record,
    rfc3339,
    tid,
)

V1 = "/subscribe"
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"


@dataclass(frozen=True)
class Refusal:
    """An answer other than 101 to one connect; `how` may be reset or hang instead."""

    status: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    how: str = "answer"


class Wanted:
    """What a connection asks for: the filters of its version, and where to begin."""

    def __init__(self, version: int, query: Mapping[str, Sequence[str]]) -> None:
        names = ("wantedCollections", "wantedDids") if version == 1 else ("collections", "dids")
        self.version = version
        self.collections = set(query.get(names[0], ()))
        self.dids = set(query.get(names[1], ()))
        # Version 1 sends accounts and identities whatever is asked for.
        self.kinds = set(query.get("kinds", ())) if version == 2 else set()
        self.cursor = int(query["cursor"][0]) if "cursor" in query else None

    def has(self, event: Happening) -> bool:
        if self.dids and event.did not in self.dids:
            return False
        if self.kinds and event.kind not in self.kinds:
            return False
        is_other = event.kind != "commit" or not self.collections
        return is_other or event.body["collection"] in self.collections


class Subscriber:
    """One open connection; its handler's thread writes what others put."""

    def __init__(self, number: int, connection: ServerConnection, wanted: Wanted) -> None:
        self.number = number
        self.connection = connection
        self.wanted = wanted
        self.actions: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        self.is_stalled = False


class Jetstream:
    """The server. `with Jetstream() as bluesky:` listens on a free port of 127.0.0.1.

    `lookback` is how far a cursor may go back. `overtaking` live events come before the rest of a
    replay; with `repeats` every event is delivered so many times.
    """

    def __init__(
        self, *, port: int = 0, lookback: timedelta = timedelta(hours=36), first_seq: int = 1
    ) -> None:
        self.lookback = lookback
        self.overtaking = 0
        self.repeats = 1
        # Seconds before each message of a replay.
        self.pause = 0.0
        # How the next connects are answered; when used up they succeed.
        self.script: deque[Refusal] = deque()
        self.requests: list[str] = []
        self.subscribers: list[Subscriber] = []
        self.history: list[Happening] = []
        self.connects = 0
        self._numbers = itertools.count(first_seq)
        self._newest = 0
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._server = serve(
            self._serve,
            "127.0.0.1",
            port,
            process_request=self._answer,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead the program here."""
        return {"BLUESKY_JETSTREAM_HOSTS": self.url}

    def __enter__(self) -> Jetstream:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self.end("abort")
        self._server.shutdown()

    # --- what happens on the network

    def publish(
        self, text: object, *, did: str = ALICE, at: datetime | None = None, **record: Any
    ) -> str:
        """A post is created; returns its address. `record` adds to it or replaces what it has."""
        time_us = self._moment(at)
        rkey = record.pop("rkey", None) or tid(time_us)
        self._commit(time_us, did, rkey, "create", post_record(time_us, text, record))
        return f"at://{did}/{POSTS}/{rkey}"

    def update(self, uri: str, text: str, *, at: datetime | None = None, **record: Any) -> None:
        _, _, did, _, rkey = uri.split("/")
        time_us = self._moment(at)
        self._commit(time_us, did, rkey, "update", post_record(time_us, text, record))

    def delete(self, uri: str, *, at: datetime | None = None) -> None:
        _, _, did, _, rkey = uri.split("/")
        self._commit(self._moment(at), did, rkey, "delete", None)

    def account(self, did: str, status: str = "") -> None:
        """The account is active, or what `status` says."""
        time_us = self._moment(None)
        body = {"active": not status, "did": did, "seq": 1, "time": rfc3339(time_us)}
        self._happen(time_us, did, "account", body | ({"status": status} if status else {}))

    def identity(self, did: str, handle: str) -> None:
        time_us = self._moment(None)
        body = {"did": did, "handle": handle, "seq": 1, "time": rfc3339(time_us)}
        self._happen(time_us, did, "identity", body)

    def like(self, *, did: str = BOB) -> None:
        """Something in another collection."""
        time_us = self._moment(None)
        body = commit_body(time_us, tid(time_us), "create", {"$type": "app.bsky.feed.like"})
        self._happen(time_us, did, "commit", body | {"collection": "app.bsky.feed.like"})

    def _commit(
        self, time_us: int, did: str, rkey: str, operation: str, record: dict[str, Any] | None
    ) -> None:
        self._happen(time_us, did, "commit", commit_body(time_us, rkey, operation, record))

    def _moment(self, at: datetime | None) -> int:
        """Times only grow, but for those that a test gives."""
        if at is not None:
            return int(at.timestamp() * 1_000_000)
        with self._lock:
            self._newest = max(self._newest + 1, time.time_ns() // 1000)
            return self._newest

    def _happen(self, time_us: int, did: str, kind: str, body: Mapping[str, Any]) -> None:
        with self._lock:
            event = Happening(time_us, next(self._numbers), did, kind, body)
            self.history.append(event)
            for subscriber in self.subscribers:
                if subscriber.wanted.has(event):
                    for _ in range(self.repeats):
                        subscriber.actions.put(event.message(subscriber.wanted.version))

    # --- what happens on the wire

    def send(self, data: bytes) -> None:
        """Raw bytes, as one message, to every open connection."""
        self._do(data)

    def end(self, how: str) -> None:
        """End every open connection.

        close (1000), restart (1012), trouble (1011), abort (without a farewell), reset, cut
        (inside a frame) or too_slow (an error message, then 1000).
        """
        if how == "too_slow":
            text = "consumer is far behind"
            self.send(as_json({"$type": "error", "error": "ConsumerTooSlow", "message": text}))
            how = "close"
        self._do(how)

    def stall(self) -> None:
        """Fall silent on every open connection; not even pings are answered."""
        with self._lock:
            for subscriber in self.subscribers:
                subscriber.is_stalled = True
                subscriber.connection.recv_flow_control.acquire()

    def wait_for_stream(self, connects: int = 1, seconds: float = 60.0) -> None:
        """Until the so-manieth connect, or a later one, has led to an open connection."""
        wait_for_connect(lambda: list(self.subscribers), connects, seconds)

    def _do(self, action: bytes | str) -> None:
        with self._lock:
            for subscriber in self.subscribers:
                subscriber.actions.put(action)

    # --- the server's side

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before the websocket: what the script says, then what the service checks."""
        with self._lock:
            self.connects += 1
            number = self.connects
            self.requests.append(request.path)
            refusal = self.script.popleft() if self.script else None
        if refusal is None:
            refusal = self._checked(request.path)
        if refusal is None:
            self._subscribe(number, connection, request.path)
            return None
        if refusal.how == "hang":
            self._stop.wait()
        if refusal.how != "answer":
            _reset(connection)
            return None
        response = connection.respond(refusal.status, refusal.body)
        for name, value in refusal.headers.items():
            response.headers[name] = value
        return response

    def _checked(self, path: str) -> Refusal | None:
        address = urlsplit(path)
        query = parse_qs(address.query)
        if address.path == V1:
            return None
        if address.path != V2:
            return Refusal(404, "404 page not found")
        if {"wantedCollections", "wantedDids"} & query.keys():
            return problem(400, "InvalidRequest", "wantedCollections: use collections")
        if "collections" in query and "commit" not in query.get("kinds", ["commit"]):
            return problem(400, "InvalidRequest", "collections without kinds=commit")
        cursor = int(query.get("cursor", ["0"])[0])
        floor = self._floor()
        if 0 < cursor < FIRST_TIME and floor is not None and cursor < floor.seq:
            return problem(400, "CursorTooOld", f"the oldest seq is {floor.seq}")
        return None

    def _floor(self) -> Happening | None:
        """The oldest event that is still kept."""
        oldest = (datetime.now(UTC) - self.lookback).timestamp() * 1_000_000
        return next((event for event in self.history if event.time_us >= oldest), None)

    def _subscribe(self, number: int, connection: ServerConnection, path: str) -> None:
        """From here on nothing is missed, though the answer is still to be sent."""
        address = urlsplit(path)
        wanted = Wanted(1 if address.path == V1 else 2, parse_qs(address.query))
        subscriber = Subscriber(number, connection, wanted)
        with self._lock:
            for message in self._replay(wanted):
                subscriber.actions.put(message)
            self.subscribers.append(subscriber)

    def _serve(self, connection: ServerConnection) -> None:
        with self._lock:
            subscriber = next(each for each in self.subscribers if each.connection is connection)
        try:
            while connection.state is State.OPEN and self._act(subscriber):
                pass
        except (ConnectionClosed, OSError):
            # The client has gone.
            return
        finally:
            with self._lock:
                self.subscribers.remove(subscriber)
                if subscriber.is_stalled:
                    connection.recv_flow_control.release()

    def _replay(self, wanted: Wanted) -> Iterator[bytes]:
        """What comes first: a notice perhaps, then the past."""
        cursor, floor = wanted.cursor, self._floor()
        if cursor is None or floor is None:
            return
        is_time = cursor >= FIRST_TIME
        if not is_time and cursor > self.history[-1].seq:
            yield info("FutureCursor", "the cursor is beyond the tip")
            return
        if wanted.version == 2 and is_time and cursor < floor.time_us and self._is_lossy(floor):
            yield info("OutdatedCursor", f"resumed from {floor.seq}")
        kept = self.history[self.history.index(floor) :]
        past = [e for e in kept if (e.time_us if is_time else e.seq) >= cursor and wanted.has(e)]
        split = max(0, len(past) - self.overtaking)
        for event in past[split:] + past[:split]:
            for _ in range(self.repeats):
                yield event.message(wanted.version)

    def _is_lossy(self, floor: Happening) -> bool:
        return floor is not self.history[0]

    def _act(self, subscriber: Subscriber) -> bool:
        """Do one thing that waits; False when it was the last."""
        try:
            action = subscriber.actions.get(timeout=0.02)
        except queue.Empty:
            return True
        if isinstance(action, bytes):
            if self.pause:
                time.sleep(self.pause)
            if not subscriber.is_stalled:
                subscriber.connection.send(action, text=True)
            return True
        _end(subscriber.connection, action)
        return False


def _end(connection: ServerConnection, how: str) -> None:
    if how == "cut":
        # A frame of 100 bytes is announced, and never comes whole.
        connection.socket.sendall(b"\x81\x64" + b'{"did":"did:plc:')
    if how in ("abort", "cut"):
        connection.socket.shutdown(socket.SHUT_RDWR)
        connection.close_socket()
    elif how == "reset":
        _reset(connection)
    else:
        connection.close({"close": 1000, "restart": 1012, "trouble": 1011}[how], how)


def _reset(connection: ServerConnection) -> None:
    linger = struct.pack("ii", 1, 0)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close_socket()


def problem(status: int, name: str, message: str) -> Refusal:
    """How version 2 says no."""
    body = json.dumps({"error": name, "message": message})
    return Refusal(status, body, {"Content-Type": "application/json"})


def _texts(files: Sequence[str]) -> Iterator[str]:
    """Lines of the files, or posts invented for this project, for ever."""
    if files:
        texts = [line for name in files for line in Path(name).read_text("utf-8").splitlines()]
    else:
        from modeling import starter

        texts = [post.text for post in starter.labelled()]
        random.shuffle(texts)
    yield from itertools.cycle(filter(str.strip, texts))


def _author(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "did:plc:" + "".join(letters[(number >> 5 * place) & 31] for place in range(24))


def main() -> None:
    """Stream invented posts until Ctrl-C, some of them deleted a little later."""
    parser = argparse.ArgumentParser(prog="python -m tests.jetstream", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8991)
    parser.add_argument("--rate", type=float, default=3.0, help="Posts a second.")
    parser.add_argument("--past", type=int, default=0, help="Posts that a cursor finds at once.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="Texts to stream, one a line.")
    options = parser.parse_args()
    texts = _texts(options.files)
    with Jetstream(port=options.port) as server:
        for text in itertools.islice(texts, options.past):
            server.publish(text, did=_author(random.randrange(5000)))
        settings = "\n".join(f"export {name}={value}" for name, value in server.environment.items())
        sys.stdout.write(
            f"{settings}\n\npython manage.py stream --source bluesky --query lang:en\n\n"
        )
        sys.stdout.flush()
        try:
            for text in texts:
                time.sleep(random.uniform(0.5, 1.5) / options.rate)
                uri = server.publish(text, did=_author(random.randrange(500)))
                if random.random() < 0.05:
                    timer = threading.Timer(5, server.delete, [uri])
                    timer.daemon = True
                    timer.start()
        except KeyboardInterrupt:
            sys.stdout.write("\nStopped.\n")


if __name__ == "__main__":
    main()
