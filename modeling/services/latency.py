"""How long single texts take with a candidate and with the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from modeling.ml.classifier import SentimentClassifier

MOST = 1.5
# The champion is timed twice: where it differs from itself by more, timings say nothing.
NOISE = 0.2
ROUNDS = 3
TEXTS = 40
WARM_UP_TEXTS = 5


@dataclass(frozen=True)
class _Timing:
    """Medians of single texts in seconds: the champion's before and after each of ours."""

    before: float
    ours: float
    after: float
    overall: float

    @property
    def noise(self) -> float:
        """By what share the champion differs from itself."""
        return max(self.before, self.after) / min(self.before, self.after) - 1

    @property
    def is_calm(self) -> bool:
        return self.noise <= NOISE

    @property
    def theirs(self) -> float:
        """The champion's median; where it differs much from itself, the slower one."""
        return self.overall if self.is_calm else max(self.before, self.after)

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def compare(
    candidate: SentimentClassifier, champion: SentimentClassifier, texts: Sequence[str]
) -> tuple[bool | None, float, float, str]:
    """Whether the candidate is fast enough (None: not judged), by which multiple of the champion's
    time, the most that it may be, and all of it in words.

    Measured again while the machine is too busy to compare, or the candidate is too slow: what
    disturbs makes slower alone, so the best calm round counts.

    Where none is calm, a candidate fails by the slower of the champion's medians; one that does not
    is not judged.
    """
    rounds: list[_Timing] = []
    while len(rounds) < ROUNDS:
        rounds.append(_timing(candidate, champion, texts))
        if rounds[-1].is_calm and rounds[-1].ratio <= MOST:
            break
    calm = [timing for timing in rounds if timing.is_calm]
    best = min(calm or rounds, key=lambda timing: timing.ratio)
    said = (
        f"{1000 * best.ours:.1f} ms a text against {1000 * best.theirs:.1f} ms "
        f"({best.ratio:.2f} times)"
    )
    passed: bool | None = best.ratio <= MOST
    if not best.is_calm:
        said += (
            f"; the champion took {1000 * best.before:.1f} ms and {1000 * best.after:.1f} ms "
            f"for the same texts, {len(rounds)} times measured: the machine is busy"
        )
        # A busy machine must not stand in the way of a candidate that shows no fault on it.
        if passed:
            passed, said = None, f"not judged: {said}"
    return passed, round(best.ratio, 3), MOST, said


def _timing(
    candidate: SentimentClassifier, champion: SentimentClassifier, texts: Sequence[str]
) -> _Timing:
    """Each model in turn on each text; the champion twice."""
    chosen = [texts[place % len(texts)] for place in range(WARM_UP_TEXTS + TEXTS)]
    seconds = np.array(
        [[_timed(model, text) for model in (champion, candidate, champion)] for text in chosen]
    )[WARM_UP_TEXTS:]
    before, ours, after = (float(median) for median in np.median(seconds, axis=0))
    return _Timing(before, ours, after, overall=float(np.median(seconds[:, [0, 2]])))


def _timed(classifier: SentimentClassifier, text: str) -> float:
    started = perf_counter()
    classifier.predict_proba([text])
    return perf_counter() - started
