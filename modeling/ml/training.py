"""Fine-tuning an encoder with a classification head, in plain torch."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modeling.ml import base_model
from modeling.ml.artifact import ArtifactSettings
from modeling.ml.classifier import pad
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.ml.text import normalise

if TYPE_CHECKING:
    import torch

# Share done (0 to 1) and one line that says what is going on.
Progress = Callable[[float, str], None]


class TrainingError(ValueError):
    """The data or the arguments do not allow a training."""


@dataclass(frozen=True)
class Labelled:
    """Raw texts and, for each, the index of its label."""

    texts: Sequence[str]
    labels: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise TrainingError(f"{len(self.texts)} texts but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TrainingArguments:
    """How to train. `base_model` is a hub name or folder; "" means the offline encoder.

    `max_length` counts tokens; `warmup` is the share of steps in which the learning rate rises;
    `label_smoothing` and `class_weights` act on the loss. `freeze_embeddings` leaves the word
    vectors as pre-training made them: an eighth faster, and words that no label shows keep their
    place. The same data, arguments and seed give
    the same model on the same machine.
    """

    base_model: str = ""
    max_length: int = 80
    batch_size: int = 32
    learning_rate: float = 1e-4
    epochs: int = 3
    gradient_accumulation_steps: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    class_weights: bool = True
    freeze_embeddings: bool = True
    seed: int = 13


@dataclass
class Epoch:
    """One pass: mean training loss and the figures on the validation set afterwards."""

    loss: float
    validation: Evaluation


@dataclass
class TrainingOutcome:
    """What a training gave, beside the files in its folder."""

    settings: ArtifactSettings
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    validation: Evaluation | None = None


def silent(share: float, message: str) -> None:
    """A `Progress` that shows nothing."""


def check_data(train: Labelled, validation: Labelled, labels: Sequence[str]) -> None:
    """Raise TrainingError when a label is missing from the training or validation texts."""
    for name, data in (("training", train), ("validation", validation)):
        counts = np.bincount(np.asarray(data.labels, dtype=int), minlength=len(labels))
        missing = [label for label, count in zip(labels, counts, strict=True) if count < 2]
        if missing:
            raise TrainingError(
                f"the {name} set of {len(data)} posts has fewer than 2 for: {', '.join(missing)}; "
                "label more posts of these"
            )


def fine_tune(
    train: Labelled,
    validation: Labelled,
    labels: Sequence[str],
    arguments: TrainingArguments,
    folder: Path,
    progress: Progress = silent,
) -> TrainingOutcome:
    """Train on `train`, keep the epoch with the best macro recall on `validation`, calibrate.

    Writes weights (safetensors), tokenizer and settings to `folder`. Raises TrainingError for
    data that cannot teach, OSError for a base model that is not there.
    """
    check_data(train, validation, labels)
    trainer = _Trainer(train, validation, labels, arguments, progress)
    outcome = trainer.run()
    trainer.save(folder)
    return outcome


class _Trainer:
    """One training's state: model, optimiser, batches, best weights so far."""

    def __init__(
        self,
        train: Labelled,
        validation: Labelled,
        labels: Sequence[str],
        arguments: TrainingArguments,
        progress: Progress,
    ) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        _seed_everything(arguments.seed)
        source = base_model.resolve(arguments.base_model)
        self.arguments = arguments
        self.progress = progress
        self.labels = tuple(labels)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = half_precision(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        ).to(self.device)
        self.emoji_as_words = not knows_emoji(self.tokenizer)
        self.train_ids = self._encode(train.texts)
        self.train_labels = np.asarray(train.labels, dtype=np.int64)
        self.validation_ids = self._encode(validation.texts)
        self.validation_labels = np.asarray(validation.labels, dtype=np.int64)
        self.random = random.Random(arguments.seed)
        self.optimizer = self._optimizer()
        self.loss = torch.nn.CrossEntropyLoss(
            weight=self._class_weights() if arguments.class_weights else None,
            label_smoothing=arguments.label_smoothing,
        )

    def run(self) -> TrainingOutcome:
        outcome = TrainingOutcome(self._settings(temperature=1.0))
        best, best_logits, weights = -1.0, None, {}
        for number in range(self.arguments.epochs):
            loss = self._train_epoch(number)
            logits = self._logits(self.validation_ids)
            judged = evaluate(self.validation_labels, _softmax(logits), self.labels)
            outcome.history.append(Epoch(loss, judged))
            if judged.macro_recall > best:
                best, best_logits, outcome.best_epoch = judged.macro_recall, logits, number
                weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(weights)
        assert best_logits is not None  # noqa: S101 - there is at least one epoch
        temperature = fit_temperature(best_logits, self.validation_labels)
        outcome.settings = self.settings = self._settings(temperature)
        outcome.validation = evaluate(
            self.validation_labels, _softmax(best_logits / temperature), self.labels
        )
        return outcome

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.settings.write(folder)

    def _settings(self, temperature: float) -> ArtifactSettings:
        return ArtifactSettings(
            labels=self.labels,
            max_length=self.arguments.max_length,
            temperature=temperature,
            emoji_as_words=self.emoji_as_words,
            base_model=self.arguments.base_model or base_model.OFFLINE_NAME,
        )

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        normalised = [normalise(text, emoji_as_words=self.emoji_as_words) for text in texts]
        encoded = self.tokenizer(normalised, truncation=True, max_length=self.arguments.max_length)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _class_weights(self) -> torch.Tensor:
        """Square root of the inverse share: half-way between ignoring and erasing imbalance."""
        import torch

        counts = np.bincount(self.train_labels, minlength=len(self.labels))
        weights = np.sqrt(counts.sum() / (len(counts) * counts))
        return torch.tensor(weights, dtype=torch.float32, device=self.device)

    def _optimizer(self) -> torch.optim.Optimizer:
        import torch

        decayed: list[torch.nn.Parameter] = []
        plain: list[torch.nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            if self.arguments.freeze_embeddings and ".embeddings." in f".{name}":
                parameter.requires_grad = False
                continue
            (plain if parameter.ndim < 2 or "LayerNorm" in name else decayed).append(parameter)
        return torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.arguments.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.arguments.learning_rate,
            fused=True,
        )

    def _train_epoch(self, number: int) -> float:
        import torch

        arguments = self.arguments
        batches = bucketed_batches(self.train_ids, arguments.batch_size, self.random)
        accumulate = arguments.gradient_accumulation_steps
        steps_an_epoch = math.ceil(len(batches) / accumulate)
        total = steps_an_epoch * arguments.epochs
        losses = 0.0
        self.model.train()
        for index, batch in enumerate(batches):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                logits = self.model(**self._tensors([self.train_ids[i] for i in batch])).logits
                target = torch.as_tensor(self.train_labels[batch], device=self.device)
                loss = self.loss(logits.float(), target)
            (loss / accumulate).backward()
            losses += loss.item()
            if (index + 1) % accumulate == 0 or index + 1 == len(batches):
                step = number * steps_an_epoch + index // accumulate
                self._step(step, total)
            share = (number + (index + 1) / len(batches)) / arguments.epochs
            mean = losses / (index + 1)
            self.progress(share, f"epoch {number + 1}/{arguments.epochs}, loss {mean:.3f}")
        return losses / len(batches)

    def _step(self, step: int, total: int) -> None:
        """One update, the learning rate rising over the warm-up and then falling to zero."""
        import torch

        warmup = max(1, round(total * self.arguments.warmup))
        factor = (step + 1) / warmup if step < warmup else (total - step) / (total - warmup + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.arguments.learning_rate * factor
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _tensors(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        import torch

        ids, mask = pad(rows, self.tokenizer.pad_token_id or 0)
        return {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }

    def _logits(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        self.model.eval()
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        result = np.zeros((len(rows), len(self.labels)), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                batch = order[start : start + 64]
                logits = self.model(**self._tensors([rows[i] for i in batch])).logits
                result[batch] = logits.float().cpu().numpy()
        return result


def knows_emoji(tokenizer: Any) -> bool:
    """Whether the encoder's vocabulary holds a common emoji, rather than calling it unknown."""
    ids = tokenizer("😂", add_special_tokens=False)["input_ids"]
    return tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the hardware multiplies it natively, else None: full precision."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else None


def bucketed_batches(
    rows: Sequence[Sequence[int]], size: int, rng: random.Random
) -> list[list[int]]:
    """Shuffled batches of row indices, each of rows of like length, so that little is padding."""
    order = list(range(len(rows)))
    rng.shuffle(order)
    window = size * 32
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        bucket = sorted(order[start : start + window], key=lambda i: len(rows[i]))
        batches.extend(_chunks(bucket, size))
    rng.shuffle(batches)
    return batches


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """The temperature that minimises the validation loss (Guo et al. 2017), within 1 to 8.

    Never below 1: validation posts resemble those that were learned from, live ones less, and a
    model that is made surer on the former is wrong about the latter.
    """
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        probabilities = _softmax(logits / math.exp(log_temperature))
        return float(-np.log(probabilities[rows, truth] + 1e-12).mean())

    # Golden-section search: the loss is unimodal in the temperature.
    low, high = 0.0, math.log(8.0)
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    normal: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return normal


def _seed_everything(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
