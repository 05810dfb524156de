"""Pictures of an evaluation, and the numbers behind them.

Figures are made without pyplot, whose global state is not safe in a worker's threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.ml.evaluation import Probabilities

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies between `low` and `high`: how sure, and how often right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(
    truth: Sequence[int] | NDArray[np.intp], probabilities: Probabilities, bins: int = BINS
) -> list[Bin]:
    """Confidence against accuracy in equal-width bins; empty bins are left out."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == np.asarray(truth, dtype=np.intp)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(
            low=number / bins,
            high=(number + 1) / bins,
            count=int(chosen.sum()),
            confidence=float(confidence[chosen].mean()),
            accuracy=float(correct[chosen].mean()),
        )
        for number in range(bins)
        if (chosen := index == number).any()
    ]


def draw_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path) -> None:
    """Write the confusion matrix as a PNG: counts, coloured by the share of their true class."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure("Confusion matrix", "given by the model", "true")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
            column,
            row,
            f"{count}\n{shares[row, column]:.0%}",
            ha="center",
            va="center",
            color=colour,
        )
    figure.savefig(path, dpi=120)


def draw_reliability(bins: Sequence[Bin], path: Path) -> None:
    """Write the reliability diagram as a PNG: bars on the diagonal mean calibrated confidence."""
    figure, axes = _figure("Calibration", "confidence", "share that is right")
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", linewidth=1)
    axes.bar(
        [item.low for item in bins],
        [item.accuracy for item in bins],
        width=[item.high - item.low for item in bins],
        align="edge",
        edgecolor="white",
    )
    for item in bins:
        axes.text(
            (item.low + item.high) / 2, item.accuracy, f"{item.count}", ha="center", va="bottom"
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08)
    figure.savefig(path, dpi=120)


def _figure(title: str, x: str, y: str) -> tuple[Any, Any]:
    # Imported here: it takes half a second, and serving never draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
