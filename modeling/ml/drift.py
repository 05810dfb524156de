"""Distances between a window of posts and the reference that a model was trained on, and from
where on they are drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def confidence_histogram(confidence: NDArray[np.floating]) -> list[int]:
    """Counts in ten bins of equal width between 0 and 1."""
    return np.histogram(confidence, bins=10, range=(0.0, 1.0))[0].tolist()


@dataclass(frozen=True)
class Limits:
    """From where on a difference matters, however surely it is one."""

    psi: float = 0.25
    mmd: float = 0.1
    auc: float = 0.6


@dataclass(frozen=True)
class Statistic:
    """One comparison. `value` beyond `threshold` is drift; `p_value` is adjusted for the whole
    report. `jensen_shannon` goes with histograms."""

    kind: str
    value: float
    threshold: float
    p_value: float
    jensen_shannon: float | None = None

    @property
    def is_drift(self) -> bool:
        return self.value > self.threshold

    @property
    def ratio(self) -> float:
        """The value as a multiple of the threshold: comparable across kinds, above 1 is drift."""
        return self.value / max(self.threshold, 1e-9)


# Of reports on posts like the reference's, at most so many tell of drift.
FALSE_ALARMS = 0.01
PERMUTATIONS = 499
_FOLDS = 5
_FREQUENCIES = 256
_RIDGE = 1.0

Matrix = NDArray[np.float64]


def compare(
    reference: Mapping[str, NDArray[np.floating]],
    window: Mapping[str, NDArray[np.floating]],
    labels: tuple[NDArray[np.integer], NDArray[np.integer]],
    embeddings: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
    *,
    limits: Limits = Limits(),
    permutations: int = PERMUTATIONS,
) -> dict[str, Statistic]:
    """Each column's PSI, the labels' PSI, the embeddings' MMD and a domain classifier's AUC.

    All are held against one permutation test of the whole report: reference and window are
    thrown together and parted at random, and the largest standardised statistic of each parting
    gives the threshold (Westfall & Young's max-T). Same distributions are therefore taken for
    different ones in at most FALSE_ALARMS of the reports, whatever the window's size and however
    the statistics hang together. Beyond that, a difference must reach `limits` to count.
    """
    generator = np.random.default_rng(0)
    sizes = len(labels[0]), len(labels[1])
    in_window = _partings(sizes, permutations, generator)
    results: dict[str, tuple[str, Matrix, float | None]] = {}
    for name, values in reference.items():
        edges = quantile_edges(values)
        bins = np.searchsorted(edges, np.concatenate([values, window[name]]), side="left")
        results[name] = _histograms(bins, len(edges) + 1, in_window)
    given = np.concatenate(labels)
    results["labels"] = _histograms(given, int(given.max()) + 1, in_window)
    pooled = [np.concatenate([reference[name], window[name]]) for name in reference]
    columns = np.stack(pooled, axis=1).astype(np.float64)
    if embeddings is not None and embeddings[0].shape[1]:
        vectors = _standard(np.concatenate(embeddings).astype(np.float64))
        results["embedding"] = ("mmd", _mmd(vectors, in_window, generator), None)
        columns = np.hstack([columns, vectors])
    areas = _domain_classifier(_standard(columns), in_window, generator)
    results["domain_classifier"] = ("auc", areas, None)
    return _judge(results, limits)


def telltale(
    reference: Mapping[str, NDArray[np.floating]], window: Mapping[str, NDArray[np.floating]]
) -> dict[str, float]:
    """Weights of the columns: the larger a post's weighted sum, the more it is of the window's kind
    and the less of the reference's (linear discriminant by ridge regression)."""
    pooled = [np.concatenate([reference[name], window[name]]) for name in reference]
    columns = np.stack(pooled, axis=1).astype(np.float64)
    sizes = [len(next(iter(side.values()))) for side in (reference, window)]
    # Both sides count alike, whatever their sizes.
    share = np.repeat([1 / sizes[0], 1 / sizes[1]], sizes)[:, None] * sum(sizes) / 2
    design, truth = _standard(columns), np.repeat([-1.0, 1.0], sizes)
    gram = design.T @ (design * share) + _RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(gram, (design * share).T @ truth)
    spread = columns.std(axis=0)
    raw = np.where(spread > 0, weights / np.where(spread > 0, spread, 1.0), 0.0)
    return dict(zip(reference, raw.tolist(), strict=True))


def _partings(sizes: tuple[int, int], count: int, generator: np.random.Generator) -> Matrix:
    """Who is in the window, (posts, 1 + count): the first column is the truth."""
    truth = np.repeat([0.0, 1.0], sizes)
    return np.stack([truth, *(generator.permutation(truth) for _ in range(count))], axis=1)


def _histograms(
    bins: NDArray[np.integer], count: int, in_window: Matrix
) -> tuple[str, Matrix, float]:
    """The PSI of every parting, and the true one's Jensen–Shannon distance."""
    one_hot = np.eye(count)[bins]
    windows = one_hot.T @ in_window
    references = one_hot.sum(axis=0)[:, None] - windows
    # As `shares`, a column at a time.
    actual, expected = (
        np.maximum(each / each.sum(axis=0), _FLOOR) for each in (windows, references)
    )
    actual, expected = actual / actual.sum(axis=0), expected / expected.sum(axis=0)
    indices = ((actual - expected) * np.log(actual / expected)).sum(axis=0)
    return "psi", indices, jensen_shannon(references[:, 0], windows[:, 0])


def _standard(columns: Matrix) -> Matrix:
    """Of reference and window together, so that both are treated alike."""
    spread = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _mmd(vectors: Matrix, in_window: Matrix, generator: np.random.Generator) -> Matrix:
    """Maximum mean discrepancy with a Gaussian kernel as wide as the median distance, by random
    Fourier features (Rahimi & Recht 2007): linear in the number of posts.

    Less what chance alone gives, so that it means the same at any size; 0 where chance gives more.
    """
    first, second = generator.integers(len(vectors), size=(2, 2000))
    width = float(np.median(np.linalg.norm(vectors[first] - vectors[second], axis=1))) or 1.0
    waves = vectors @ (generator.normal(size=(vectors.shape[1], _FREQUENCIES)) / width)
    mapped = np.hstack([np.cos(waves), np.sin(waves)]) / np.sqrt(_FREQUENCIES)
    inside = in_window.sum(axis=0)
    sums = mapped.T @ in_window
    means = sums / inside
    others = (mapped.sum(axis=0)[:, None] - sums) / (len(vectors) - inside)
    squared = ((means - others) ** 2).sum(axis=0)
    return np.sqrt(np.maximum(squared - squared[1:].mean(), 0.0))


def _domain_classifier(
    columns: Matrix, in_window: Matrix, generator: np.random.Generator
) -> Matrix:
    """Cross-validated AUC of telling window from reference: 0.5 when nothing tells them apart.

    A linear discriminant by ridge regression. One solution serves all partings, where a logistic
    regression would have to be fitted to each of hundreds.
    """
    count = len(columns)
    design = np.hstack([columns, np.ones((count, 1))])
    folds = np.array_split(generator.permutation(count), _FOLDS)
    total = np.zeros(in_window.shape[1])
    for held in folds:
        rest = np.setdiff1d(np.arange(count), held)
        gram = design[rest].T @ design[rest] + _RIDGE * np.eye(design.shape[1])
        weights = np.linalg.solve(gram, design[rest].T @ in_window[rest])
        total += _areas(design[held] @ weights, in_window[held])
    return total / _FOLDS


def _areas(scores: Matrix, in_window: Matrix) -> Matrix:
    """Area under the ROC curve, a column at a time, by the rank sum."""
    order = scores.argsort(axis=0)
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, np.arange(1.0, len(scores) + 1)[:, None], axis=0)
    inside = in_window.sum(axis=0)
    outside = len(scores) - inside
    wins = (ranks * in_window).sum(axis=0) - inside * (inside + 1) / 2
    return np.where(inside * outside > 0, wins / np.maximum(inside * outside, 1), 0.5)


def _judge(
    results: Mapping[str, tuple[str, Matrix, float | None]], limits: Limits
) -> dict[str, Statistic]:
    # PSI is like a chi-square: its root is nearer to a normal variable, as the others are.
    rooted = np.stack(
        [np.sqrt(values) if kind == "psi" else values for kind, values, _ in results.values()]
    )
    means, spreads = rooted.mean(axis=1), rooted.std(axis=1)
    spreads = np.where(spreads > 1e-12, spreads, np.inf)
    scores = (rooted - means[:, None]) / spreads[:, None]
    largest = scores[:, 1:].max(axis=0)
    critical = np.quantile(largest, 1 - FALSE_ALARMS, method="higher")
    judged = {}
    for row, (name, (kind, values, distance)) in enumerate(results.items()):
        edge = means[row] + critical * (spreads[row] if np.isfinite(spreads[row]) else 0.0)
        edge = edge**2 if kind == "psi" else edge
        rank = 1 + int((largest >= scores[row, 0]).sum())
        judged[name] = Statistic(
            kind=kind,
            value=float(values[0]),
            threshold=max(float(edge), float(getattr(limits, kind))),
            p_value=rank / (1 + len(largest)),
            jensen_shannon=distance,
        )
    return judged
