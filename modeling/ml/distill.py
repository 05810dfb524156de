"""Teachers: what a bigger model thinks of texts, for a smaller one to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modeling.ml import hub
from modeling.ml.arguments import TrainingError
from modeling.ml.artifact import SETTINGS_FILE
from modeling.ml.classifier import SentimentClassifier, pad
from modeling.ml.encoder import knows_emoji, longest_input
from modeling.ml.optimisation import chunks
from modeling.ml.text import normalise

BATCH = 32
MAX_LENGTH = 128

Say = Callable[[str], None]


class Teacher(Protocol):
    labels: tuple[str, ...]

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, labels), in the order of `labels`."""
        ...


class VersionTeacher:
    """A model of ours, in float: what int8 rounds away is part of the lesson."""

    def __init__(self, folder: Path) -> None:
        self._classifier = SentimentClassifier(folder, "torch")
        self.labels = self._classifier.labels

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        probabilities = self._classifier.predict_proba(texts, BATCH)
        return np.log(probabilities + 1e-9).astype(np.float32)


class HubTeacher:
    """A classifier of a hub or a folder, as transformers loads it."""

    def __init__(self, source: str) -> None:
        import torch

        library = hub.transformers()
        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._tokenizer: Any = library.AutoTokenizer.from_pretrained(source)
        model: Any = library.AutoModelForSequenceClassification.from_pretrained(
            # Processors multiply half precision slowly, or not at all.
            source,
            dtype=torch.float32 if self._device.type == "cpu" else "auto",
        )
        self._model = model.to(self._device).eval()
        names = model.config.id2label
        self.labels = tuple(str(names[number]).lower() for number in range(len(names)))
        self._emoji_as_words = not knows_emoji(self._tokenizer)
        self._max_length = min(MAX_LENGTH, longest_input(model))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        normalised = [normalise(text, emoji_as_words=self._emoji_as_words) for text in texts]
        rows = self._tokenizer(normalised, truncation=True, max_length=self._max_length)
        ids, mask = pad(rows["input_ids"], self._tokenizer.pad_token_id or 0)
        with self._torch.inference_mode():
            output = self._model(
                input_ids=self._torch.from_numpy(ids).to(self._device),
                attention_mask=self._torch.from_numpy(mask).to(self._device),
            )
        result: NDArray[np.float32] = output.logits.float().cpu().numpy()
        return result


def load(source: str | Path) -> Teacher:
    """A folder of ours, or a hub name or folder of transformers.

    Raises OSError when there is no such model, ArtifactError for a broken folder of ours.
    """
    if Path(source, SETTINGS_FILE).is_file():
        return VersionTeacher(Path(source))
    return HubTeacher(str(source))


def opinions(
    teacher: Teacher, texts: Sequence[str], labels: Sequence[str], say: Say
) -> NDArray[np.float32]:
    """The teacher's logits (n, labels) in the order of `labels`.

    Raises TrainingError when the teacher's labels are others.
    """
    if set(teacher.labels) != {label.lower() for label in labels}:
        raise TrainingError(
            f"the teacher's labels are {', '.join(teacher.labels)}, "
            f"not {', '.join(labels)}: choose a teacher of the same labels"
        )
    order = [teacher.labels.index(label.lower()) for label in labels]
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    result = np.zeros((len(texts), len(labels)), dtype=np.float32)
    done = 0
    for batch in chunks(by_length, BATCH):
        result[batch] = teacher.logits([texts[index] for index in batch])[:, order]
        done += len(batch)
        say(f"the teacher has judged {done:,} of {len(texts):,} texts")
    return result
