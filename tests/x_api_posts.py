"""What was posted, whoever listened: the stand-in's memory, its search and its look-up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.x_api_refusals import PROBLEMS, Refusal, bad_request
from tests.x_api_rules import InvalidRule, parse

EPOCH_MS = 1288834974657
REACH = timedelta(days=7)
REMEMBERED = 200_000


@dataclass(frozen=True)
class Published:
    """One post with its author, as others see it."""

    post: Mapping[str, Any]
    user: Mapping[str, Any]
    includes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> int:
        return int(self.post["id"])

    @property
    def is_repost(self) -> bool:
        references = self.post.get("referenced_tweets") or self.post.get("referenced_posts") or []
        return any(item.get("type") in {"retweeted", "reposted"} for item in references)

    def seen_by_rules(self) -> dict[str, Any]:
        return {**self.post, "username": self.user["username"]}


class Ids:
    """Numbers that grow, and carry their time as X's do."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def new(self, at: datetime | None = None) -> str:
        with self._lock:
            self._count += 1
            moment = at or datetime.now(UTC)
            return str((_ms(moment) - EPOCH_MS) << 22 | (self._count & 0x3FFFFF))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


class Archive:
    """Posts in the order of their ids."""

    def __init__(self) -> None:
        self._posts: deque[Published] = deque(maxlen=REMEMBERED)
        self._deleted: set[str] = set()
        self._protected: set[str] = set()
        self._lock = threading.Lock()

    def add(self, post: Published) -> None:
        if str(post.post["id"]).isdigit():
            with self._lock:
                self._posts.append(post)

    def delete(self, identity: str) -> None:
        self._deleted.add(identity)

    def protect(self, identity: str) -> None:
        self._protected.add(identity)

    def visible(self) -> list[Published]:
        """Newest first."""
        with self._lock:
            posts = list(self._posts)
        hidden = self._deleted | self._protected
        shown = {post.id: post for post in posts if str(post.post["id"]) not in hidden}
        return sorted(shown.values(), key=lambda post: -post.id)

    def since(self, moment: datetime) -> list[Published]:
        """Oldest first."""
        first = (_ms(moment) - EPOCH_MS) << 22
        return [post for post in reversed(self.visible()) if post.id >= first]

    def look_up(self, ids: Iterable[str]) -> dict[str, Any]:
        """Posts and, of those not to be had, an error each."""
        known = {str(post.id): post for post in self.visible()}
        wanted = list(ids)
        answer: dict[str, Any] = {}
        if data := [dict(known[key].post) for key in wanted if key in known]:
            answer["data"] = data
        if errors := [self._error(key) for key in wanted if key not in known]:
            answer["errors"] = errors
        return answer

    def _error(self, key: str) -> dict[str, str]:
        common = {"resource_id": key, "resource_type": "tweet", "parameter": "ids", "value": key}
        if key in self._protected:
            return common | {
                "title": "Authorization Error",
                "detail": f"Sorry, you are not authorized to see the Tweet with ids: [{key}].",
                "type": f"{PROBLEMS}not-authorized-for-resource",
            }
        return common | {
            "title": "Not Found Error",
            "detail": f"Could not find tweet with ids: [{key}].",
            "type": "https://api.x.com/2/problems/resource-not-found",
        }

    def search(
        self, query: Mapping[str, str], *, lag: timedelta, finds_all: bool = False
    ) -> dict[str, Any] | Refusal:
        """A page of recent search, or why there is none.

        `finds_all` makes a query without hits find everything.
        """
        try:
            request = _Request(query, lag)
        except _Bad as error:
            return error.refusal
        inside = [post for post in self.visible() if request.first <= post.id < request.last]
        found = [post for post in inside if request.matches(post)]
        if finds_all and not found:
            found = inside
        return request.page(found)


class _Bad(Exception):
    def __init__(self, name: str, value: str, message: str) -> None:
        super().__init__(message)
        self.refusal = bad_request(name, value, message)


