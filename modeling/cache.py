"""Judgements by normalised text: reposts and bots ask the same again and again.

The newest are kept in the process, up to a number; with Redis, what another process judged is found
too, up to SHARED_TIMES as many. Keys are digests, so that neither holds what was asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from modeling import metrics

logger = logging.getLogger(__name__)

Judgement = tuple[NDArray[np.float64], bool]

# In Redis a version's judgements live this long after the last of them was made.
SHARED_SECONDS = 3600
# Of the judgements that a process keeps, Redis keeps at most so many times.
SHARED_TIMES = 8
# To judge anew takes milliseconds: a Redis that does not answer is left alone for a while.
TIMEOUT_SECONDS = 0.05
PAUSE_SECONDS = 30.0


class PredictionCache:
    """What one version judged. Safe to use from several threads."""

    def __init__(self, namespace: str, size: int, redis_url: str = "") -> None:
        """`namespace` names the version in Redis; `size` bounds what the process keeps."""
        self._size = size
        self._kept: OrderedDict[bytes, Judgement] = OrderedDict()
        self._lock = threading.Lock()
        self._shared = _Shared(namespace, size * SHARED_TIMES, redis_url) if redis_url else None

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, texts: Sequence[str]) -> list[Judgement | None]:
        """The judgement of each normalised text, None where it is unknown."""
        keys = [_key(text) for text in texts]
        with self._lock:
            found = [self._kept.get(key) for key in keys]
            for key, item in zip(keys, found, strict=True):
                if item is not None:
                    self._kept.move_to_end(key)
        missing = [place for place, item in enumerate(found) if item is None]
        if missing and self._shared is not None:
            shared = self._shared.get([keys[place] for place in missing])
            for place, item in zip(missing, shared, strict=True):
                if item is not None:
                    found[place] = item
                    self._keep(keys[place], item)
        hits = sum(item is not None for item in found)
        metrics.CACHE_HITS.inc(hits)
        metrics.CACHE_MISSES.inc(len(found) - hits)
        return found

    def put(self, found: Sequence[tuple[str, NDArray[np.float64], bool]]) -> None:
        """Remember text, probabilities and whether the text was cut."""
        # Rows are copied: each is a view that would keep its whole batch alive.
        items = [(_key(text), (row.copy(), truncated)) for text, row, truncated in found]
        for key, item in items:
            self._keep(key, item)
        if self._shared is not None:
            self._shared.put(items)

    def _keep(self, key: bytes, item: Judgement) -> None:
        with self._lock:
            self._kept[key] = item
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)


class _Shared:
    """Judgements in Redis, which queues and pages need too: it must not fill up with these.

    They lie in two hashes, a generation each. Once the newer one holds half of what may be kept,
    another begins and the older one goes: whoever notices says the same, so nobody needs a lock.
    """

    def __init__(self, namespace: str, most: int, redis_url: str) -> None:
        self._client = redis.Redis.from_url(
            redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
        self._prefix = f"predictions:{namespace}:"
        self._half = max(1, most // 2)
        # As far as this process knows; each reading tells.
        self._generation = 0
        self._paused_until = float("-inf")

    def get(self, keys: Sequence[bytes]) -> list[Judgement | None]:
        newer = self._generation

        def read(pipeline: Any) -> None:
            pipeline.get(self._prefix + "generation")
            pipeline.hmget(self._name(newer), keys)
            pipeline.hmget(self._name(newer - 1), keys)

        answers = self._ask(read)
        if not answers:
            return [None] * len(keys)
        self._generation = int(answers[0] or 0)
        return [
            _decode(value) if value else None
            for value in (new or old for new, old in zip(*answers[1:], strict=True))
        ]

    def put(self, items: Sequence[tuple[bytes, Judgement]]) -> None:
        if not items:
            return
        newer = self._generation

        def write(pipeline: Any) -> None:
            pipeline.hset(self._name(newer), mapping={key: _encode(item) for key, item in items})
            pipeline.expire(self._name(newer), SHARED_SECONDS)
            pipeline.expire(self._prefix + "generation", 2 * SHARED_SECONDS)
            pipeline.hlen(self._name(newer))

        def turn(pipeline: Any) -> None:
            pipeline.set(self._prefix + "generation", newer + 1, ex=2 * SHARED_SECONDS)
            pipeline.unlink(self._name(newer - 1))

        answers = self._ask(write)
        if answers and answers[-1] >= self._half:
            self._ask(turn)
            self._generation = newer + 1

    def _name(self, generation: int) -> str:
        return f"{self._prefix}{generation}"

    def _ask(self, commands: Callable[[Any], None]) -> list[Any]:
        """The answers; none while Redis is left alone."""
        if time.monotonic() < self._paused_until:
            return []
        pipeline = self._client.pipeline(transaction=False)
        commands(pipeline)
        try:
            return list(pipeline.execute())
        except redis.RedisError as error:
            logger.warning("no shared predictions for %.0f s: %s", PAUSE_SECONDS, error)
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return []


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _encode(item: Judgement) -> bytes:
    return bytes([item[1]]) + item[0].tobytes()


def _decode(value: bytes) -> Judgement:
    return np.frombuffer(value, dtype=np.float64, offset=1), bool(value[0])
