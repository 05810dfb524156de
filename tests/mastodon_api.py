"""A stand-in for a Mastodon instance: its timelines by REST and as server-sent events.

A real HTTP server on a real socket; tests script its faults. By hand, `python -m
tests.mastodon_api` publishes invented posts, for those who want to try the program without an
account; it prints the settings to use.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from tests.mastodon_api_server import TIMELINES, Handler, Refusal, Server, Stream

TOKEN = "stand-in-user-token-0123456789"


class MastodonApi:
    """The server. `with MastodonApi() as m:` listens on a free port until the block ends.

    `chunk_bytes` cuts streams into HTTP chunks of so many bytes, whose borders then fall inside
    lines and inside UTF-8 characters. `window` is how many REST requests are allowed.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        keep_alive_seconds: float = 15.0,
        chunk_bytes: int | None = None,
        window: int = 300,
    ) -> None:
        self.token = TOKEN
        self.keep_alive_seconds = keep_alive_seconds
        self.chunk_bytes = chunk_bytes
        self.window = window
        self.statuses: dict[int, dict[str, Any]] = {}
        self.requests: list[str] = []
        # How the next requests are answered whose path begins so; when used up they succeed.
        self.script: defaultdict[str, deque[Refusal]] = defaultdict(deque)
        # Called before any answer, or a page of a timeline, is made: to publish, or to wait.
        self.before_request: Callable[[], object] = lambda: None
        self.before_page: Callable[[], object] = lambda: None
        self.streaming_type = "text/event-stream"
        self.streams: list[Stream] = []
        self.connects = 0
        self.hidden: set[int] = set()
        self._newest = 0
        self._lock = threading.RLock()
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.api = self

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead the program here."""
        return {"MASTODON_BASE_URL": self.url, "MASTODON_ACCESS_TOKEN": self.token}

    def __enter__(self) -> MastodonApi:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end("close")
        self._server.shutdown()
        self._server.server_close()

    # --- what happens on the instance

    def new_id(self, seconds_ago: float = 0.0) -> int:
        """As Mastodon makes them: milliseconds, then what keeps them apart."""
        with self._lock:
            identity = int((time.time() - seconds_ago) * 1000) << 16 | random.randrange(1 << 16)
            if not seconds_ago:
                identity = self._newest = max(identity, self._newest + 1)
            return identity

    def publish(
        self,
        text: str,
        *,
        tags: Sequence[str] = (),
        username: str = "catperson",
        is_live: bool = True,
        seconds_ago: float = 0.0,
        **fields: Any,
    ) -> str:
        """A new status; return its id. Unless `is_live` no open stream tells of it.

        `seconds_ago` is how late a status of another instance has come. `fields` are added to the
        status or replace what it has.
        """
        identity = self.new_id(seconds_ago)
        written = datetime.fromtimestamp(time.time() - seconds_ago, UTC)
        status = {
            "id": str(identity),
            "uri": f"{self.url}/users/{username}/statuses/{identity}",
            "url": f"{self.url}/@{username}/{identity}",
            "created_at": _iso(written),
            "edited_at": None,
            "account": _account(username, self.url),
            "content": f"<p>{escape(text)}</p>",
            "spoiler_text": "",
            "visibility": "public",
            "language": "en",
            "in_reply_to_id": None,
            "reblog": None,
            "quote": None,
            "tags": [{"name": tag, "url": f"{self.url}/tags/{tag}"} for tag in tags],
            "mentions": [],
            "media_attachments": [],
            "emojis": [],
            "favourites_count": 0,
            "reblogs_count": 0,
            "replies_count": 0,
            **fields,
        }
        with self._lock:
            self.statuses[int(status["id"])] = status
        if is_live:
            self.tell("update", status, status)
        return str(status["id"])

    def edit(self, identity: str, text: str) -> None:
        status = self.statuses[int(identity)]
        status |= {"content": f"<p>{escape(text)}</p>", "edited_at": _iso(datetime.now(UTC))}
        self.tell("status.update", status, status)

    def delete(self, identity: str) -> None:
        self.tell("delete", identity, self.statuses.pop(int(identity)))

    def tell(self, event: str, payload: Any, status: Mapping[str, Any]) -> None:
        """Send an event to the streams that a status belongs to."""
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        data = f"event: {event}\ndata: {text}\n\n".encode()
        for channel in _channels(status):
            self.send(data, channel)

    def send(self, data: bytes, channel: str | None = None) -> None:
        """Raw bytes, to every open stream or those of one channel."""
        self._do(data, channel)

    def end(self, how: str, channel: str | None = None) -> None:
        """End open streams: close, reset or cut (inside a chunk)."""
        self._do(how, channel)

    def stall(self, channel: str | None = None) -> None:
        """Fall silent: not even heartbeats."""
        with self._lock:
            for stream in self.streams:
                stream.is_stalled = stream.is_stalled or channel in {None, stream.channel}

    def channels(self) -> list[str]:
        """What is being streamed."""
        with self._lock:
            return sorted(stream.channel for stream in self.streams)

    def pages(self) -> list[str]:
        """Requests for timelines up to now."""
        return [path for path in self.requests if path.startswith(TIMELINES)]

    def _do(self, action: bytes | str, channel: str | None) -> None:
        with self._lock:
            for stream in self.streams:
                if channel in {None, stream.channel}:
                    stream.actions.put(action)

    # --- what is asked for

    def timeline(self, channel: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Newest first. `min_id` means those just above it, `since_id` the newest above it."""
        low = int(query.get("min_id") or query.get("since_id") or 0)
        high = int(query.get("max_id") or 1 << 63)
        limit = min(40, int(query.get("limit") or 20))
        with self._lock:
            found = sorted(
                identity
                for identity, status in self.statuses.items()
                if low < identity < high and channel in _channels(status)
            )
            chosen = found[:limit] if "min_id" in query else found[-limit:]
            return [self.statuses[identity] for identity in reversed(chosen)]