class _Request:
    """A search as asked for; raises _Bad where X would refuse it."""

    def __init__(self, query: Mapping[str, str], lag: timedelta) -> None:
        self._query = query
        self._lag = lag
        self._now = datetime.now(UTC)
        self._matcher = self._parse(query.get("query", ""))
        self._size = self._number("max_results", 10, 10, 100)
        self.first, self.last = self._bounds()
        if token := query.get("next_token"):
            if not token.startswith("t"):
                raise _Bad("next_token", token, "The `next_token` is not valid.")
            self.last = min(self.last, int(token[1:], 36))

    def matches(self, post: Published) -> bool:
        # Since May 2026 a search by keyword leaves reposts out.
        if post.is_repost and "is:retweet" not in self._query["query"]:
            return False
        return self._matcher(post.seen_by_rules())

    def page(self, found: list[Published]) -> dict[str, Any]:
        page = found[: self._size]
        meta: dict[str, Any] = {"result_count": len(page)}
        if not page:
            return {"meta": meta}
        ids = [str(post.id) for post in page]
        meta |= {"newest_id": ids[0], "oldest_id": ids[-1]}
        if len(found) > self._size:
            meta["next_token"] = f"t{_base36(page[-1].id)}"
        users = {post.user["id"]: dict(post.user) for post in page}
        includes: dict[str, list[Any]] = {"users": list(users.values())}
        for post in page:
            for name, items in post.includes.items():
                if name != "users":
                    includes.setdefault(name, []).extend(items)
        return {"data": [dict(post.post) for post in page], "includes": includes, "meta": meta}

    def _parse(self, query: str) -> Callable[[Mapping[str, Any]], bool]:
        try:
            if "sample:" in query:
                raise InvalidRule("The operator sample is not available (at position 1)")
            return parse(query)
        except InvalidRule as error:
            message = f"There were errors processing your request: {error}"
            raise _Bad("query", query, message) from error

    def _bounds(self) -> tuple[int, int]:
        times = {"start_time", "end_time"} & self._query.keys()
        ids = {"since_id", "until_id"} & self._query.keys()
        if times and ids:
            raise _Bad("since_id", "", "`start_time`/`end_time` go with no `since_id`/`until_id`")
        oldest = self._now - REACH
        if times:
            start, end = self._time("start_time", oldest), self._time("end_time", self._now)
            if start < oldest:
                raise _Bad("start_time", "", f"'start_time' must be on or after {oldest}")
            if "end_time" in self._query and self._lag and end > self._now - self._lag:
                raise _Bad("end_time", "", "'end_time' must be a minimum of 10 seconds ago")
            if start >= end:
                raise _Bad("end_time", "", "'end_time' must be later than 'start_time'")
            return self._id(start), self._id(end)
        newest = self._id(self._now - self._lag + timedelta(milliseconds=1))
        since = self._number("since_id", self._id(oldest), 0, 1 << 63)
        if since < self._id(oldest):
            raise _Bad("since_id", str(since), f"'since_id' must be a tweet id after {oldest}")
        until = self._number("until_id", newest, 0, 1 << 63)
        return since + 1, min(until, newest)

    def _id(self, moment: datetime) -> int:
        return (_ms(moment) - EPOCH_MS) << 22

    def _time(self, name: str, default: datetime) -> datetime:
        text = self._query.get(name)
        if text is None:
            return default
        try:
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError as error:
            raise _Bad(name, text, f"The `{name}` is not a time") from error

    def _number(self, name: str, default: int, low: int, high: int) -> int:
        text = self._query.get(name)
        if text is None:
            return default
        if not text.isdigit() or not low <= int(text) <= high:
            raise _Bad(name, text, f"The `{name}` [{text}] is not between {low} and {high}")
        return int(text)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return digits


@dataclass
class RateWindow:
    """Calls allowed in a quarter of an hour, and the headers that say how many are left."""

    limit: int
    used: int = 0
    turns_at: float = 0.0

    def take(self, seconds: float) -> dict[str, str] | None:
        """Headers of the call; None when the window is used up."""
        now = time.time()
        if now >= self.turns_at:
            self.used, self.turns_at = 0, now + seconds
        self.used += 1
        return self.headers() if self.used <= self.limit else None

    def headers(self) -> dict[str, str]:
        return {
            "x-rate-limit-limit": str(self.limit),
            "x-rate-limit-remaining": str(max(0, self.limit - self.used)),
            "x-rate-limit-reset": str(int(self.turns_at)),
        }
