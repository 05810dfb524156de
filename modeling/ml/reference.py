"""The picture of ordinary posts that a model is trained with: what drift is measured against.

Kept as numbers alone, no texts: a post that is deleted later leaves nothing readable behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from modeling.ml import drift, features
from modeling.ml.artifact import ArtifactError

REFERENCE_FILE = "reference.npz"
# More posts than these would make no threshold noticeably lower.
LIMIT = 2000
# So many random directions keep distances of embeddings to a few per cent (Johnson–Lindenstrauss).
DIRECTIONS = 32
_UNKNOWN = -1

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Rows of posts that the model did not learn from: features, probabilities, the index of the
    true label (−1 where nobody knows it), and embeddings along `projection`'s directions.

    Where a model gives no embeddings both last ones have no columns.
    """

    features: Rows
    probabilities: Rows
    truth: NDArray[np.int64]
    embeddings: Rows
    projection: Rows

    def __len__(self) -> int:
        return len(self.features)

    def write(self, folder: Path) -> None:
        np.savez(
            folder / REFERENCE_FILE,
            features=self.features,
            probabilities=self.probabilities,
            truth=self.truth,
            embeddings=self.embeddings,
            projection=self.projection,
        )

    @classmethod
    def read(cls, folder: Path) -> Sample | None:
        """None for a version from before there were samples. Raises ArtifactError."""
        path = folder / REFERENCE_FILE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                sample = cls(**{name: stored[name] for name in cls.__annotations__})
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise ArtifactError(f"{path} is no reference: {error}") from error
        if sample.features.shape[1] != len(features.NAMES):
            # Other features than today's cannot be compared.
            return None
        return sample


def make_sample(
    texts: Sequence[str],
    probabilities: NDArray[np.floating],
    truth: Sequence[int] | None = None,
    embed: Callable[[Sequence[str]], NDArray[np.floating]] | None = None,
) -> Sample:
    """Of at most LIMIT texts (and at least one), drawn with a fixed seed."""
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.permutation(len(texts))[:LIMIT])
    own = [texts[index] for index in chosen]
    embeddings = np.zeros((len(own), 0)) if embed is None else embed(own)
    width = embeddings.shape[1]
    # Random directions, not principal ones: those would fit the reference better than any window.
    projection = generator.normal(size=(width, DIRECTIONS if width else 0)) / np.sqrt(DIRECTIONS)
    known = np.full(len(texts), _UNKNOWN) if truth is None else np.asarray(truth)
    return Sample(
        features=features.matrix(own),
        probabilities=probabilities[chosen].astype(np.float32),
        truth=known[chosen].astype(np.int64),
        embeddings=(embeddings @ projection).astype(np.float32),
        projection=projection.astype(np.float32),
    )


def build(
    texts: Sequence[str], probabilities: NDArray[np.floating], labels: Sequence[str]
) -> dict[str, Any]:
    """A summary for people: histograms of features and confidence, shares of predicted labels."""
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
        # PostgreSQL's jsonb sorts keys, and the order is that of the probabilities.
        "label_order": list(labels),
        "mean_confidence": float(confidence.mean()),
        "mean_length": float(values[:, 0].mean()),
        "confidence_histogram": drift.confidence_histogram(confidence),
    }