def _channels(status: Mapping[str, Any]) -> list[str]:
    """Where Mastodon shows a status: replies under their hashtags alone."""
    tags = [f"#{tag['name'].lower()}" for tag in status["tags"]]
    if status["in_reply_to_id"]:
        return tags
    is_local = "@" not in status["account"]["acct"]
    return ["public", *(["public:local"] if is_local else []), *tags]


def _account(username: str, url: str) -> dict[str, Any]:
    return {
        "id": str(zlib.crc32(username.encode())),
        "username": username.partition("@")[0],
        "acct": username,
        "display_name": username.partition("@")[0].title(),
        "url": f"{url}/@{username}",
        "created_at": "2020-01-01T00:00:00.000Z",
        "emojis": [],
        "fields": [],
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main() -> None:
    """Publish invented posts until Ctrl-C, every third with a hashtag that is streamed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mastodon_api", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8991)
    parser.add_argument("--rate", type=float, default=3.0, help="Posts a second.")
    options = parser.parse_args()
    from modeling import starter

    texts = [post.text for post in starter.labelled()]
    random.shuffle(texts)
    with MastodonApi(port=options.port) as api:
        settings = "\n".join(f"export {name}={value}" for name, value in api.environment.items())
        sys.stdout.write(
            f"{settings}\n\npython manage.py stream --source mastodon --query public\n\n"
        )
        sys.stdout.flush()
        try:
            for number, text in enumerate(itertools.cycle(texts)):
                time.sleep(random.uniform(0.5, 1.5) / options.rate)
                streamed = [name[1:] for name in api.channels() if name.startswith("#")]
                found = re.findall(r"#(\w+)", text)
                tags = [*found, random.choice(streamed)] if streamed and number % 3 == 0 else found
                api.publish(text, tags=tags, username=f"user{random.randrange(500)}")
        except KeyboardInterrupt:
            sys.stdout.write("\nStopped.\n")


if __name__ == "__main__":
    main()
