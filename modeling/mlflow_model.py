"""What MLflow loads when it serves a registered version outside this project.

MLflow finds this module, and a copy of `modeling.ml`, in the `code` folder of the model; it needs
neither Django nor torch. Nothing is pickled: the network is ONNX, the rest JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from modeling.ml import artifact
from modeling.ml.classifier import SentimentClassifier

TEXT_COLUMN = "text"


class TextClassifierModel:
    """A data frame of texts in, one of labels, confidences and scores out."""

    def __init__(self, folder: Path) -> None:
        """Raises ArtifactError when a file is missing or altered."""
        artifact.verify(folder, artifact.sealed(folder))
        self._classifier = SentimentClassifier(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """`label`, `confidence` and `scores` (label → probability) of each row's `text`.

        Without a column of that name the first one is read; a list of texts does as well.
        """
        frame = pd.DataFrame(model_input)
        if frame.empty:
            return self._as_frame([])
        column = frame[TEXT_COLUMN] if TEXT_COLUMN in frame else frame.iloc[:, 0]
        return self._as_frame(column.fillna("").astype(str).tolist())

    def _as_frame(self, texts: list[str]) -> pd.DataFrame:
        labels = self._classifier.labels
        rows = [
            {
                "label": labels[row.argmax()],
                "confidence": float(row.max()),
                "scores": dict(zip(labels, map(float, row), strict=True)),
            }
            for row in self._classifier.predict_proba(texts)
        ]
        return pd.DataFrame(rows, columns=["label", "confidence", "scores"])


def _load_pyfunc(path: str) -> TextClassifierModel:
    """MLflow's entry point: `path` is the folder that holds the model."""
    return TextClassifierModel(Path(path))
