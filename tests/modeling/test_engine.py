"""Batched inference for many callers."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from modeling.cache import PredictionCache
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.engine import EngineBusy, EngineClosed, InferenceEngine, Judged
from tests.conftest import wait_until


@pytest.fixture
def engine(classifier: SentimentClassifier) -> Iterator[InferenceEngine]:
    engine = InferenceEngine(classifier)
    yield engine
    engine.close()


class Gate(SentimentClassifier):
    """The real classifier, held back until the test lets it go."""

    opened: threading.Event
    batches: list[list[Sequence[int]]]
    fails = False

    def probabilities(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        self.batches.append(list(rows))
        assert self.opened.wait(30)
        if self.fails:
            raise RuntimeError("the network broke")
        return super().probabilities(rows)


@pytest.fixture
def gate(tiny_model: object) -> Gate:
    gate = Gate(tiny_model, "onnx", 1)  # type: ignore[arg-type]
    gate.opened, gate.batches = threading.Event(), []
    return gate


def in_thread(function: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_results_come_in_the_order_of_the_texts(
    engine: InferenceEngine, classifier: SentimentClassifier
) -> None:
    texts = ["the food awful today", "the train opens today " * 5, "the song wonderful today"] * 40
    judged = engine.predict(texts).probabilities.argmax(axis=1)
    expected = classifier.predict_proba(texts[:3]).argmax(axis=1)
    assert judged.tolist() == expected.tolist() * 40


def test_no_texts_need_no_batch(engine: InferenceEngine) -> None:
    assert engine.predict([]).probabilities.shape == (0, 3)


def test_requests_that_wait_together_run_together(gate: Gate) -> None:
    engine = InferenceEngine(gate)
    first = in_thread(engine.predict, ["one"])
    wait_until(lambda: gate.batches)
    others = [in_thread(engine.predict, ["two"]) for _ in range(5)]
    wait_until(lambda: engine.queue_depth == 5)
    gate.opened.set()
    for thread in [first, *others]:
        thread.join(30)
    engine.close()
    assert [len(batch) for batch in gate.batches] == [1, 5]


def test_a_big_batch_does_not_starve_a_single_request(gate: Gate) -> None:
    engine = InferenceEngine(gate, batch_limit=8)
    big = in_thread(engine.predict, [f"text {i}" for i in range(80)])
    wait_until(lambda: gate.batches)
    small = in_thread(engine.predict, ["single"])
    wait_until(lambda: engine.queue_depth == 73)
    gate.opened.set()
    small.join(30)
    big.join(30)
    engine.close()
    single = gate.encode(["single"])[0].ids
    place = next(number for number, batch in enumerate(gate.batches) if single in batch)
    assert place <= 2 < len(gate.batches) - 5


def test_a_batch_stays_within_the_token_budget(gate: Gate) -> None:
    gate.opened.set()
    engine = InferenceEngine(gate, token_budget=64)
    engine.predict(["word " * 20] * 10 + ["a"] * 10)
    engine.close()
    for batch in gate.batches:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 64


def test_over_the_bound_the_caller_is_told(gate: Gate) -> None:
    engine = InferenceEngine(gate, queue_limit=4, batch_limit=1)
    # Alone, even more than the bound is taken: else it could never be judged.
    first = in_thread(engine.predict, ["one", "two", "three"])
    wait_until(lambda: gate.batches)
    for refused in (["four"], ["four", "five"]):
        with pytest.raises(EngineBusy):
            engine.submit(refused)
    gate.opened.set()
    first.join(30)
    assert engine.predict(["four"]).probabilities.shape == (1, 3)
    engine.close()


def test_equals_are_served_in_the_order_they_came(gate: Gate) -> None:
    engine = InferenceEngine(gate, batch_limit=4)
    ended: list[int] = []
    requests = []
    for number in range(6):
        request = engine.submit([f"text {number}"] * 8)
        request.add_done_callback(lambda _, number=number: ended.append(number))  # type: ignore[misc]
        requests.append(request)
        wait_until(lambda: gate.batches)
    gate.opened.set()
    for request in requests:
        request.result(30)
    engine.close()
    assert ended == list(range(6))


def test_small_ones_that_keep_coming_do_not_starve_a_big_one(gate: Gate) -> None:
    engine = InferenceEngine(gate, batch_limit=4)
    big = engine.submit(["a big one"] * 40)
    gate.opened.set()
    small = 0
    while not big.done():
        engine.predict(["small"] * 4)
        small += 1
    engine.close()
    # Each at its share: about as many texts of small requests as of the big one.
    assert small <= 20


class Slow(Gate):
    """Takes a hundredth of a second for a text."""

    def probabilities(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        time.sleep(len(rows) / 100)
        return super().probabilities(rows)


def test_who_cannot_wait_so_long_is_told_at_once(tiny_model: object) -> None:
    slow = Slow(tiny_model, "onnx", 1)  # type: ignore[arg-type]
    slow.opened, slow.batches = threading.Event(), []
    slow.opened.set()
    engine = InferenceEngine(slow, batch_limit=8)
    engine.predict(["one more"] * 40)
    slow.opened.clear()
    # Eight tenths of a second of work.
    big = engine.submit(["one more"] * 80)
    with pytest.raises(EngineBusy, match=r"more than 0\.4 s"):
        engine.submit(["one more"] * 80, patience=0.4)
    # A few texts have their turn sooner, and who has time waits.
    accepted = [engine.submit(["one more"] * 2, patience=0.4), engine.submit(["one more"] * 80)]
    slow.opened.set()
    for request in [big, *accepted]:
        request.result(30)
    assert engine.predict(["one more"] * 80, patience=0.4).probabilities.shape == (80, 3)
    engine.close()


def test_idle_workers_share_what_waits(gate: Gate) -> None:
    engine = InferenceEngine(gate, workers=2)
    wait_until(lambda: engine._idle == 2)
    request = in_thread(engine.predict, ["a b c"] * 16)
    wait_until(lambda: len(gate.batches) == 2)
    gate.opened.set()
    request.join(30)
    engine.close()
    assert [len(batch) for batch in gate.batches] == [8, 8]


def test_rows_of_unlike_length_are_not_padded_to_each_other(gate: Gate) -> None:
    gate.opened.set()
    engine = InferenceEngine(gate)
    engine.predict(["word " * 28, "a"] * 8)
    engine.close()
    assert [len({len(row) for row in batch}) for batch in gate.batches] == [1, 1]


async def test_an_event_loop_waits_without_a_thread(
    engine: InferenceEngine, classifier: SentimentClassifier
) -> None:
    texts = [f"the food {word} today" for word in ("awful", "wonderful")] * 20
    judged = await asyncio.gather(*(engine.apredict([text]) for text in texts))
    found = [item.probabilities.argmax() for item in judged]
    assert found == classifier.predict_proba(texts).argmax(axis=1).tolist()
    assert engine.queue_depth == 0


def test_many_threads_and_sizes_leave_nothing_behind(classifier: SentimentClassifier) -> None:
    engine = InferenceEngine(classifier, workers=3, batch_limit=8, token_budget=64)
    sizes = [1, 300, 2, 1, 40, 7]
    outcomes: list[Judged] = []

    def ask(size: int) -> None:
        outcomes.append(engine.predict(["word " * (number % 9) for number in range(size)]))

    threads = [in_thread(ask, size) for size in sizes]
    for thread in threads:
        thread.join(30)
    engine.close()
    assert sorted(len(item.truncated) for item in outcomes) == sorted(sizes)
    for item in outcomes:
        assert item.probabilities.sum(axis=1) == pytest.approx(1)
    assert (engine.queue_depth, engine._queued_tokens) == (0, 0)


def test_what_the_cache_knows_is_not_judged_again(gate: Gate) -> None:
    gate.opened.set()
    cache = PredictionCache("1", 100)
    engine = InferenceEngine(gate, cache=cache)
    first = engine.predict(["Hello  world", "word " * 90])
    engine.close()
    again = InferenceEngine(gate, cache=cache)
    count = len(gate.batches)
    second = again.predict(["Hello world", "word " * 90, "new"])
    again.close()
    assert len(gate.batches) == count + 1
    assert (second.probabilities[:2] == first.probabilities).all()
    assert second.truncated == [False, True, False]


def test_a_failure_reaches_the_caller_and_the_engine_goes_on(gate: Gate) -> None:
    gate.opened.set()
    engine = InferenceEngine(gate, batch_limit=2)
    gate.fails = True
    with pytest.raises(RuntimeError, match="broke"):
        engine.predict(["a", "b", "c", "d", "e"])
    gate.fails = False
    assert engine.predict(["a"]).probabilities.shape == (1, 3)
    assert engine.queue_depth == 0
    engine.close()


def test_after_closing_it_refuses(classifier: SentimentClassifier) -> None:
    engine = InferenceEngine(classifier)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.predict(["a"])
