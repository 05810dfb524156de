"""Fine-tuning an encoder with a classification head, in plain torch."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from modeling.ml import base_model, checkpoints
from modeling.ml.arguments import (
    Epoch,
    Labelled,
    Progress,
    SoftLabels,
    TrainingArguments,
    TrainingError,
    TrainingInterrupted,
    TrainingOutcome,
    Watch,
    check_data,
    silent,
)
from modeling.ml.artifact import ArtifactSettings
from modeling.ml.calibration import fit_temperature, softmax
from modeling.ml.checkpoints import Checkpoint, Checkpoints
from modeling.ml.classifier import pad
from modeling.ml.encoder import knows_emoji, load_encoder, longest_input
from modeling.ml.evaluation import evaluate
from modeling.ml.optimisation import (
    bucketed_batches,
    chunks,
    half_precision,
    is_out_of_memory,
    learning_rate_factor,
    parameter_groups,
)
from modeling.ml.text import normalise

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 64
# What torch's cross entropy leaves out.
UNLABELLED = -100


def fine_tune(
    train: Labelled,
    validation: Labelled,
    labels: Sequence[str],
    arguments: TrainingArguments,
    folder: Path,
    progress: Progress = silent,
    *,
    soft_labels: SoftLabels | None = None,
    saved: Checkpoints | None = None,
    watch: Watch | None = None,
) -> TrainingOutcome:
    """Train on `train`, keep the epoch with the best macro recall on `validation`, calibrate.

    Writes weights (safetensors), tokenizer and settings to `folder`. With `saved` it writes
    checkpoints there, and goes on from the last one if that is of the same data and arguments:
    the model is the one that an undisturbed training gives. Raises TrainingError for data that
    cannot teach, OSError for a base model that is not there, TrainingInterrupted when stopped.
    """
    check_data(train, validation, labels)
    trainer = _Trainer(train, validation, labels, arguments, progress, soft_labels)
    trainer.saved, trainer.watch = saved, watch or Watch()
    outcome = trainer.run()
    trainer.save(folder)
    return outcome


class _Trainer:
    """One training's state: model, optimiser, place in the data, best weights so far."""

    saved: Checkpoints | None
    watch: Watch

    def __init__(
        self,
        train: Labelled,
        validation: Labelled,
        labels: Sequence[str],
        arguments: TrainingArguments,
        progress: Progress,
        soft_labels: SoftLabels | None,
    ) -> None:
        import torch

        _seed_everything(arguments.seed)
        self.arguments = arguments
        self.progress = progress
        self.labels = tuple(labels)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = half_precision(self.device)
        self.tokenizer, self.model = load_encoder(arguments.base_model, self.labels, self.device)
        self.model.to(self.device)
        self.max_length = min(arguments.max_length, longest_input(self.model))
        self.emoji_as_words = not knows_emoji(self.tokenizer)
        further = soft_labels.texts if soft_labels else ()
        self.train_ids = self._encode([*train.texts, *further])
        self.train_labels = np.asarray(
            [*train.labels, *[UNLABELLED] * len(further)], dtype=np.int64
        )
        self.teacher = None if soft_labels is None else self._teacher(soft_labels)
        self.validation_ids = self._encode(validation.texts)
        self.validation_labels = np.asarray(validation.labels, dtype=np.int64)
        self.class_weights = self._class_weights()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(
                self.model,
                weight_decay=arguments.weight_decay,
                layer_decay=arguments.layer_decay,
                freeze_embeddings=arguments.freeze_embeddings,
            ),
            lr=arguments.learning_rate,
            fused=True,
        )
        self.batch_size, self.evaluation_batch = arguments.batch_size, EVALUATION_BATCH
        self.epoch = self.groups_done = 0
        self.losses = 0.0
        self.epoch_losses: list[float] = []
        self.epoch_logits: list[NDArray[np.float32]] = []
        self.history: list[Epoch] = []
        self.best_epoch = 0
        self.best_weights: dict[str, torch.Tensor] = {}
        # Whether the newest checkpoint holds these very weights: they need no second writing.
        self.best_is_saved = False

    def run(self) -> TrainingOutcome:
        self._restore()
        while self.epoch < self.arguments.epochs and not self._is_stuck():
            self._train_epoch()
            self._judge_epoch()
        self.model.load_state_dict(self.best_weights)
        logits = self.epoch_logits[self.best_epoch]
        temperature = fit_temperature(logits, self.validation_labels)
        self.settings = self._settings(temperature)
        judged = evaluate(self.validation_labels, softmax(logits / temperature), self.labels)
        return TrainingOutcome(
            self.settings, self.history, self.best_epoch, judged, self.batch_size
        )

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.settings.write(folder)

    def _settings(self, temperature: float) -> ArtifactSettings:
        return ArtifactSettings(
            labels=self.labels,
            max_length=self.max_length,
            temperature=temperature,
            emoji_as_words=self.emoji_as_words,
            base_model=self.arguments.base_model or base_model.OFFLINE_NAME,
        )

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        normalised = [normalise(text, emoji_as_words=self.emoji_as_words) for text in texts]
        if not normalised:
            return []
        encoded = self.tokenizer(normalised, truncation=True, max_length=self.max_length)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _teacher(self, soft: SoftLabels) -> NDArray[np.float32]:
        further = soft.unlabelled
        parts = [soft.labelled] if further is None else [soft.labelled, further]
        logits = np.concatenate(parts).astype(np.float32)
        if logits.shape != (len(self.train_ids), len(self.labels)):
            raise TrainingError(
                f"soft labels of shape {logits.shape} for {len(self.train_ids)} texts "
                f"and {len(self.labels)} labels"
            )
        return logits

    def _class_weights(self) -> NDArray[np.float32]:
        """Square root of the inverse share: half-way between ignoring and erasing imbalance."""
        if not self.arguments.class_weights:
            return np.ones(len(self.labels), dtype=np.float32)
        labelled = self.train_labels[self.train_labels != UNLABELLED]
        counts = np.bincount(labelled, minlength=len(self.labels))
        return np.sqrt(counts.sum() / (len(counts) * counts)).astype(np.float32)

    def _groups(self) -> list[list[list[int]]]:
        """This epoch's updates, each of as many batches as are accumulated.

        Drawn from seed and epoch alone, so that a training that goes on finds the same ones.
        """
        rng = random.Random(f"{self.arguments.seed}:{self.epoch}")
        batches = bucketed_batches(self.train_ids, self.arguments.batch_size, rng)
        return list(chunks(batches, self.arguments.gradient_accumulation_steps))

    def _train_epoch(self) -> None:
        epochs = self.arguments.epochs
        groups = self._groups()
        self.model.train()
        for index in range(self.groups_done, len(groups)):
            step = self.epoch * len(groups) + index
            loss = self._update(groups[index], step, len(groups) * epochs)
            self.losses += loss
            self.groups_done = index + 1
            done = self.epoch + self.groups_done / len(groups)
            self.watch.on_loss(done, loss)
            mean = self.losses / self.groups_done
            self.progress(done / epochs, f"epoch {self.epoch + 1}/{epochs}, loss {mean:.3f}")
            if self.watch.should_stop():
                self._checkpoint()
                raise TrainingInterrupted(f"stopped in epoch {self.epoch + 1} of {epochs}")
            if self.saved is not None and self.saved.due():
                self._checkpoint()
        self.epoch_losses.append(self.losses / len(groups))

    def _judge_epoch(self) -> None:
        self.epoch_logits.append(self._logits(self.validation_ids))
        self._note_history()
        if self.best_epoch == self.epoch:
            state = self.model.state_dict()
            self.best_weights = {name: value.detach().clone() for name, value in state.items()}
            self.best_is_saved = False
        self.epoch, self.groups_done, self.losses = self.epoch + 1, 0, 0.0
        self._checkpoint()
        self.watch.on_epoch(self.history)

    def _note_history(self) -> None:
        """Judge the epochs that are not yet judged, and find the best: the first of equals."""
        for number in range(len(self.history), len(self.epoch_logits)):
            probabilities = softmax(self.epoch_logits[number])
            judged = evaluate(self.validation_labels, probabilities, self.labels)
            self.history.append(Epoch(self.epoch_losses[number], judged))
        recalls = [epoch.validation.macro_recall for epoch in self.history]
        self.best_epoch = recalls.index(max(recalls)) if recalls else 0

    def _is_stuck(self) -> bool:
        patience = self.arguments.patience
        return 0 < patience < self.epoch - self.best_epoch

    def _update(self, group: list[list[int]], step: int, total: int) -> float:
        """One step of the optimiser; out of memory it is tried again in smaller pieces."""
        while True:
            try:
                loss = self._gradients(group)
                self._step(step, total)
                return loss
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of `except`: the error's frames hold the tensors that filled the memory.
            self._free_memory()
            self._halve_batch()

    def _gradients(self, group: list[list[int]]) -> float:
        import torch
        from torch.nn import functional

        rows = [row for batch in group for row in batch]
        labelled = self.train_labels[rows]
        weight = float(self.class_weights[labelled[labelled != UNLABELLED]].sum())
        total = 0.0
        for part in (part for batch in group for part in chunks(batch, self.batch_size)):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                logits = self.model(**self._tensors([self.train_ids[i] for i in part])).logits
            logits = logits.float()
            # Sums over the whole step's weight: however it is cut, the gradient is the same.
            hard = functional.cross_entropy(
                logits,
                torch.as_tensor(self.train_labels[part], device=self.device),
                weight=torch.as_tensor(self.class_weights, device=self.device),
                label_smoothing=self.arguments.label_smoothing,
                ignore_index=UNLABELLED,
                reduction="sum",
            ) / max(weight, 1e-6)
            loss = hard if self.teacher is None else self._distilled(hard, logits, part, len(rows))
            loss.backward()
            total += loss.item()
        if not math.isfinite(total):
            raise TrainingError("the loss is no number any more: lower the learning rate")
        return total

    def _distilled(
        self, hard: torch.Tensor, logits: torch.Tensor, part: list[int], size: int
    ) -> torch.Tensor:
        """The labels' loss mixed with the distance to the teacher (Hinton et al. 2015)."""
        import torch
        from torch.nn import functional

        assert self.teacher is not None  # noqa: S101 - the caller has looked
        share = self.arguments.distillation_weight
        temperature = self.arguments.distillation_temperature
        teacher = torch.as_tensor(self.teacher[part], device=self.device) / temperature
        distance = functional.kl_div(
            functional.log_softmax(logits / temperature, dim=-1),
            functional.log_softmax(teacher, dim=-1),
            log_target=True,
            reduction="sum",
        )
        return (1 - share) * hard + share * temperature**2 * distance / size

    def _step(self, step: int, total: int) -> None:
        import torch

        arguments = self.arguments
        factor = learning_rate_factor(
            step, total, warmup=arguments.warmup, schedule=arguments.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = arguments.learning_rate * group["scale"] * factor
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _free_memory(self) -> None:
        import torch

        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _halve_batch(self) -> None:
        if self.batch_size == 1:
            raise TrainingError(
                "out of memory with one text at a time: lower MAX_LENGTH or choose a smaller model"
            )
        before = self.arguments.batch_size // self.batch_size
        self.batch_size = (self.batch_size + 1) // 2
        accumulated = self.arguments.gradient_accumulation_steps
        message = (
            f"out of memory: batch halved to {self.batch_size}, gradient accumulation "
            f"{accumulated * before} → {accumulated * before * 2}"
        )
        logger.warning("%s", message)
        groups = max(1, len(self._groups()))
        share = (self.epoch + self.groups_done / groups) / self.arguments.epochs
        self.progress(share, message)

    def _tensors(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        import torch

        ids, mask = pad(rows, self.tokenizer.pad_token_id)
        return {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }

    def _logits(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        while True:
            try:
                return self._forward(rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.evaluation_batch == 1:
                    raise
            self._free_memory()
            self.evaluation_batch //= 2
            logger.warning("out of memory: judging by %s texts at a time", self.evaluation_batch)

    def _forward(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        import torch

        self.model.eval()
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        result = np.zeros((len(rows), len(self.labels)), dtype=np.float32)
        half = torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), half:
            for batch in chunks(order, self.evaluation_batch):
                logits = self.model(**self._tensors([rows[i] for i in batch])).logits
                result[batch] = logits.float().cpu().numpy()
        return result

    def _fingerprint(self) -> str:
        """Of all that decides what is learned: a checkpoint of anything else is of no use."""
        seal = hashlib.sha256(json.dumps([asdict(self.arguments), self.labels]).encode())
        for ids, labels in (
            (self.train_ids, self.train_labels),
            (self.validation_ids, self.validation_labels),
        ):
            seal.update(json.dumps(ids).encode() + labels.tobytes())
        if self.teacher is not None:
            seal.update(self.teacher.tobytes())
        return seal.hexdigest()

    def _checkpoint(self) -> None:
        import torch

        if self.saved is None:
            return
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": checkpoints.optimizer_tensors(self.optimizer),
            "random": checkpoints.random_state(),
            "validation": {
                str(number): torch.from_numpy(logits)
                for number, logits in enumerate(self.epoch_logits)
            },
        }
        kept = ["best"] if self.best_is_saved else []
        if self.best_weights and not self.best_is_saved:
            tensors["best"] = self.best_weights
        state = {
            "fingerprint": self._fingerprint(),
            "epoch": self.epoch,
            "groups_done": self.groups_done,
            "losses": self.losses,
            "epoch_losses": self.epoch_losses,
            "batch_size": self.batch_size,
        }
        if self.saved.save(Checkpoint(state, tensors), kept):
            self.best_is_saved = bool(self.best_weights)

    def _restore(self) -> None:
        if self.saved is None or (last := self.saved.load(self._fingerprint())) is None:
            return
        self.model.load_state_dict(last.tensors["model"])
        checkpoints.load_optimizer(self.optimizer, last.tensors["optimizer"])
        checkpoints.set_random_state(last.tensors["random"])
        self.epoch, self.groups_done = last.state["epoch"], last.state["groups_done"]
        self.losses, self.epoch_losses = last.state["losses"], last.state["epoch_losses"]
        self.batch_size = last.state["batch_size"]
        validation = last.tensors["validation"]
        self.epoch_logits = [validation[str(number)].numpy() for number in range(self.epoch)]
        self.best_weights = last.tensors.get("best", {})
        self._note_history()
        logger.info("going on from epoch %s, step %s", self.epoch + 1, self.groups_done)
        self.watch.on_epoch(self.history)


def _seed_everything(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
