"""How good a model is: the one function that benchmarks, `evaluate` and the gate share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one category, each 0 to 1, and how many posts truly have it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on labelled posts; shares and scores run from 0 to 1.

    `confusion[i][j]` counts posts of category i that were given category j. `macro_recall` is the
    metric of SemEval-2017 task 4A; categories that no post has are left out of macro means.
    """

    size: int
    accuracy: float
    macro_f1: float
    macro_recall: float
    ece: float
    per_class: dict[str, ClassScores]
    confusion: list[list[int]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def expected_calibration_error(
    truth: NDArray[np.intp], probabilities: Probabilities, bins: int = 15
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
    truth: Sequence[int] | NDArray[np.intp], probabilities: Probabilities, labels: Sequence[str]
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
    count = len(labels)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(truth * count + predicted, minlength=count * count).reshape(
        count, count
    )
    hits, support, given = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = np.divide(hits, support, out=np.zeros(count), where=support > 0)
    precision = np.divide(hits, given, out=np.zeros(count), where=given > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros(count), where=total > 0)
    present = support > 0
    return Evaluation(
        size=len(truth),
        accuracy=float(hits.sum() / len(truth)),
        macro_f1=float(f1[present].mean()),
        macro_recall=float(recall[present].mean()),
        ece=expected_calibration_error(truth, probabilities),
        per_class={
            label: ClassScores(float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        },
        confusion=confusion.tolist(),
    )
