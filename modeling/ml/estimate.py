"""How often a model is right, estimated without labels (confidence-based performance estimation).

Holds while posts change but what makes a post positive or negative does not (covariate shift);
where the posts are unlike any that the confidence was calibrated on, it is a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Correction:
    """What confidence misses, by the bins that the inner `edges` cut; a shift more than edges."""

    edges: Sequence[float] = ()
    shifts: Sequence[float] = (0.0,)

    @classmethod
    def fit(
        cls, known_confidence: NDArray[np.float64], known_right: NDArray[np.bool_]
    ) -> Correction:
        """By known answers, in bins of equal share; of too few, nothing is corrected."""
        if len(known_confidence) < MINIMUM_FOR_CALIBRATION:
            return cls()
        edges = np.quantile(known_confidence, np.linspace(0, 1, _BINS + 1)[1:-1])
        place = np.searchsorted(edges, known_confidence)
        counts = np.bincount(place, minlength=_BINS)
        missed = np.bincount(place, known_right - known_confidence, minlength=_BINS)
        return cls(edges.tolist(), (missed / np.maximum(counts, 1)).tolist())

    def chances(self, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of being right, 0 to 1."""
        shifts = np.asarray(self.shifts)[np.searchsorted(np.asarray(self.edges), confidence)]
        return np.clip(confidence + shifts, 0.0, 1.0)


def estimate_accuracy(
    confidence: NDArray[np.floating],
    known_confidence: NDArray[np.floating],
    known_right: NDArray[np.bool_],
    texts: Sequence[str] | None = None,
) -> Estimate:
    """Of a window's posts (at least one), by how often the same confidence was right on known ones.

    Posts that share an entry of `texts` are right or wrong together, however many they are; without
    it each stands for itself. The interval has the chance of both samples and of each text's answer
    in it (bootstrap, fixed seed).
    """
    generator = np.random.default_rng(0)
    window, known = confidence.astype(np.float64), known_confidence.astype(np.float64)
    own = np.arange(len(window)) if texts is None else np.unique(texts, return_inverse=True)[1]
    copies = np.bincount(own)
    draws = []
    for _ in range(_DRAWS):
        answers = generator.integers(len(known), size=len(known)) if len(known) else slice(0)
        correction = Correction.fit(known[answers], known_right[answers])
        chances = np.bincount(own, correction.chances(window)) / copies
        drawn = generator.integers(len(copies), size=len(copies))
        is_right = generator.random(len(drawn)) < chances[drawn]
        draws.append(float(np.average(is_right, weights=copies[drawn])))
    low, high = np.percentile(draws, [_TAIL, 100 - _TAIL])
    center = float(Correction.fit(known, known_right).chances(window).mean())
    return Estimate(center, min(float(low), center), max(float(high), center))


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, by Wilson's score."""
    z = 1.96
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)
