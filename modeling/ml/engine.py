"""Batched inference shared by everyone in a process: HTTP requests, streams, tasks, commands.

Callers hand in texts and wait, in a thread or on an event loop. Worker threads normalise and
tokenise what has come, answer from the cache what was judged before, and form batches of like
length under a token budget. Requests come in the order in which they would end if all that wait
were served at the same time, each at its share (fair queueing: Demers, Keshav & Shenker 1989):
equals as they came, small ones before big ones, big ones before small ones that come much later.
An idle engine waits for nothing. Who cannot wait long is refused at once where the turn would come
too late.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modeling.ml.classifier import SentimentClassifier

BatchObserver = Callable[[int], None]

# Texts that a worker tokenises before it looks for a batch again.
PREPARED_AT_ONCE = 128
# Padding that is cheaper than another run of the network: tokens, and a share of the batch.
PADDING_TOKENS = 32
PADDING_SHARE = 0.12
# English text has about four characters a token.
CHARACTERS_A_TOKEN = 4
# How much of the pace that is reckoned with is the newest batch's.
NEWEST_SHARE = 0.1
# Whatever happened to a few: others are not reckoned with less or more than this.
DELAYS = (0.5, 4.0)


class EngineBusy(RuntimeError):
    """More texts wait than the engine accepts, or the caller has time for: try again later."""


class EngineClosed(RuntimeError):
    """The engine was shut down."""


class Cache(Protocol):
    """Remembers judgements by normalised text; see `modeling.cache`."""

    def get(self, texts: Sequence[str]) -> list[tuple[NDArray[np.float64], bool] | None]:
        """Probabilities and whether the text was cut, None where unknown."""
        ...

    def put(self, found: Sequence[tuple[str, NDArray[np.float64], bool]]) -> None:
        """Remember text, probabilities and whether the text was cut."""
        ...


@dataclass
class Judged:
    """Probabilities (n, labels), and for each text whether it was cut at the maximum length."""

    probabilities: NDArray[np.float64]
    truncated: list[bool]


# Length in tokens first, so that sorted rows of like length lie side by side.
_Key = tuple[int, int]


@dataclass(eq=False)
class _Request:
    texts: Sequence[str]
    # Tokens of each text, as estimated from its characters.
    costs: list[int]
    result: NDArray[np.float64]
    truncated: list[bool]
    # Texts that are not judged yet, and those of them that are in no batch yet.
    unfinished: int
    waiting: int
    is_over: bool = False
    future: Future[Judged] = field(default_factory=Future)
    # How many texts are tokenised, or being so.
    prepared: int = 0
    # Keys of its rows that may still wait.
    keys: list[_Key] = field(default_factory=list)
    # When it would end, in the engine's virtual time; then a number that nobody else has.
    turn: tuple[float, int] = (0.0, 0)
    # When it came, and how many seconds it was reckoned to take; 0 where nobody reckoned.
    came: float = 0.0
    reckoned: float = 0.0

    def __post_init__(self) -> None:
        self.cost = self.cost_left = sum(self.costs)


@dataclass
class _Row:
    request: _Request
    index: int
    ids: list[int]
    text: str


class InferenceEngine:
    """One classifier, one queue, as many batches at a time as workers."""

    def __init__(
        self,
        classifier: SentimentClassifier,
        *,
        workers: int = 1,
        token_budget: int = 2048,
        batch_limit: int = 64,
        queue_limit: int = 500_000,
        cache: Cache | None = None,
        on_batch: BatchObserver | None = None,
    ) -> None:
        """`token_budget` bounds rows × longest row of a batch; `queue_limit` the tokens of all
        texts that are waiting or being judged, as estimated from their characters."""
        self.classifier = classifier
        self._token_budget = token_budget
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._cache = cache
        self._on_batch = on_batch or (lambda size: None)
        # Heaps, the next one first.
        self._unprepared: list[tuple[tuple[float, int], _Request]] = []
        self._prepared: list[tuple[tuple[float, int], _Request]] = []
        self._order: list[_Key] = []
        self._rows: dict[_Key, _Row] = {}
        self._sequence = 0
        self._idle = 0
        self._queued = 0
        self._queued_tokens = 0
        self._active: set[_Request] = set()
        # Tokens that each request has had by now, if it was there all the time.
        self._virtual_time = 0.0
        self._requests = 0
        # Seconds that a worker takes for a token while more wait; 0 until it is known.
        self._pace = 0.0
        # How much longer than reckoned requests take: others' rows fill up their batches.
        self._delay = 1.0
        self._closed = False
        self._changed = threading.Condition()
        self._workers = [
            threading.Thread(target=self._run, name=f"inference-{number}", daemon=True)
            for number in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def queue_depth(self) -> int:
        """Texts that wait for a batch."""
        return self._queued

    def predict(self, texts: Sequence[str], patience: float = math.inf) -> Judged:
        """Probabilities of `texts`, in order; blocks until they are there.

        Raises EngineBusy when the queue is full, or others would be judged for longer than
        `patience` seconds first; EngineClosed after `close`.
        """
        return self.submit(texts, patience).result()

    async def apredict(self, texts: Sequence[str], patience: float = math.inf) -> Judged:
        """As `predict`, without blocking the event loop."""
        return await asyncio.wrap_future(self.submit(texts, patience))

    def submit(self, texts: Sequence[str], patience: float = math.inf) -> Future[Judged]:
        """Queue `texts` and return at once. Raises as `predict`."""
        limit = self.classifier.settings.max_length
        request = _Request(
            texts=texts,
            costs=[min(2 + len(text) // CHARACTERS_A_TOKEN, limit) for text in texts],
            result=np.zeros((len(texts), len(self.classifier.labels))),
            truncated=[False] * len(texts),
            unfinished=len(texts),
            waiting=len(texts),
        )
        # From here on nobody can cancel it, so that setting the result cannot fail.
        request.future.set_running_or_notify_cancel()
        if texts:
            self._enqueue(request, patience)
        else:
            request.future.set_result(Judged(request.result, []))
        return request.future

    def close(self) -> None:
        """Finish what is queued, then stop the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _enqueue(self, request: _Request, patience: float) -> None:
        with self._changed:
            if self._closed:
                raise EngineClosed("the inference engine is shut down")
            if self._queued_tokens and self._queued_tokens + request.cost > self._queue_limit:
                raise EngineBusy(f"{self._queued} texts are waiting already")
            self._requests += 1
            request.turn = (self._virtual_time + request.cost, self._requests)
            if patience < math.inf:
                self._reckon(request, patience)
            heappush(self._unprepared, (request.turn, request))
            self._active.add(request)
            self._queued += len(request.texts)
            self._queued_tokens += request.cost
            self._changed.notify()

    def _reckon(self, request: _Request, patience: float) -> None:
        """Raises EngineBusy where those whose turn is first take longer than `patience` seconds."""
        a_token = self._pace / len(self._workers)
        if self._queued_tokens * a_token * self._delay <= patience / 2:
            return
        ahead = sum(other.cost_left for other in self._active if other.turn < request.turn)
        if ahead * a_token * self._delay > patience:
            raise EngineBusy(
                f"{self._queued} texts are waiting already: more than {patience:.1f} s of work"
            )
        request.came = time.perf_counter()
        request.reckoned = (ahead + request.cost) * a_token

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._unprepared and not self._order:
                    if self._closed:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                started = time.perf_counter()
                fresh = self._take_unprepared()
                if fresh and self._unprepared:
                    self._changed.notify()
            if fresh:
                self._prepare(fresh)
            with self._changed:
                batch = self._next_batch()
                is_busy = bool(self._order)
                if is_busy:
                    self._changed.notify()
            if batch:
                self._execute(batch)
            if batch and is_busy:
                self._note_pace(batch, time.perf_counter() - started)

    def _note_pace(self, batch: list[_Row], seconds: float) -> None:
        pace = seconds / sum(row.request.costs[row.index] for row in batch)
        with self._changed:
            self._pace += (pace - self._pace) * (NEWEST_SHARE if self._pace else 1)

    def _take_unprepared(self) -> list[tuple[_Request, int]]:
        """Texts to tokenise, in the order of the requests' turns."""
        taken: list[tuple[_Request, int]] = []
        while self._unprepared and len(taken) < PREPARED_AT_ONCE:
            _, request = self._unprepared[0]
            if request.is_over:
                heappop(self._unprepared)
                continue
            first = request.prepared
            request.prepared = min(len(request.texts), first + PREPARED_AT_ONCE - len(taken))
            taken += [(request, index) for index in range(first, request.prepared)]
            if request.prepared == len(request.texts):
                heappop(self._unprepared)
        return taken

    def _prepare(self, fresh: list[tuple[_Request, int]]) -> None:
        """Normalise, look up, tokenise; what is unknown joins the rows that wait."""
        try:
            texts = self.classifier.normalise([r.texts[index] for r, index in fresh])
            known = [None] * len(texts) if self._cache is None else self._cache.get(texts)
            unknown = [place for place, item in enumerate(known) if item is None]
            encoded = self.classifier.tokenise([texts[place] for place in unknown])
        except Exception as error:  # handed to every caller that waits for it
            self._fail([request for request, _ in fresh], error)
            return
        for place, item in zip(unknown, encoded, strict=True):
            request, index = fresh[place]
            request.truncated[index] = item.truncated
        with self._changed:
            for place, item in zip(unknown, encoded, strict=True):
                request, index = fresh[place]
                if request.is_over:
                    continue
                if not request.keys:
                    heappush(self._prepared, (request.turn, request))
                self._sequence += 1
                key = (len(item.ids), self._sequence)
                insort(self._order, key)
                request.keys.append(key)
                self._rows[key] = _Row(request, index, item.ids, texts[place])
            hits = []
            for (request, index), found in zip(fresh, known, strict=True):
                if found is not None:
                    request.result[index], request.truncated[index] = found
                    hits.append((request, index))
            self._left_the_queue([request for request, _ in hits])
        self._finish(hits)

    def _next_batch(self) -> list[_Row]:
        """The longest row of the request whose turn it is, and its neighbours in length.

        They are taken from all requests while the padding stays cheap, the budget holds, and the
        workers that are idle have their share.
        """
        anchor = self._anchor()
        if anchor is None:
            return []
        order = self._order
        share = -(-len(order) // (1 + self._idle))
        limit = min(self._batch_limit, share)
        first = bisect_left(order, anchor)
        last = first
        tokens = longest = anchor[0]
        while last - first + 1 < limit:
            shorter = longest - order[first - 1][0] if first else None
            longer = order[last + 1][0] - longest if last + 1 < len(order) else None
            if shorter is None and longer is None:
                break
            grows = shorter is None or (longer is not None and longer < shorter)
            added = order[last + 1 if grows else first - 1][0]
            width = (last - first + 2) * max(longest, added)
            padding = width - tokens - added
            if width > self._token_budget or padding > max(PADDING_TOKENS, PADDING_SHARE * width):
                break
            tokens, longest = tokens + added, max(longest, added)
            first, last = (first, last + 1) if grows else (first - 1, last)
        keys = order[first : last + 1]
        del order[first : last + 1]
        rows = [self._rows.pop(key) for key in keys]
        self._left_the_queue([row.request for row in rows])
        return rows

    def _left_the_queue(self, requests: list[_Request]) -> None:
        """One text of each no longer waits."""
        for request in requests:
            if not request.is_over:
                request.waiting -= 1
                self._queued -= 1

    def _anchor(self) -> _Key | None:
        """A waiting row of the request whose turn it is."""
        while self._prepared:
            _, request = self._prepared[0]
            while request.keys and request.keys[-1] not in self._rows:
                request.keys.pop()
            if request.keys:
                return request.keys[-1]
            heappop(self._prepared)
        return None

    def _execute(self, batch: list[_Row]) -> None:
        try:
            probabilities = self.classifier.probabilities([row.ids for row in batch])
        except Exception as error:  # handed to every caller that waits for it
            self._fail([row.request for row in batch], error)
            return
        self._on_batch(len(batch))
        for row, values in zip(batch, probabilities, strict=True):
            row.request.result[row.index] = values
        self._finish([(row.request, row.index) for row in batch])
        if self._cache is not None:
            self._cache.put(
                [
                    (row.text, values, row.request.truncated[row.index])
                    for row, values in zip(batch, probabilities, strict=True)
                ]
            )

    def _finish(self, judged: list[tuple[_Request, int]]) -> None:
        """These texts of these requests are judged."""
        ended = []
        with self._changed:
            for request, index in judged:
                request.unfinished -= 1
                request.cost_left -= request.costs[index]
                self._virtual_time += request.costs[index] / max(len(self._active), 1)
                if not request.unfinished and not request.is_over:
                    self._end(request)
                    ended.append(request)
        for request in ended:
            request.future.set_result(Judged(request.result, request.truncated))

    def _fail(self, requests: list[_Request], error: Exception) -> None:
        """End these requests with `error`; what of them still waits is dropped."""
        failed = []
        with self._changed:
            for request in requests:
                if request.is_over:
                    continue
                self._queued -= request.waiting
                self._end(request)
                failed.append(request)
                for key in request.keys:
                    if self._rows.pop(key, None) is not None:
                        del self._order[bisect_left(self._order, key)]
        for request in failed:
            request.future.set_exception(error)

    def _end(self, request: _Request) -> None:
        request.is_over = True
        self._active.discard(request)
        self._queued_tokens -= request.cost
        if request.reckoned:
            ratio = (time.perf_counter() - request.came) / request.reckoned
            self._delay += (min(max(ratio, DELAYS[0]), DELAYS[1]) - self._delay) * NEWEST_SHARE
