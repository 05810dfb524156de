"""The folder that a trained model is: its files, its settings, its digests."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from modeling.ml.base_model import sha256

SETTINGS_FILE = "sentiment.json"
ONNX_FILE = "model.onnx"
ONNX_INT8_FILE = "model.int8.onnx"
TOKENIZER_FILE = "tokenizer.json"


class ArtifactError(ValueError):
    """A model folder is incomplete, altered or not ours."""


@dataclass(frozen=True)
class ArtifactSettings:
    """What inference must know beside the weights.

    `labels` in the order of the model's outputs; `max_length` in tokens, special ones included;
    `temperature` divides the logits, so that confidence means probability.
    """

    labels: tuple[str, ...]
    max_length: int
    temperature: float
    emoji_as_words: bool
    base_model: str

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=2)
        (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ArtifactSettings":
        """Raises ArtifactError when `folder` holds no settings of ours."""
        path = folder / SETTINGS_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "labels": tuple(values["labels"])})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is missing or not a model's settings: {error}") from error


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder, by file name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def verify(folder: Path, expected: Mapping[str, str]) -> None:
    """Raise ArtifactError when a file of `expected` is missing or altered."""
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing")
        if sha256(path) != digest:
            raise ArtifactError(f"{path} is not the file that was registered")
