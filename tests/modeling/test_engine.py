"""Batched inference for many callers."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from modeling.ml.classifier import SentimentClassifier
from modeling.ml.engine import EngineBusy, EngineClosed, InferenceEngine


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
        assert self.opened.wait(10)
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
    while not gate.batches:
        pass
    others = [in_thread(engine.predict, ["two"]) for _ in range(5)]
    while engine.queue_depth < 5:
        pass
    gate.opened.set()
    for thread in [first, *others]:
        thread.join(10)
    engine.close()
    assert [len(batch) for batch in gate.batches] == [1, 5]


def test_a_big_batch_does_not_starve_a_single_request(gate: Gate) -> None:
    engine = InferenceEngine(gate, batch_limit=8)
    big = in_thread(engine.predict, [f"text {i}" for i in range(80)])
    while not gate.batches:
        pass
    small = in_thread(engine.predict, ["single"])
    while engine.queue_depth < 73:
        pass
    gate.opened.set()
    small.join(10)
    big.join(10)
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
    engine = InferenceEngine(gate, queue_limit=2, batch_limit=1)
    first = in_thread(engine.predict, ["one", "two", "three"])
    while not gate.batches:
        pass
    with pytest.raises(EngineBusy):
        engine.predict(["four"])
    gate.opened.set()
    first.join(10)
    assert engine.predict(["four"]).probabilities.shape == (1, 3)
    engine.close()


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
