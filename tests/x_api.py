"""A stand-in for X API v2's filtered stream: a real HTTP server on a real socket.

Tests script its faults. By hand, `python -m tests.x_api` streams invented posts, for those who
want to try the program without an account; it prints the settings to use.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import random
import select
import socket
import struct
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.x_api_refusals import (
    PROBLEMS,
    Refusal,
    no_rules,
    too_many_connections,
    unauthorized,
)
from tests.x_api_rules import InvalidRule, Matcher, parse

TOKEN = "stand-in-bearer-token-0123456789"
RULES = "/2/tweets/search/stream/rules"
STREAM = "/2/tweets/search/stream"
CONNECTIONS = "/2/connections"
# What comes without asking for more.
DEFAULT_FIELDS = {"id", "text", "edit_history_tweet_ids", "edit_history_post_ids"}
WINDOW_SECONDS = 900


class Stream:
    """One open connection; the handler's thread writes what others put."""

    def __init__(self, number: int) -> None:
        self.id = str(number)
        self.connected_at = datetime.now(UTC)
        self.actions: queue.Queue[bytes | str] = queue.Queue()
        self.is_stalled = False


class XApi:
    """The server. `with XApi() as x:` listens on a free port of 127.0.0.1 until the block ends.

    `chunk_bytes` cuts everything into HTTP chunks of so many bytes, whose borders then fall
    inside lines and inside UTF-8 characters.
    """

    def __init__(
        self, *, port: int = 0, keep_alive_seconds: float = 20.0, chunk_bytes: int | None = None
    ) -> None:
        self.token = TOKEN
        self.keep_alive_seconds = keep_alive_seconds
        self.chunk_bytes = chunk_bytes
        self.rules: dict[str, dict[str, str]] = {}
        self.rules_allowed = 1000
        self.requests: list[tuple[str, str]] = []
        # How the next connects are answered; when used up they succeed.
        self.script: deque[Refusal] = deque()
        self.streams: list[Stream] = []
        self.connects = 0
        self.kills = 0
        self._matchers: dict[str, Matcher] = {}
        self._numbers = itertools.count(1)
        self._newest = int(time.time() * 1000) << 22
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.api = self  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead the program here."""
        return {"TWITTER_API_BASE_URL": self.url, "TWITTER_BEARER_TOKEN": self.token}

    def __enter__(self) -> XApi:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end("close")
        self._server.shutdown()
        self._server.server_close()

    # --- rules

    def add_rule(self, value: str, tag: str | None = None) -> str:
        """Raises InvalidRule; KeyError names the standing rule of the same value."""
        with self._lock:
            for rule in self.rules.values():
                if rule["value"] == value:
                    raise KeyError(rule["id"])
            matcher = parse(value)
            identity = str(1273026480692322304 + next(self._numbers))
            self.rules[identity] = {"id": identity, "value": value}
            if tag is not None:
                self.rules[identity]["tag"] = tag
            self._matchers[identity] = matcher
            return identity

    def delete_rule(self, identity: str) -> bool:
        with self._lock:
            self._matchers.pop(identity, None)
            return self.rules.pop(identity, None) is not None

    def matching(self, post: Mapping[str, Any]) -> list[dict[str, str]]:
        with self._lock:
            return [
                {"id": identity, "tag": self.rules[identity].get("tag", "")}
                for identity, matcher in self._matchers.items()
                if matcher(post)
            ]

    # --- what happens on the stream

    def new_id(self) -> str:
        with self._lock:
            self._newest += 1 << 22
            return str(self._newest)

    def publish(
        self,
        text: str,
        *,
        username: str = "catperson",
        rules: Sequence[Mapping[str, str]] | None = None,
        includes: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Send a post to whoever follows it now, and return its id.

        `rules` overrides what matches; `fields` are added to the post or replace what it has.
        """
        identity = str(fields.pop("id", None) or self.new_id())
        post = {
            "id": identity,
            "text": text,
            "author_id": str(zlib.crc32(username.encode())),
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "lang": "en",
            "conversation_id": identity,
            "edit_history_tweet_ids": [identity],
            "public_metrics": {"retweet_count": 0, "like_count": 1, "impression_count": 7},
            **fields,
        }
        if rules is None:
            rules = self.matching({**post, "username": username})
        if rules:
            user = {"id": post["author_id"], "name": username.title(), "username": username}
            payload = {
                "data": post,
                "includes": includes or {"users": [user]},
                "matching_rules": list(rules),
            }
            self.send(json.dumps(payload, ensure_ascii=False).encode() + b"\r\n")
        return identity

    def send(self, data: bytes) -> None:
        """Raw bytes, to every open stream."""
        self._do(data)

    def end(self, how: str) -> None:
        """End every open stream: close, reset, cut (inside a chunk) or farewell, then close."""
        if how == "farewell":
            error = {
                "title": "operational-disconnect",
                "disconnect_type": "UpstreamOperationalDisconnect",
                "detail": "This stream has been disconnected upstream for operational reasons.",
                "type": f"{PROBLEMS}operational-disconnect",
            }
            self.send(json.dumps({"errors": [error]}).encode() + b"\r\n")
            how = "close"
        self._do(how)

    def stall(self) -> None:
        """Fall silent on every open stream: not even keep-alives."""
        with self._lock:
            for stream in self.streams:
                stream.is_stalled = True

    def wait_for_stream(self, connects: int = 1, seconds: float = 20.0) -> None:
        """Until the so-manieth connect has led to an open stream."""
        deadline = time.monotonic() + seconds
        while not (self.connects >= connects and self.streams):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.connects} connects, {len(self.streams)} open")
            time.sleep(0.01)

    def _do(self, action: bytes | str) -> None:
        with self._lock:
            for stream in self.streams:
                stream.actions.put(action)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and the first line leave at once.
    disable_nagle_algorithm = True

    @property
    def api(self) -> XApi:
        api = self.server.api  # type: ignore[attr-defined]
        assert isinstance(api, XApi)
        return api

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""

    def _route(self) -> tuple[str, dict[str, str]] | None:
        """Path and query; None when the caller was turned away."""
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.api.requests.append((self.command, address.path))
        if self.headers.get("Authorization") != f"Bearer {self.api.token}":
            self._refuse(unauthorized())
            return None
        return address.path, query

    def do_GET(self) -> None:
        if (route := self._route()) is None:
            return
        path, query = route
        if path == RULES:
            rules = list(self.api.rules.values())
            meta = {"sent": _now(), "result_count": len(rules)}
            self._answer(200, {"data": rules, "meta": meta} if rules else {"meta": meta})
        elif path == STREAM:
            self._stream(query)
        elif path == CONNECTIONS:
            self._answer(200, {"data": [self._describe(stream) for stream in self.api.streams]})
        else:
            self._answer(404, {"title": "Not Found", "type": "about:blank", "status": 404})

    def do_POST(self) -> None:
        if (route := self._route()) is None:
            return
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        is_trial = route[1].get("dry_run") == "true"
        if "add" in body:
            self._answer(201, self._add(body["add"], is_trial))
        else:
            ids = body.get("delete", {}).get("ids", [])
            deleted = sum(self.api.delete_rule(str(identity)) for identity in ids)
            summary = {"deleted": deleted, "not_deleted": len(ids) - deleted}
            self._answer(200, {"meta": {"sent": _now(), "summary": summary}})

    def do_DELETE(self) -> None:
        if self._route() is None:
            return
        killed = len(self.api.streams)
        self.api.kills += 1
        self.api.end("close")
        self._answer(200, {"data": {"successful_kills": killed, "failed_kills": 0, "results": []}})

    def _add(self, rules: list[dict[str, str]], is_trial: bool) -> dict[str, Any]:
        created: list[dict[str, str]] = []
        errors: list[dict[str, Any]] = []
        for rule in rules:
            value = rule["value"]
            try:
                if len(self.api.rules) >= self.api.rules_allowed:
                    raise InvalidRule("You have reached the maximum number of rules")
                identity = self.api.add_rule(value, rule.get("tag"))
                created.append(dict(self.api.rules[identity]))
                if is_trial:
                    self.api.delete_rule(identity)
            except KeyError as standing:
                errors.append(_rule_error(value, "DuplicateRule", "duplicate-rules"))
                errors[-1]["id"] = standing.args[0]
            except InvalidRule as error:
                errors.append(_rule_error(value, "UnprocessableEntity", "invalid-rules"))
                errors[-1]["details"] = [str(error)]
        counts = {"created": len(created), "not_created": len(errors)}
        answer: dict[str, Any] = {"meta": {"sent": _now(), "summary": counts}}
        if created:
            answer["data"] = created
        if errors:
            answer["errors"] = errors
        return answer

    def _stream(self, query: Mapping[str, str]) -> None:
        api = self.api
        with api._lock:
            api.connects += 1
            if api.script:
                refusal = api.script.popleft()
            elif not api.rules:
                refusal = no_rules()
            elif api.streams:
                refusal = too_many_connections()
            else:
                stream = Stream(api.connects)
                api.streams.append(stream)
                refusal = None
        if refusal is not None:
            self._refuse(refusal)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self._send_window(max(0, 50 - api.connects))
        self.end_headers()
        self.close_connection = True
        try:
            self._serve(stream, _Fields(query))
        except OSError:
            # The client has gone.
            return
        finally:
            with api._lock:
                api.streams.remove(stream)

    def _serve(self, stream: Stream, fields: _Fields) -> None:
        while True:
            action = self._next_action(stream)
            if action is None:
                return
            if action == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.rfile.close()
                self.wfile.close()
                self.connection.close()
                return
            if action == "cut":
                self.wfile.write(b"40\r\n" + b'{"data":{"id":"12')
                return
            if isinstance(action, str):
                self.wfile.write(b"0\r\n\r\n")
                return
            if not stream.is_stalled:
                self._write(fields.only(action))

    def _next_action(self, stream: Stream) -> bytes | str | None:
        """What to do now; a keep-alive when it is time; None when the client has gone."""
        deadline = time.monotonic() + self.api.keep_alive_seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                return stream.actions.get(timeout=min(left, 0.1))
            except queue.Empty:
                readable, _, _ = select.select([self.connection], [], [], 0)
                if readable and not self.connection.recv(1, socket.MSG_PEEK):
                    return None
        return b"\r\n"

    def _write(self, data: bytes) -> None:
        size = self.api.chunk_bytes or max(1, len(data))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()

    def _refuse(self, refusal: Refusal) -> None:
        self._answer(refusal.status, refusal.body, refusal.headers)

    def _answer(
        self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _send_window(self, remaining: int) -> None:
        self.send_header("x-rate-limit-limit", "50")
        self.send_header("x-rate-limit-remaining", str(remaining))
        self.send_header("x-rate-limit-reset", str(int(time.time() + WINDOW_SECONDS)))

    def _describe(self, stream: Stream) -> dict[str, Any]:
        return {
            "id": stream.id,
            "endpoint_name": "filtered_stream",
            "connected_at": stream.connected_at.isoformat(),
            "client_ip": self.client_address[0],
        }


class _Fields:
    """What the client asked for: the rest is left out, as X does."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._fields = DEFAULT_FIELDS | set(query.get("tweet.fields", "").split(","))
        # One name asks for either spelling.
        self._fields |= {name.replace("tweet", "post") for name in self._fields}
        self._expands = bool(query.get("expansions"))

    def only(self, line: bytes) -> bytes:
        try:
            payload = json.loads(line)
            data = payload["data"]
            if "id" in data:
                payload["data"] = {key: data[key] for key in data if key in self._fields}
        except (ValueError, TypeError, KeyError):
            return line
        if not self._expands:
            payload.pop("includes", None)
        return json.dumps(payload, ensure_ascii=False).encode() + b"\r\n"


def _rule_error(value: str, title: str, kind: str) -> dict[str, Any]:
    return {"value": value, "title": title, "type": PROBLEMS + kind}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _texts(files: Sequence[str]) -> Iterator[str]:
    """Lines of the files, or posts invented for this project, for ever."""
    if files:
        texts = [line for name in files for line in Path(name).read_text("utf-8").splitlines()]
    else:
        from modeling import starter

        texts = [post.text for post in starter.labelled()]
        random.shuffle(texts)
    yield from itertools.cycle(filter(str.strip, texts))


def main() -> None:
    """Stream invented posts until Ctrl-C. Every rule gets some, whatever it asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.x_api", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8990)
    parser.add_argument("--rate", type=float, default=3.0, help="Posts a second.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="Texts to stream, one a line.")
    options = parser.parse_args()
    with XApi(port=options.port) as api:
        settings = "\n".join(f"export {name}={value}" for name, value in api.environment.items())
        sys.stdout.write(f"{settings}\n\npython manage.py stream --source x --query cats\n\n")
        sys.stdout.flush()
        try:
            for text in _texts(options.files):
                time.sleep(random.uniform(0.5, 1.5) / options.rate)
                rules = api.matching({"text": text})
                if not rules and api.rules:
                    rule = random.choice(list(api.rules.values()))
                    rules = [{"id": rule["id"], "tag": rule.get("tag", "")}]
                username = f"user{random.randrange(500)}"
                api.publish(text, username=username, rules=rules)
        except KeyboardInterrupt:
            sys.stdout.write("\nStopped.\n")


if __name__ == "__main__":
    main()
