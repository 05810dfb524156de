"""Distances between a window of posts and the reference that a model was trained on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Keeps an empty bin from making the distance infinite.
_FLOOR = 1e-4


def shares(counts: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Counts as shares that sum to 1, none below a small floor."""
    array = np.asarray(counts, dtype=np.float64)
    total = array.sum()
    array = np.full_like(array, 1 / len(array)) if total == 0 else array / total
    array = np.maximum(array, _FLOOR)
    return array / array.sum()


def psi(reference: Sequence[float], window: Sequence[float]) -> float:
    """Population stability index of two histograms over the same bins.

    Below 0.1 is usually read as stable, above 0.25 as shifted (Siddiqi 2006).
    """
    expected, actual = shares(reference), shares(window)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def jensen_shannon(reference: Sequence[float], window: Sequence[float]) -> float:
    """Jensen–Shannon distance of two histograms over the same bins: 0 equal, 1 disjoint."""
    p, q = shares(reference), shares(window)
    mean = (p + q) / 2
    divergence = (np.sum(p * np.log2(p / mean)) + np.sum(q * np.log2(q / mean))) / 2
    return float(np.sqrt(max(divergence, 0.0)))


def quantile_edges(values: NDArray[np.floating], bins: int = 10) -> list[float]:
    """Inner edges that cut `values` into bins of equal share; ties make fewer bins."""
    inner = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return sorted({float(edge) for edge in inner})


def histogram(values: NDArray[np.floating], edges: Sequence[float]) -> list[int]:
    """Counts of `values` in the bins that the inner `edges` cut, len(edges) + 1 of them."""
    index = np.searchsorted(np.asarray(edges), values, side="left")
    return np.bincount(index, minlength=len(edges) + 1).tolist()
