"""What a training takes and gives: data, arguments, outcome, and who looks on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modeling.ml.artifact import ArtifactSettings
from modeling.ml.evaluation import Evaluation

# Share done (0 to 1) and one line that says what is going on.
Progress = Callable[[float, str], None]

SCHEDULES = ("linear", "cosine")
COUNTS = ("max_length", "batch_size", "epochs", "gradient_accumulation_steps")
# NumPy's generator takes no more.
SEEDS = 2**32
# From 0 to 1: shares, and rates of which larger ones teach nothing.
SHARES = (
    "learning_rate",
    "warmup",
    "layer_decay",
    "weight_decay",
    "label_smoothing",
    "distillation_weight",
)


class TrainingError(ValueError):
    """The data or the arguments do not allow a training."""


class TrainingInterrupted(Exception):
    """The training was asked to stop; its checkpoint, if it keeps any, is written."""


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
class SoftLabels:
    """A teacher's opinion: its logits (n, labels) of the training texts, in their order, and of
    further texts that nobody has labelled. `teacher` and `digest` name it, where they are known."""

    labelled: NDArray[np.float32]
    texts: Sequence[str] = ()
    unlabelled: NDArray[np.float32] | None = None
    teacher: str = ""
    digest: str = ""


@dataclass(frozen=True)
class TrainingArguments:
    """How to train. `base_model` is a hub name or folder; "" means the offline encoder.

    `max_length` counts tokens; `warmup` is the share of steps in which the learning rate rises,
    after which it falls by `schedule` (linear, cosine); `layer_decay` is the share of a layer's
    rate that the layer below gets; `label_smoothing` and `class_weights` act on the loss.
    Training ends early after `patience` epochs without a better macro recall (0: never).
    `freeze_embeddings` leaves the word vectors as pre-training made them: an eighth faster, and
    words that no label shows keep their place. With soft labels, `distillation_weight` is the
    teacher's share of the loss and `distillation_temperature` softens both sides. The same data,
    arguments and seed give the same model on the same machine.
    """

    base_model: str = ""
    max_length: int = 80
    batch_size: int = 32
    learning_rate: float = 1e-4
    epochs: int = 3
    gradient_accumulation_steps: int = 1
    warmup: float = 0.1
    schedule: str = "linear"
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    class_weights: bool = True
    freeze_embeddings: bool = True
    patience: int = 3
    distillation_weight: float = 0.7
    distillation_temperature: float = 2.0
    seed: int = 13

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise TrainingError(f"no schedule {self.schedule!r}: choose of {', '.join(SCHEDULES)}")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} must lie between 0 and 1")
        if not self.distillation_temperature > 0:
            raise TrainingError("distillation_temperature must be above 0")
        if not 0 <= self.seed < SEEDS:
            raise TrainingError(f"seed must lie between 0 and {SEEDS - 1}")


@dataclass
class Epoch:
    """One pass: mean training loss and the figures on the validation set afterwards."""

    loss: float
    validation: Evaluation


@dataclass
class TrainingOutcome:
    """What a training gave, beside the files in its folder. `batch_size` is how many texts were
    computed at once: fewer than asked for where memory was short."""

    settings: ArtifactSettings
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    validation: Evaluation | None = None
    batch_size: int = 0


def silent(share: float, message: str) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True)
class Watch:
    """Who looks on beside `Progress`: after each step how many epochs are done (2.5: half of the
    third) and the step's loss, after each epoch the history; `should_stop` is asked after each
    step and ends the training when it says so."""

    on_loss: Callable[[float, float], None] = lambda epochs, loss: None
    on_epoch: Callable[[Sequence[Epoch]], None] = lambda history: None
    should_stop: Callable[[], bool] = lambda: False


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
