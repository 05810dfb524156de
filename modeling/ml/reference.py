"""The picture of ordinary posts that a model is trained with: what drift is measured against.

Kept as numbers alone, no texts: a post that is deleted later leaves nothing readable behind.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from modeling.ml import drift, features
from modeling.ml.artifact import ArtifactError

REFERENCE_FILE = "reference.npz"
# More posts than these would make no threshold noticeably lower; fewer tell nothing.
LIMIT = 2000
MINIMUM = 200
# So many random directions keep distances of embeddings to a few per cent (Johnson–Lindenstrauss).
DIRECTIONS = 32
# In place of a true label that nobody knows.
UNKNOWN = -1

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """Rows of posts that the model did not learn from: features, probabilities, the index of the
    true label (UNKNOWN for posts that were drawn as they arrived), and embeddings along
    `projection`'s directions.

    Where a model gives no embeddings both last ones have no columns.
    """

    features: Rows
    probabilities: Rows
    truth: NDArray[np.int64]
    embeddings: Rows
    projection: Rows

    def __len__(self) -> int:
        return len(self.features)

    @property
    def labelled(self) -> Sample:
        """The posts whose true label is known: what confidence is calibrated on."""
        return self._only(self.truth != UNKNOWN)

    @property
    def ordinary(self) -> Sample:
        """What a window is held against: the posts that were drawn as they arrived, or, where there
        are none, the labelled ones."""
        arrived = self.truth == UNKNOWN
        return self._only(arrived) if arrived.any() else self

    def _only(self, rows: NDArray[np.bool_]) -> Sample:
        return replace(
            self,
            features=self.features[rows],
            probabilities=self.probabilities[rows],
            truth=self.truth[rows],
            embeddings=self.embeddings[rows],
        )

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
        except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error) as error:
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
    """Of at most LIMIT texts with a known truth and as many without (at least one in all), drawn
    with a fixed seed."""
    generator = np.random.default_rng(0)
    known = np.full(len(texts), UNKNOWN) if truth is None else np.asarray(truth)
    order = generator.permutation(len(texts))
    is_known = known[order] != UNKNOWN
    chosen = np.sort(np.concatenate([order[is_known][:LIMIT], order[~is_known][:LIMIT]]))
    own = [texts[index] for index in chosen]
    embeddings = np.zeros((len(own), 0)) if embed is None else embed(own)
    width = embeddings.shape[1]
    # Random directions, not principal ones: those would fit the reference better than any window.
    projection = generator.normal(size=(width, DIRECTIONS if width else 0)) / np.sqrt(DIRECTIONS)
    return Sample(
        features=features.matrix(own),
        probabilities=probabilities[chosen].astype(np.float32),
        truth=known[chosen].astype(np.int64),
        embeddings=(embeddings @ projection).astype(np.float32),
        projection=projection.astype(np.float32),
    )


def build(sample: Sample, labels: Sequence[str]) -> dict[str, Any]:
    """A summary for people: histograms of features and confidence, shares of predicted labels."""
    columns = dict(zip(features.NAMES, sample.features.T, strict=True))
    confidence = sample.probabilities.max(axis=1)
    histograms = {}
    for name, values in {**columns, "confidence": confidence}.items():
        edges = drift.quantile_edges(values)
        histograms[name] = {"edges": edges, "counts": drift.histogram(values, edges)}
    given = np.bincount(sample.probabilities.argmax(axis=1), minlength=len(labels))
    return {
        "size": len(sample),
        "features": histograms,
        "labels": dict(zip(labels, given.tolist(), strict=True)),
        # PostgreSQL's jsonb sorts keys, and the order is that of the probabilities.
        "label_order": list(labels),
        "mean_confidence": float(confidence.mean()),
        "mean_length": float(columns["characters"].mean()),
        "confidence_histogram": drift.confidence_histogram(confidence),
    }
