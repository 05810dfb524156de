"""How often a model is right, estimated without labels (confidence-based performance estimation).

Holds while posts change but what makes a post positive or negative does not (covariate shift);
where the posts are unlike any that the confidence was calibrated on, it is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Fewer known answers than these leave the confidence as the model gives it.
MINIMUM_FOR_CALIBRATION = 200
_BINS = 10
_DRAWS = 500
_TAIL = 2.5


@dataclass(frozen=True)
class Estimate:
    """Expected share of right answers, with the bounds of a 95 % interval."""

    accuracy: float
    low: float
    high: float


def estimate_accuracy(
    confidence: NDArray[np.floating],
    known_confidence: NDArray[np.floating],
    known_right: NDArray[np.bool_],
) -> Estimate:
    """Of a window's posts (at least one), by how often the same confidence was right on known ones.

    The interval has the chance of both samples and of each answer in it (bootstrap, fixed seed).
    """
    generator = np.random.default_rng(0)
    window, known = confidence.astype(np.float64), known_confidence.astype(np.float64)
    draws = []
    for _ in range(_DRAWS):
        posts = generator.choice(window, len(window))
        answers = generator.integers(len(known), size=len(known)) if len(known) else slice(0)
        chances = calibrate(posts, known[answers], known_right[answers])
        draws.append(float((generator.random(len(chances)) < chances).mean()))
    low, high = np.percentile(draws, [_TAIL, 100 - _TAIL])
    center = float(calibrate(window, known, known_right).mean())
    return Estimate(center, min(float(low), center), max(float(high), center))


def calibrate(
    confidence: NDArray[np.float64],
    known_confidence: NDArray[np.float64],
    known_right: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Chances of being right: confidence, corrected by what it missed in bins of equal share."""
    if len(known_confidence) < MINIMUM_FOR_CALIBRATION:
        return confidence
    inner = np.quantile(known_confidence, np.linspace(0, 1, _BINS + 1)[1:-1])
    place = np.searchsorted(inner, known_confidence)
    counts = np.bincount(place, minlength=_BINS)
    missed = np.bincount(place, known_right - known_confidence, minlength=_BINS)
    correction = missed / np.maximum(counts, 1)
    return np.clip(confidence + correction[np.searchsorted(inner, confidence)], 0.0, 1.0)


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    z = 1.96
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)
