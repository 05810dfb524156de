"""Users and posts, while the stack has its troubles, and what came of them."""

from __future__ import annotations

import itertools
import json
import statistics
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.error import HTTPError, URLError

import psycopg2

from tests.x_api import XApi

QUERY = "#chaos"
TEXTS = ("what a wonderful day", "the worst service ever", "the meeting is on tuesday")


@dataclass(frozen=True)
class Answer:
    at: float
    seconds: float
    # An HTTP status; 0 where there was no answer at all.
    status: int


@dataclass(frozen=True)
class Suffered:
    """What users saw between two moments."""

    answers: int
    failures: int
    # Distinct seconds in which somebody got an error.
    seconds: int
    slowest: float
    median: float
    statuses: dict[int, int]


class Users:
    """So many requests a second through the proxy: predictions, and lists of posts."""

    def __init__(self, address: str, rate: float = 8.0, threads: int = 4) -> None:
        self._address = address
        self._pause = threads / rate
        self._stop = threading.Event()
        self._answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        for number in itertools.count():
            if self._stop.wait(self._pause):
                return
            at = time.monotonic()
            status = self._request(number)
            self._answers.append(Answer(at, time.monotonic() - at, status))

    def _request(self, number: int) -> int:
        request = urllib.request.Request(f"{self._address}/api/v1/posts?limit=5")
        if number % 3:
            body = json.dumps({"text": f"{TEXTS[number % 3]} {number}"}).encode()
            request = urllib.request.Request(
                f"{self._address}/predict", body, {"Content-Type": "application/json"}
            )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0

    def answers(self, since: float) -> list[Answer]:
        """Those asked for since then."""
        return [answer for answer in self._answers if answer.at >= since]

    def suffered(self, since: float) -> Suffered:
        answers = self.answers(since)
        bad = [answer for answer in answers if not 200 <= answer.status < 300]
        return Suffered(
            answers=len(answers),
            failures=len(bad),
            seconds=len({int(answer.at + answer.seconds) for answer in bad}),
            slowest=max((answer.seconds for answer in answers), default=0.0),
            median=statistics.median([answer.seconds for answer in answers] or [0.0]),
            statuses=dict(Counter(answer.status for answer in answers)),
        )


class Publisher:
    """So many posts a second on the stand-in of X."""

    def __init__(self, api: XApi, rate: float = 10.0) -> None:
        self.api = api
        self._rate = rate
        self._stop = threading.Event()
        self._ids: list[str] = []
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _publish(self) -> None:
        began = time.monotonic()
        for number in itertools.count():
            # By the clock: what one post takes does not slow the others down.
            if self._stop.wait(max(0.0, began + number / self._rate - time.monotonic())):
                return
            text = f"{TEXTS[number % 3]} {number} {QUERY}"
            self._ids.append(self.api.publish(text, username=f"user{number % 97}"))

    def ids(self, since: int = 0) -> list[str]:
        return self._ids[since:]


@dataclass(frozen=True)
class Stored:
    """What became of posts that were published."""

    missing: int
    unclassified: int
    twice: int

    def is_whole(self) -> bool:
        return not (self.missing or self.unclassified or self.twice)


def look(database_url: str, ids: Sequence[str]) -> Stored:
    """Count in the database. Raises psycopg2.Error while it is away."""
    connection = psycopg2.connect(database_url, connect_timeout=3)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS ("
                "  SELECT 1 FROM modeling_prediction WHERE post_id = post.id)) "
                "FROM ingestion_post post WHERE source = 'x' AND external_id = ANY(%s)",
                [list(ids)],
            )
            stored, unclassified = cursor.fetchone() or (0, 0)
            cursor.execute(
                "SELECT count(*) FROM (SELECT 1 FROM modeling_prediction "
                "GROUP BY post_id HAVING count(*) > 1) twice"
            )
            (twice,) = cursor.fetchone() or (0,)
    finally:
        connection.close()
    return Stored(len(ids) - stored, unclassified, twice)
