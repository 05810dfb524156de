"""A server that floods its one client with posts that it made before, as X would send them."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

STREAM = "/2/tweets/search/stream"
# The tag names stream 1, which the client makes.
RULE = {"id": "1", "tag": "sentiment:1:cats"}
METRICS = ("retweet", "reply", "like", "quote", "bookmark", "impression")
# X's ids hold the milliseconds since then.
EPOCH_MS = 1288834974657
WRITE_BYTES = 16_384


def lines(texts: Sequence[str]) -> list[bytes]:
    """Each text as a line of X's stream with all that we ask for; every other one is an answer,
    and brings the post that it answers."""
    first = (int(time.time() * 1000) - len(texts) - EPOCH_MS) << 22
    return [_line(text, first + (number << 22), number) for number, text in enumerate(texts)]


def _line(text: str, identity: int, number: int) -> bytes:
    author = str(10**9 + number % 5000)
    post = _post(text, identity, author)
    users = [{"id": author, "name": f"Cat {author}", "username": f"cat{author}"}]
    includes: dict[str, Any] = {"users": users}
    if number % 2:
        answered = _post(f"What they all talk about today: {text[:60]}", identity - 1, "77")
        post["referenced_tweets"] = [{"type": "replied_to", "id": answered["id"]}]
        users.append({"id": "77", "name": "Some Body", "username": "somebody"})
        includes["tweets"] = [answered]
    payload = {"data": post, "includes": includes, "matching_rules": [RULE]}
    return json.dumps(payload, ensure_ascii=False).encode() + b"\r\n"


def _post(text: str, identity: int, author: str) -> dict[str, Any]:
    moment = time.gmtime(((identity >> 22) + EPOCH_MS) / 1000)
    return {
        "id": str(identity),
        "text": text,
        "author_id": author,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", moment),
        "lang": "en",
        "conversation_id": str(identity),
        "edit_history_tweet_ids": [str(identity)],
        "public_metrics": {f"{name}_count": 3 for name in METRICS},
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    flood = b""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] == STREAM:
            self._flood()
        else:
            self._answer(200, {"data": {"project_usage": "0"}, "meta": {"result_count": 0}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        added = [{**rule, "id": RULE["id"]} for rule in body.get("add", [])]
        self._answer(201, {"data": added, "meta": {"summary": {"created": len(added)}}})

    def _flood(self) -> None:
        flood = self.server.flood  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for start in range(0, len(flood), WRITE_BYTES):
                self.wfile.write(flood[start : start + WRITE_BYTES])
            while True:
                time.sleep(10)
                self.wfile.write(b"2\r\n\r\n\r\n")
        except OSError:
            # The client has gone.
            return

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        # No rules stand: `data` is absent then.
        if self.path.startswith(f"{STREAM}/rules") and self.command == "GET":
            del body["data"]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _serve(texts: Sequence[str], pipe: Connection) -> None:
    server = _Server(("127.0.0.1", 0), _Handler)
    # A chunk a post, as X does it.
    server.flood = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines(texts))
    pipe.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def flood(texts: Sequence[str]) -> Iterator[str]:
    """The address of a server that sends all texts on each connect, from a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(texts, theirs), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()
