"""A stand-in for X API v2: filtered stream, recent search, look-up; a real server on a socket.

Tests script its faults. By hand, `python -m tests.x_api` streams invented posts, for those who
want to try the program without an account; it prints the settings to use.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.connects import wait_for_connect
from tests.x_api_posts import Archive, Ids, Published, RateWindow
from tests.x_api_refusals import PROBLEMS, Refusal
from tests.x_api_rules import Matcher, parse
from tests.x_api_server import POSTS, RULES, SEARCH, STREAM, USAGE, Handler, Server
from tests.x_api_stream import Stream

__all__ = ["POSTS", "RULES", "SEARCH", "STREAM", "TOKEN", "USAGE", "XApi"]

TOKEN = "stand-in-bearer-token-0123456789"
CONNECTS_ALLOWED = 50


class XApi:
    """The server. `with XApi() as x:` listens on a free port of 127.0.0.1 until the block ends.

    `chunk_bytes` cuts everything into HTTP chunks of so many bytes, whose borders then fall
    inside lines and inside UTF-8 characters. `enterprise` accounts may have missed posts
    replayed. `search_lag_seconds` is how young a search's end may be (X: 10). `zips` compresses
    all answers.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keep_alive_seconds: float = 20.0,
        chunk_bytes: int | None = None,
        enterprise: bool = False,
        search_lag_seconds: float = 0.0,
        zips: bool = False,
    ) -> None:
        self.token = TOKEN
        self.keep_alive_seconds = keep_alive_seconds
        self.chunk_bytes = chunk_bytes
        self.enterprise = enterprise
        self.search_lag_seconds = search_lag_seconds
        self.zips = zips
        self.rules: dict[str, dict[str, str]] = {}
        self.rules_allowed = 1000
        self.rules_a_page = 1000
        # X answers 200, 201 or 400 when every rule of a call was bad.
        self.nothing_added_status = 201
        # Every call: method and path; the same with what was asked.
        self.requests: list[tuple[str, str]] = []
        self.queries: list[tuple[str, dict[str, str]]] = []
        # How the next connects are answered; when used up they succeed.
        self.script: deque[Refusal] = deque()
        self.streams: list[Stream] = []
        self.connects = 0
        self.kills = 0
        # What the account is billed for: posts delivered, by whatever way.
        self.posts_read = 0
        self.cap_reset_day = 1
        self.archive = Archive()
        self.window_seconds = 900.0
        self.search_window = RateWindow(450)
        # Whether search knows its fields as tweet.fields or post.fields, and finds all or matches.
        self.search_spelling = "tweet"
        self.finds_all = False
        self.lock = threading.RLock()
        self._refusals: dict[str, deque[Refusal]] = defaultdict(deque)
        self._matchers: dict[str, Matcher] = {}
        self._numbers = itertools.count(1)
        self._ids = Ids()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.api = self  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead the program here."""
        return {
            "TWITTER_API_BASE_URL": self.url,
            "TWITTER_BEARER_TOKEN": self.token,
            "TWITTER_SEARCH_LAG_SECONDS": str(self.search_lag_seconds),
        }

    def __enter__(self) -> XApi:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end("close")
        self._server.shutdown()
        self._server.server_close()

    # --- faults

    def refuse(self, path: str, *refusals: Refusal) -> None:
        """Answer the next calls to `path` so; with status 200 it is any answer one likes."""
        self._refusals[path].extend(refusals)

    def answer_again(self, path: str) -> None:
        """Forget what `refuse` was told of `path`."""
        with self.lock:
            self._refusals[path].clear()

    def scripted(self, path: str) -> Refusal | None:
        with self.lock:
            waiting = self._refusals[path]
            return waiting.popleft() if waiting else None

    def connect_window(self) -> dict[str, str]:
        return {
            "x-rate-limit-limit": str(CONNECTS_ALLOWED),
            "x-rate-limit-remaining": str(max(0, CONNECTS_ALLOWED - self.connects)),
            "x-rate-limit-reset": str(int(time.time() + self.window_seconds)),
        }

    def asked(self, path: str) -> list[dict[str, str]]:
        """The queries of all calls to `path`."""
        return [query for called, query in self.queries if called == path]

    # --- rules

    def add_rule(self, value: str, tag: str | None = None) -> str:
        """Raises InvalidRule; KeyError names the standing rule of the same value."""
        with self.lock:
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
        with self.lock:
            self._matchers.pop(identity, None)
            return self.rules.pop(identity, None) is not None

    def matching(self, post: Mapping[str, Any]) -> list[dict[str, str]]:
        with self.lock:
            return [
                {"id": identity, "tag": self.rules[identity].get("tag", "")}
                for identity, matcher in self._matchers.items()
                if matcher(post)
            ]

    # --- what is posted

    def new_id(self, at: datetime | None = None) -> str:
        return self._ids.new(at)

    def publish(
        self,
        text: str,
        *,
        username: str = "catperson",
        rules: Sequence[Mapping[str, str]] | None = None,
        includes: Mapping[str, Any] | None = None,
        at: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Send a post to whoever follows it now, keep it for searches, and return its id.

        `rules` overrides what matches; `fields` are added to the post or replace what it has.
        One posted in the past (`at`) is only kept.
        """
        posted = at or datetime.now(UTC)
        identity = str(fields.pop("id", None) or self.new_id(posted))
        post = {
            "id": identity,
            "text": text,
            "author_id": str(zlib.crc32(username.encode())),
            "created_at": f"{posted.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            "lang": "en",
            "conversation_id": identity,
            "edit_history_tweet_ids": [identity],
            "public_metrics": {"retweet_count": 0, "like_count": 1, "impression_count": 7},
            **fields,
        }
        user = {"id": post["author_id"], "name": username.title(), "username": username}
        published = Published(post, user, includes or {"users": [user]})
        with self.lock:
            self.archive.add(published)
            if at is None and (line := self._line(published, rules)):
                self.read(len(self.streams))
                self.send(line)
        return identity

    def _line(
        self, published: Published, rules: Sequence[Mapping[str, str]] | None = None
    ) -> bytes:
        """The post as the stream carries it; b"" when no rule wants it."""
        if rules is None:
            rules = self.matching(published.seen_by_rules())
        payload = {
            "data": published.post,
            "includes": published.includes,
            "matching_rules": list(rules),
        }
        return json.dumps(payload, ensure_ascii=False).encode() + b"\r\n" if rules else b""

    def replayed(self, reach: timedelta) -> list[bytes]:
        """What the stream would have carried in the last minutes, oldest first."""
        posts = self.archive.since(datetime.now(UTC) - reach)
        lines = [line for post in posts if (line := self._line(post))]
        self.read(len(lines))
        return lines

    def read(self, posts: int) -> None:
        with self.lock:
            self.posts_read += posts

    def delete(self, identity: str) -> None:
        """Its author deletes a post: search and look-up show it no more; no stream says so."""
        self.archive.delete(identity)

    def protect(self, identity: str) -> None:
        """Its author closes the account to strangers."""
        self.archive.protect(identity)

    # --- what happens on the stream

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
        with self.lock:
            self._do(how)
            # Whoever hears of the end may connect again at once.
            self.streams.clear()

    def stall(self) -> None:
        """Fall silent on every open stream: not even keep-alives."""
        with self.lock:
            for stream in self.streams:
                stream.is_stalled = True

    def wait_for_stream(self, connects: int = 1, seconds: float = 60.0) -> None:
        """Until the so-manieth connect, or a later one, has led to an open stream."""
        wait_for_connect(lambda: list(self.streams), connects, seconds)

    def _do(self, action: bytes | str) -> None:
        with self.lock:
            for stream in self.streams:
                stream.actions.put(action)


