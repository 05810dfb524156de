"""Judgements by normalised text: reposts and bots ask the same again and again.

The newest are kept in the process, up to a number; with Redis, what another process judged is found
too. Keys are digests, so that neither holds what was asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from modeling import metrics

logger = logging.getLogger(__name__)

Judgement = tuple[NDArray[np.float64], bool]

# In Redis a judgement lives this long after it was made.
SHARED_SECONDS = 3600
# To judge anew takes milliseconds: a Redis that does not answer is left alone for a while.
TIMEOUT_SECONDS = 0.05
PAUSE_SECONDS = 30.0


class PredictionCache:
    """What one version judged. Safe to use from several threads."""

    def __init__(self, namespace: str, size: int, redis_url: str = "") -> None:
        """`namespace` names the version in Redis; `size` bounds what the process keeps."""
        self._namespace = namespace
        self._size = size
        self._kept: OrderedDict[bytes, Judgement] = OrderedDict()
        self._lock = threading.Lock()
        self._shared: redis.Redis | None = None
        self._paused_until = float("-inf")
        if redis_url:
            self._shared = redis.Redis.from_url(
                redis_url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
            )

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
            shared = self._read([keys[place] for place in missing])
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
            self._write(items)

    def _keep(self, key: bytes, item: Judgement) -> None:
        with self._lock:
            self._kept[key] = item
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def _read(self, keys: list[bytes]) -> list[Judgement | None]:
        nothing: list[Judgement | None] = [None] * len(keys)
        if self._shared is None or time.monotonic() < self._paused_until:
            return nothing
        try:
            values: Any = self._shared.mget([self._name(key) for key in keys])
        except redis.RedisError as error:
            self._pause(error)
            return nothing
        return [_decode(value) if value else None for value in values]

    def _write(self, items: list[tuple[bytes, Judgement]]) -> None:
        if self._shared is None or time.monotonic() < self._paused_until:
            return
        pipeline = self._shared.pipeline(transaction=False)
        for key, item in items:
            pipeline.set(self._name(key), _encode(item), ex=SHARED_SECONDS)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            self._pause(error)

    def _pause(self, error: redis.RedisError) -> None:
        logger.warning("no shared predictions for %.0f s: %s", PAUSE_SECONDS, error)
        self._paused_until = time.monotonic() + PAUSE_SECONDS

    def _name(self, key: bytes) -> bytes:
        return f"prediction:{self._namespace}:".encode() + key


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _encode(item: Judgement) -> bytes:
    return bytes([item[1]]) + item[0].tobytes()


def _decode(value: bytes) -> Judgement:
    return np.frombuffer(value, dtype=np.float64, offset=1), bool(value[0])
