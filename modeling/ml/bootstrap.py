"""How far figures would move on other posts: intervals and tests by the bootstrap (Efron 1979).

A post counts in these figures only by its outcome: its true and its given category. So instead of
drawing posts one by one, the counts of outcomes are drawn from a multinomial distribution, which is
the same draw and costs the same for a hundred posts as for a million.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
# The same posts and judgements always give the same figures.
SEED = 13

# Confidences are rounded to so many steps before calibration errors are resampled.
CONFIDENCE_STEPS = 300

Interval = tuple[float, float]
Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]


def draws(counts: Counts, resamples: int = RESAMPLES) -> Counts:
    """`resamples` draws of as many posts as `counts` holds, each shaped like `counts`."""
    size = int(counts.sum())
    flat = counts.ravel()
    # Outcomes that never happened are never drawn: leaving them out saves their time.
    seen = np.flatnonzero(flat)
    result = np.zeros((resamples, flat.size), dtype=np.int64)
    generator = np.random.default_rng(SEED)
    result[:, seen] = generator.multinomial(size, flat[seen] / size, size=resamples)
    return result.reshape(resamples, *counts.shape)


def interval(values: Floats) -> Interval:
    """The middle 95 % of resampled values (percentile interval)."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def calibration_interval(
    error: float, confidence: Floats, correct: NDArray[np.bool_], bins: int
) -> Interval:
    """Of the expected calibration error `error`, from posts' confidences and hits.

    Resampling makes bins rougher, hence every resampled error too large: the basic interval
    reflects them around `error`. Of a model that is all but perfectly calibrated the error is
    mostly noise; so the interval reaches down to 0 whenever posts whose confidences were exactly
    right would show as large an error (consistency resampling, Bröcker & Smith 2007).
    """
    steps = np.minimum((confidence * CONFIDENCE_STEPS).astype(int), CONFIDENCE_STEPS - 1)
    counts = np.bincount(steps * 2 + correct, minlength=2 * CONFIDENCE_STEPS)
    seen = np.flatnonzero(counts)
    resampled = draws(counts[seen])
    gaps = (seen // 2 + 0.5) / CONFIDENCE_STEPS - seen % 2
    bin_of = (seen // 2) * bins // CONFIDENCE_STEPS
    members = np.zeros((len(seen), bins))
    members[np.arange(len(seen)), bin_of] = gaps
    errors = np.abs(resampled.astype(float) @ members).sum(axis=1) / counts.sum()
    low, high = interval(errors)
    if error <= np.quantile(_errors_if_calibrated(confidence, bins), LEVEL):
        return 0.0, max(error, 2 * error - low)
    return max(0.0, 2 * error - high), max(0.0, 2 * error - low)


def _errors_if_calibrated(confidence: Floats, bins: int) -> Floats:
    """Calibration errors of as many posts that are right exactly as often as `confidence` says."""
    steps = np.minimum((confidence * CONFIDENCE_STEPS).astype(int), CONFIDENCE_STEPS - 1)
    seen, counts = np.unique(steps, return_counts=True)
    means = np.bincount(steps, weights=confidence)[seen] / counts
    hits = np.random.default_rng(SEED).binomial(counts, means, size=(RESAMPLES, len(seen)))
    members = np.zeros((len(seen), bins))
    members[np.arange(len(seen)), seen * bins // CONFIDENCE_STEPS] = 1
    return np.abs((counts * means - hits) @ members).sum(axis=1) / len(confidence)


def paired_draws(
    truth: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp], labels: int
) -> tuple[Counts, Counts]:
    """Draws of the same posts for two models: confusion matrices of each, (resamples, k, k).

    Of outcomes (true, first, second) only those that happened are held: all would be k³.
    """
    cells, counts = np.unique((truth * labels + first) * labels + second, return_counts=True)
    drawn = draws(counts)
    true, mine, other = cells // labels**2, cells // labels % labels, cells % labels

    def confusion(given: NDArray[np.intp]) -> Counts:
        place = true * labels + given
        order = np.argsort(place, kind="stable")
        places, starts = np.unique(place[order], return_index=True)
        matrices = np.zeros((len(drawn), labels**2), dtype=np.int64)
        matrices[:, places] = np.add.reduceat(drawn[:, order], starts, axis=1)
        return matrices.reshape(-1, labels, labels)

    return confusion(mine), confusion(other)