def _texts(files: Sequence[str]) -> Iterator[str]:
    """Lines of the files, or posts invented for this project, for ever."""
    if files:
        texts = [line for name in files for line in Path(name).read_text("utf-8").splitlines()]
    else:
        from modeling import starter

        texts = [post.text for post in starter.labelled()]
        random.shuffle(texts)
    yield from itertools.cycle(filter(str.strip, texts))


def _fill_archive(api: XApi, texts: Iterator[str], posts: int) -> None:
    """So many posts of the last two days, for searches."""
    now = datetime.now(UTC)
    for text in itertools.islice(texts, posts):
        at = now - timedelta(seconds=random.uniform(60, 172_800))
        api.publish(text, username=f"user{random.randrange(500)}", at=at)


def main() -> None:
    """Stream invented posts until Ctrl-C, and let them be searched.

    Every rule gets some, and every search finds some, whatever it asks for.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.x_api", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8990)
    parser.add_argument("--rate", type=float, default=3.0, help="Posts a second.")
    parser.add_argument("--backlog", type=int, default=500, help="Posts of the last two days.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="Texts to stream, one a line.")
    options = parser.parse_args()
    with XApi(port=options.port) as api:
        api.finds_all = True
        texts = _texts(options.files)
        _fill_archive(api, texts, options.backlog)
        settings = "\n".join(f"export {name}={value}" for name, value in api.environment.items())
        sys.stdout.write(
            f"{settings}\n\npython manage.py stream --source x --query cats\n"
            "python manage.py search_recent cats\n\n"
        )
        sys.stdout.flush()
        try:
            for text in texts:
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
