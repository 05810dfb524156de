"""A trained model, ready to judge texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modeling.ml import backends
from modeling.ml.artifact import TOKENIZER_FILE, ArtifactError, ArtifactSettings
from modeling.ml.backends import Ids
from modeling.ml.text import normalise


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text, and whether it was cut at the model's maximum length."""

    ids: list[int]
    truncated: bool


class SentimentClassifier:
    """Text in, probabilities out. Safe to use from several threads."""

    def __init__(self, folder: Path, backend: str = "", threads: int = 0, streams: int = 1) -> None:
        """Load the model in `folder`, for up to `streams` batches at a time, each of `threads`.

        `threads` 0 leaves the choice to the runtime.
        Raises ArtifactError, which names the file, when the folder lacks something that `backend`
        needs or holds something that cannot be loaded.
        """
        self._folder = folder
        self.settings = ArtifactSettings.read(folder)
        self.backend_name = backend or backends.DEFAULT_BACKEND
        self._tokenizer: Any = _tokenizer(folder / TOKENIZER_FILE)
        self._tokenizer.no_truncation()
        padding = self._tokenizer.padding
        self.pad_id = padding["pad_id"] if padding else self._pad_id()
        self._tokenizer.no_padding()
        self._backend = backends.load(folder, self.backend_name, threads, streams)
        # How many batches at a time are of use.
        self.streams = streams if self._backend.is_parallel else 1

    def _pad_id(self) -> int:
        for token in ("[PAD]", "<pad>"):
            if (number := self._tokenizer.token_to_id(token)) is not None:
                return int(number)
        return 0

    def try_out(self) -> None:
        """Judge a word. Raises ArtifactError when the network does not fit its settings or cannot
        be run here."""
        try:
            self.predict_proba(["good"])
        except Exception as error:  # each runtime raises classes of its own
            raise ArtifactError(
                f"the model in {self._folder} cannot judge with {self.backend_name}: "
                f"{type(error).__name__}: {error}"
            ) from error

    @property
    def labels(self) -> tuple[str, ...]:
        """Category keys in the order of the probabilities."""
        return self.settings.labels

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Normalise and tokenise; the last special token survives truncation."""
        return self.tokenise(self.normalise(texts))

    def normalise(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model sees them: those that read alike become the same."""
        spelt = self.settings.emoji_as_words
        return [normalise(text, emoji_as_words=spelt) for text in texts]

    def tokenise(self, normalised: Sequence[str]) -> list[Encoded]:
        """Token ids of texts that are normalised already."""
        limit = self.settings.max_length
        return [
            Encoded([*ids[: limit - 1], ids[-1]], True)
            if len(ids) > limit
            # A text of nothing visible still needs one token to run on.
            else Encoded(ids or [self.pad_id], False)
            for ids in (item.ids for item in self._tokenizer.encode_batch_fast(normalised))
        ]

    def probabilities(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """One batch of token ids through the network, (n, labels), each row summing to 1."""
        ids, mask = pad(rows, self.pad_id)
        logits = self._backend.logits(ids, mask).astype(np.float64) / self.settings.temperature
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
        return result

    def predict_proba(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float64]:
        """Probabilities of many texts, (n, labels), computed in batches of like length."""
        rows = [item.ids for item in self.encode(texts)]
        result = np.zeros((len(rows), len(self.labels)))
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            result[batch] = self.probabilities([rows[index] for index in batch])
        return result

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable category of each text."""
        return [self.labels[index] for index in self.predict_proba(texts).argmax(axis=1)]


def _tokenizer(path: Path) -> Tokenizer:
    try:
        if not path.is_file():
            raise ArtifactError(f"{path} is missing")
        return Tokenizer.from_file(str(path))
    except ArtifactError:
        raise
    except Exception as error:  # tokenizers raises nothing more special
        raise ArtifactError(f"{path} cannot be loaded: {error}") from error


def pad(rows: Sequence[Sequence[int]], value: int) -> tuple[Ids, Ids]:
    """Token ids and attention mask, each (n, longest)."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), value, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
