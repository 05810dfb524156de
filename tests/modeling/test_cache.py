"""Judgements that are kept for texts that come again."""

from uuid import uuid4

import numpy as np
import pytest
import redis
from django.conf import settings

from modeling import cache as module
from modeling import metrics
from modeling.cache import SHARED_TIMES, PredictionCache

ROW = np.array([0.25, 0.25, 0.5])


def test_what_was_put_is_found() -> None:
    cache = PredictionCache("1", 10)
    cache.put([("a", ROW, True)])
    hits = metrics.CACHE_HITS._value.get()
    known, unknown = cache.get(["a", "b"])
    assert known is not None
    assert known[0].tolist() == ROW.tolist()
    assert known[1] is True
    assert unknown is None
    assert metrics.CACHE_HITS._value.get() == hits + 1


def test_the_oldest_gives_way() -> None:
    cache = PredictionCache("1", 2)
    cache.put([("a", ROW, False), ("b", ROW, False)])
    cache.get(["a"])
    cache.put([("c", ROW, False)])
    assert [item is not None for item in cache.get(["a", "b", "c"])] == [True, False, True]
    assert len(cache) == 2


def test_a_redis_that_is_away_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    cache = PredictionCache("1", 10, "redis://127.0.0.1:1/0")
    assert cache.get(["a"]) == [None]
    cache.put([("a", ROW, False)])
    assert cache.get(["a"]) != [None]
    assert cache.get(["b"]) == [None]
    assert len([r for r in caplog.records if "no shared predictions" in r.message]) == 1


needs_redis = pytest.mark.skipif(not settings.REDIS_URL, reason="REDIS_URL is not set")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis of a busy machine is waited for: what it holds is what is tested."""
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 20)


@needs_redis
def test_processes_share_what_they_judged(patient: None) -> None:
    PredictionCache("test-1", 10, settings.REDIS_URL).put([("shared", ROW, True)])
    (item,) = PredictionCache("test-1", 10, settings.REDIS_URL).get(["shared"])
    assert item is not None
    assert (item[0].tolist(), item[1]) == (ROW.tolist(), True)
    assert PredictionCache("test-2", 10, settings.REDIS_URL).get(["shared"]) == [None]


@needs_redis
def test_what_is_shared_is_bounded_and_the_oldest_gives_way(patient: None) -> None:
    namespace = f"test-{uuid4().hex}"
    one, another = (PredictionCache(namespace, 10, settings.REDIS_URL) for _ in range(2))
    held = []
    for number in range(200):
        # Both write; a text comes from one of them only.
        cache = (one, another)[number % 2]
        assert cache.get([f"text {number}"]) == [None]
        cache.put([(f"text {number}", ROW, False)])
        held.append(_held(namespace))
    most = 10 * SHARED_TIMES
    assert max(held) <= most
    assert min(held[most:]) >= most // 2 - 1
    fresh = PredictionCache(namespace, 10, settings.REDIS_URL)
    # The first reading tells it where the newest are.
    fresh.get(["anything"])
    assert fresh.get(["text 0"]) == [None]
    assert None not in fresh.get([f"text {number}" for number in range(170, 200)])


def _held(namespace: str) -> int:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        names = list(client.scan_iter(f"predictions:{namespace}:*"))
        assert all(client.ttl(name) > 0 for name in names)
        return sum(client.hlen(name) for name in names if client.type(name) == b"hash")
