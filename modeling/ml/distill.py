"""Teachers: what a bigger model thinks of texts, for a smaller one to learn from."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from modeling.ml import hub
from modeling.ml.arguments import TrainingError
from modeling.ml.artifact import SETTINGS_FILE, WEIGHTS_FILE
from modeling.ml.base_model import sha256
from modeling.ml.classifier import SentimentClassifier, pad
from modeling.ml.encoder import knows_emoji, longest_input
from modeling.ml.optimisation import chunks, half_precision
from modeling.ml.text import normalise

logger = logging.getLogger(__name__)

BATCH = 32
MAX_LENGTH = 128
TEXTS_FILE = "texts.json"
LOGITS_FILE = "logits.safetensors"

Say = Callable[[str], None]


class Teacher(Protocol):
    """`digest` is the weights' SHA-256, or a hub's revision; "" where neither is known."""

    labels: tuple[str, ...]
    digest: str

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, labels), in the order of `labels`."""
        ...


class VersionTeacher:
    """A model of ours, in float: what int8 rounds away is part of the lesson."""

    def __init__(self, folder: Path) -> None:
        self._classifier = SentimentClassifier(folder, "torch")
        self.labels = self._classifier.labels
        self.digest = sha256(folder / WEIGHTS_FILE)

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
            # Many processors multiply half precision slowly; `opinions` knows which do not.
            source,
            dtype=torch.float32 if self._device.type == "cpu" else "auto",
        )
        self._model = model.to(self._device).eval()
        names = model.config.id2label
        self.labels = tuple(str(names[number]).lower() for number in range(len(names)))
        weights = Path(source, WEIGHTS_FILE)
        revision = getattr(model.config, "_commit_hash", None)
        self.digest = sha256(weights) if weights.is_file() else str(revision or "")
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


@dataclass(frozen=True)
class Opinions:
    """What a teacher thinks of texts: a row of `logits` each, in the order of `labels`.

    `posts` holds the stored post that says a text, None for those of the data set. `teacher` and
    `digest` say who it was.
    """

    teacher: str
    digest: str
    labels: tuple[str, ...]
    texts: list[str]
    posts: list[int | None]
    logits: NDArray[np.float32]

    def only(self, rows: Sequence[int]) -> Opinions:
        """Those of some rows, in their order."""
        texts, posts = [self.texts[row] for row in rows], [self.posts[row] for row in rows]
        return replace(self, texts=texts, posts=posts, logits=self.logits[list(rows)])

    def write(self, folder: Path) -> None:
        """Keep them in `folder`, whole or not at all; in the place of what lay there.

        A disk that is full costs the copy, not the training: it is logged.
        """
        from safetensors.numpy import save_file

        temporary = folder.with_name(f"{folder.name}-writing-{os.getpid()}")
        plain = {name: value for name, value in vars(self).items() if name != "logits"}
        shutil.rmtree(folder, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            save_file({"logits": np.ascontiguousarray(self.logits)}, temporary / LOGITS_FILE)
            (temporary / TEXTS_FILE).write_text(json.dumps(plain), encoding="utf-8")
            temporary.rename(folder)
        except OSError as error:
            logger.warning("the teacher's opinions could not be kept in %s: %s", folder, error)
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def read(cls, folder: Path) -> Opinions | None:
        """What `write` has kept; None without it, or when it is broken, which is logged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        if not folder.is_dir():
            return None
        try:
            plain = json.loads((folder / TEXTS_FILE).read_text(encoding="utf-8"))
            plain["labels"] = tuple(plain["labels"])
            kept = cls(**plain, logits=load_file(folder / LOGITS_FILE)["logits"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            logger.warning("the teacher's opinions in %s cannot be read: %s", folder, error)
            return None
        size = len(kept.texts)
        is_whole = kept.logits.shape == (size, len(kept.labels)) and len(kept.posts) == size
        return kept if is_whole else None


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

    On a CPU that is faster so it thinks in half precision, as students learn. Raises TrainingError
    when the teacher's labels are others.
    """
    import torch

    if set(teacher.labels) != {label.lower() for label in labels}:
        raise TrainingError(
            f"the teacher's labels are {', '.join(teacher.labels)}, "
            f"not {', '.join(labels)}: choose a teacher of the same labels"
        )
    order = [teacher.labels.index(label.lower()) for label in labels]
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    result = np.zeros((len(texts), len(labels)), dtype=np.float32)
    done = 0
    half = half_precision(torch.device("cpu"))
    for batch in chunks(by_length, BATCH):
        with torch.autocast("cpu", half, enabled=half is not None):
            result[batch] = teacher.logits([texts[index] for index in batch])[:, order]
        done += len(batch)
        say(f"the teacher has judged {done:,} of {len(texts):,} texts")
    return result
