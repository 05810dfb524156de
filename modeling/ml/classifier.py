"""A trained model, ready to judge texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from modeling.ml.artifact import (
    ONNX_FILE,
    ONNX_INT8_FILE,
    TOKENIZER_FILE,
    ArtifactError,
    ArtifactSettings,
)
from modeling.ml.text import normalise

BACKENDS = ("onnx-int8", "onnx", "torch")
DEFAULT_BACKEND = "onnx-int8"

Ids = NDArray[np.int64]


class Backend(Protocol):
    """Runs the network."""

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        """Token ids and attention mask, each (n, length), to logits (n, labels)."""
        ...


class OnnxBackend:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads steal the second core from whoever shares the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise ArtifactError(f"{path} cannot be loaded: {error}") from error

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self._session.run(
            ["logits"], {"input_ids": ids, "attention_mask": mask}
        )[0]
        return result


class TorchBackend:
    """PyTorch, on a GPU where there is one."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = (
            AutoModelForSequenceClassification.from_pretrained(folder).to(self._device).eval()
        )

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            output = self._model(
                input_ids=self._torch.from_numpy(ids).to(self._device),
                attention_mask=self._torch.from_numpy(mask).to(self._device),
            )
        result: NDArray[np.float32] = output.logits.float().cpu().numpy()
        return result


@dataclass(frozen=True)
class Encoded:
    """Token ids of one text, and whether it was cut at the model's maximum length."""

    ids: list[int]
    truncated: bool


class SentimentClassifier:
    """Text in, probabilities out. Safe to use from several threads."""

    def __init__(self, folder: Path, backend: str = "", threads: int = 0) -> None:
        """Load the model in `folder`; `threads` 0 leaves the choice to the runtime.

        Raises ArtifactError when the folder lacks something that `backend` needs.
        """
        self.settings = ArtifactSettings.read(folder)
        self.backend_name = backend or DEFAULT_BACKEND
        tokenizer_path = folder / TOKENIZER_FILE
        if not tokenizer_path.is_file():
            raise ArtifactError(f"{tokenizer_path} is missing")
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer_path))
        self._tokenizer.no_truncation()
        padding = self._tokenizer.padding
        self.pad_id = padding["pad_id"] if padding else self._pad_id()
        self._tokenizer.no_padding()
        self._backend = _load_backend(folder, self.backend_name, threads)

    def _pad_id(self) -> int:
        for token in ("[PAD]", "<pad>"):
            if (number := self._tokenizer.token_to_id(token)) is not None:
                return int(number)
        return 0

    @property
    def labels(self) -> tuple[str, ...]:
        """Category keys in the order of the probabilities."""
        return self.settings.labels

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Normalise and tokenise; the last special token survives truncation."""
        normalised = [
            normalise(text, emoji_as_words=self.settings.emoji_as_words) for text in texts
        ]
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


def pad(rows: Sequence[Sequence[int]], value: int) -> tuple[Ids, Ids]:
    """Token ids and attention mask, each (n, longest)."""
    longest = max(map(len, rows))
    ids = np.full((len(rows), longest), value, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def _load_backend(folder: Path, name: str, threads: int) -> Backend:
    if name == "torch":
        return TorchBackend(folder, threads)
    if name not in BACKENDS:
        raise ArtifactError(f"no backend is called {name!r}: choose one of {', '.join(BACKENDS)}")
    path = folder / (ONNX_INT8_FILE if name == "onnx-int8" else ONNX_FILE)
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the version was registered without it")
    return OnnxBackend(path, threads)
