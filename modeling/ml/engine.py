"""Batched inference shared by all threads of a process.

Callers hand in texts and wait. One worker thread forms batches of like length under a token
budget, taking from every waiting request in turn, so that requests which arrive together run
together and a big one does not starve a small one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modeling.ml.classifier import SentimentClassifier

BatchObserver = Callable[[int], None]


class EngineBusy(RuntimeError):
    """More texts wait than the engine accepts: try again later."""


class EngineClosed(RuntimeError):
    """The engine was shut down."""


@dataclass
class Judged:
    """Probabilities (n, labels), and for each text whether it was cut at the maximum length."""

    probabilities: NDArray[np.float64]
    truncated: list[bool]


@dataclass
class _Request:
    rows: list[list[int]]
    result: NDArray[np.float64]
    # Indices of rows not yet in a batch, longest last.
    waiting: list[int]
    unfinished: int
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class InferenceEngine:
    """One classifier, one queue, one worker thread."""

    def __init__(
        self,
        classifier: SentimentClassifier,
        *,
        token_budget: int = 2048,
        batch_limit: int = 64,
        queue_limit: int = 20_000,
        on_batch: BatchObserver | None = None,
    ) -> None:
        """`token_budget` bounds rows × longest row of a batch; `queue_limit` counts texts."""
        self.classifier = classifier
        self._token_budget = token_budget
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._on_batch = on_batch or (lambda size: None)
        self._requests: deque[_Request] = deque()
        self._queued = 0
        self._closed = False
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._run, name="inference", daemon=True)
        self._worker.start()

    @property
    def queue_depth(self) -> int:
        """Texts that wait for a batch."""
        return self._queued

    def predict(self, texts: Sequence[str]) -> Judged:
        """Probabilities of `texts`, in order; blocks until they are there.

        Raises EngineBusy when the queue is full, EngineClosed after `close`.
        """
        encoded = self.classifier.encode(texts)
        rows = [item.ids for item in encoded]
        request = _Request(
            rows=rows,
            result=np.zeros((len(rows), len(self.classifier.labels))),
            waiting=sorted(range(len(rows)), key=lambda index: len(rows[index])),
            unfinished=len(rows),
        )
        if rows:
            self._enqueue(request)
            request.done.wait()
        if request.error is not None:
            raise request.error
        return Judged(request.result, [item.truncated for item in encoded])

    def close(self) -> None:
        """Finish what is queued, then stop the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _enqueue(self, request: _Request) -> None:
        with self._changed:
            if self._closed:
                raise EngineClosed("the inference engine is shut down")
            if self._queued and self._queued + len(request.rows) > self._queue_limit:
                raise EngineBusy(f"{self._queued} texts are waiting already")
            self._requests.append(request)
            self._queued += len(request.rows)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._requests and not self._closed:
                    self._changed.wait()
                if not self._requests:
                    return
                batch = self._next_batch()
            self._execute(batch)

    def _next_batch(self) -> list[tuple[_Request, int]]:
        """Rows from as many requests as the budget holds.

        A request that took part and is not emptied goes last, so that the others are next.
        """
        batch: list[tuple[_Request, int]] = []
        longest = 0
        while self._requests:
            request = self._requests[0]
            taken = len(batch)
            while request.waiting and len(batch) < self._batch_limit:
                index = request.waiting[-1]
                longest_with = max(longest, len(request.rows[index]))
                if batch and longest_with * (len(batch) + 1) > self._token_budget:
                    break
                longest = longest_with
                batch.append((request, request.waiting.pop()))
            if len(batch) > taken:
                self._requests.popleft()
            if request.waiting:
                if len(batch) > taken:
                    self._requests.append(request)
                break
        self._queued -= len(batch)
        return batch

    def _execute(self, batch: list[tuple[_Request, int]]) -> None:
        try:
            probabilities = self.classifier.probabilities(
                [request.rows[index] for request, index in batch]
            )
        except Exception as error:  # handed to every caller that waits for it
            for request, _ in batch:
                request.error = error
                request.done.set()
            return
        self._on_batch(len(batch))
        for (request, index), row in zip(batch, probabilities, strict=True):
            request.result[index] = row
            request.unfinished -= 1
            if not request.unfinished:
                request.done.set()
