"""How good a model is: the one function that benchmarks, `evaluate` and the gate share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.ml import bootstrap
from modeling.ml.bootstrap import Interval
from modeling.ml.slices import MINIMUM_SIZE, Slice

Probabilities = NDArray[np.floating[Any]]
Confusion = NDArray[np.integer[Any]]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one category, each 0 to 1, and how many posts truly have it.

    `intervals` holds the 95 % bootstrap interval of each of the three.
    """

    precision: float
    recall: float
    f1: float
    support: int
    intervals: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class SliceScores:
    """Figures of one kind of posts. Too small slices (`is_judged` false) are only shown."""

    dimension: str
    value: str
    size: int
    accuracy: float
    macro_recall: float
    intervals: dict[str, Interval]
    is_judged: bool


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on labelled posts; shares and scores run from 0 to 1.

    `confusion[i][j]` counts posts of category i that were given category j. `macro_recall` is the
    metric of SemEval-2017 task 4A; categories that no post has are left out of macro means.
    `intervals` holds the 95 % bootstrap interval of accuracy, macro F1, macro recall and ECE.
    """

    size: int
    accuracy: float
    macro_f1: float
    macro_recall: float
    ece: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]
    intervals: dict[str, Interval] = field(default_factory=dict)
    slices: list[SliceScores] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Figures:
    """Figures of confusion matrices (…, k, k): one matrix, or as many as were resampled."""

    accuracy: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    macro_f1: NDArray[np.float64]
    macro_recall: NDArray[np.float64]


def figures(confusion: Confusion) -> Figures:
    """Categories that no post has are left out of macro means."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    support, given = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, precision = _share(hits, support), _share(hits, given)
    f1 = _share(2 * precision * recall, precision + recall)
    present = support > 0
    return Figures(
        accuracy=_share(hits.sum(axis=-1), support.sum(axis=-1)),
        precision=precision,
        recall=recall,
        f1=f1,
        macro_f1=_share((f1 * present).sum(axis=-1), present.sum(axis=-1)),
        macro_recall=_share((recall * present).sum(axis=-1), present.sum(axis=-1)),
    )


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, 0 where there is no whole."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def expected_calibration_error(
    truth: NDArray[np.intp], probabilities: Probabilities, bins: int = CALIBRATION_BINS
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    if not len(truth):
        return 0.0
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def evaluate(
    truth: Sequence[int] | NDArray[np.intp],
    probabilities: Probabilities,
    labels: Sequence[str],
    slices: Sequence[Slice] = (),
) -> Evaluation:
    """Judge `probabilities` (n, k) against `truth` (n indices into `labels`).

    Raises ValueError when there is nothing to judge or the shapes disagree.
    """
    truth = np.asarray(truth, dtype=np.intp)
    if not len(truth):
        raise ValueError("nothing to evaluate: no labelled texts were given")
    if probabilities.shape != (len(truth), len(labels)):
        raise ValueError(
            f"probabilities have shape {probabilities.shape}, not ({len(truth)}, {len(labels)})"
        )
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, len(labels))
    ours, resampled = figures(confusion), figures(bootstrap.draws(confusion))
    ece = expected_calibration_error(truth, probabilities)
    return Evaluation(
        size=len(truth),
        accuracy=float(ours.accuracy),
        macro_f1=float(ours.macro_f1),
        macro_recall=float(ours.macro_recall),
        ece=ece,
        per_class={
            label: ClassScores(
                float(ours.precision[i]),
                float(ours.recall[i]),
                float(ours.f1[i]),
                int(confusion[i].sum()),
                {
                    name: bootstrap.interval(getattr(resampled, name)[:, i])
                    for name in ("precision", "recall", "f1")
                },
            )
            for i, label in enumerate(labels)
        },
        confusion=confusion.tolist(),
        intervals={
            **{
                name: bootstrap.interval(getattr(resampled, name))
                for name in ("accuracy", "macro_f1", "macro_recall")
            },
            "ece": bootstrap.calibration_interval(
                ece, probabilities.max(axis=1), predicted == truth, CALIBRATION_BINS
            ),
        },
        slices=[_slice_scores(part, truth, predicted, len(labels)) for part in slices],
    )


def confusion_matrix(
    truth: NDArray[np.intp], predicted: NDArray[np.intp], count: int
) -> NDArray[np.intp]:
    """How many posts of category i (row) were given category j (column)."""
    return np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)


def _slice_scores(
    part: Slice, truth: NDArray[np.intp], predicted: NDArray[np.intp], count: int
) -> SliceScores:
    confusion = confusion_matrix(truth[part.members], predicted[part.members], count)
    ours, resampled = figures(confusion), figures(bootstrap.draws(confusion))
    return SliceScores(
        part.dimension,
        part.value,
        part.size,
        float(ours.accuracy),
        float(ours.macro_recall),
        {
            "accuracy": bootstrap.interval(resampled.accuracy),
            "macro_recall": bootstrap.interval(resampled.macro_recall),
        },
        is_judged=part.size >= MINIMUM_SIZE,
    )
