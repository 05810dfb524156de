"""The picture of ordinary posts that a model is trained with: what drift is measured against."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeling.ml import drift, features


def build(
    texts: Sequence[str], probabilities: NDArray[np.floating], labels: Sequence[str]
) -> dict[str, Any]:
    """Histograms of features and confidence, shares of predicted labels; plain JSON values."""
    values = features.matrix(texts)
    histograms = {}
    for column, name in enumerate(features.NAMES):
        edges = drift.quantile_edges(values[:, column])
        counted = drift.histogram(values[:, column], edges)
        histograms[name] = {"edges": edges, "counts": counted}
    confidence = probabilities.max(axis=1)
    edges = drift.quantile_edges(confidence)
    histograms["confidence"] = {"edges": edges, "counts": drift.histogram(confidence, edges)}
    given = np.bincount(probabilities.argmax(axis=1), minlength=len(labels))
    return {
        "size": len(texts),
        "features": histograms,
        "labels": dict(zip(labels, given.tolist(), strict=True)),
        "mean_confidence": float(confidence.mean()),
    }


def compare(
    reference: dict[str, Any],
    texts: Sequence[str],
    confidence: NDArray[np.floating],
    label_counts: dict[str, int],
) -> dict[str, dict[str, float]]:
    """PSI and Jensen–Shannon distance of a window, for each feature, the confidence and the
    predicted labels."""
    values = features.matrix(texts)
    columns = {name: values[:, index] for index, name in enumerate(features.NAMES)}
    columns["confidence"] = confidence
    result = {}
    for name, expected in reference["features"].items():
        window = drift.histogram(columns[name], expected["edges"])
        result[name] = _distances(expected["counts"], window)
    keys = list(reference["labels"])
    result["labels"] = _distances(
        [reference["labels"][key] for key in keys], [label_counts.get(key, 0) for key in keys]
    )
    return result


def _distances(expected: Sequence[float], window: Sequence[float]) -> dict[str, float]:
    return {
        "psi": drift.psi(expected, window),
        "jensen_shannon": drift.jensen_shannon(expected, window),
    }
