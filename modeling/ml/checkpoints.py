"""Checkpoints of a training: what a stopped one needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

STATE_FILE = "state.json"
EVERY_SECONDS = 300.0

Tensors = dict[str, "torch.Tensor"]


@dataclass
class Checkpoint:
    """Plain values and named groups of tensors, each group a safetensors file."""

    state: dict[str, Any]
    tensors: dict[str, Tensors]


class Checkpoints:
    """A folder with the newest checkpoint of one training.

    Each is written beside the last and renamed, so that a process that dies while it writes
    leaves the last one whole. Nothing is pickled: safetensors and JSON alone.
    """

    def __init__(self, folder: Path, every_seconds: float = EVERY_SECONDS) -> None:
        """`every_seconds` is how often `due` asks for one within an epoch."""
        self.folder = folder
        self.every_seconds = every_seconds
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.every_seconds

    def save(self, checkpoint: Checkpoint, kept: Collection[str] = ()) -> bool:
        """Write a checkpoint; the groups named in `kept` are taken over from the last one.

        A disk that is full costs the checkpoint, not the training: it is logged, and False.
        """
        self._saved_at = time.monotonic()
        last = next(self._newest_first(), None)
        number = 1 if last is None else _number(last) + 1
        temporary = self.folder / f"writing-{os.getpid()}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write(temporary, checkpoint)
            if last is not None:
                for name in kept:
                    os.link(last / f"{name}.safetensors", temporary / f"{name}.safetensors")
            temporary.rename(self.folder / f"checkpoint-{number:06}")
        except OSError as error:
            logger.warning("no checkpoint could be written to %s: %s", self.folder, error)
            shutil.rmtree(temporary, ignore_errors=True)
            return False
        if last is not None:
            shutil.rmtree(last, ignore_errors=True)
        return True

    def load(self, fingerprint: str) -> Checkpoint | None:
        """The newest whole checkpoint of a training with this fingerprint, or None."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        for folder in self._newest_first():
            try:
                state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
                files = sorted(folder.glob("*.safetensors"))
                tensors = {path.stem: load_file(path) for path in files}
            except (OSError, ValueError, SafetensorError) as error:
                logger.warning("the checkpoint %s cannot be read: %s", folder, error)
                continue
            if state.get("fingerprint") == fingerprint:
                return Checkpoint(state, tensors)
            logger.warning("%s is of other data or arguments: the training starts over", folder)
        return None

    def _newest_first(self) -> Iterator[Path]:
        return iter(sorted(self.folder.glob("checkpoint-*"), key=_number, reverse=True))


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    for name, tensors in checkpoint.tensors.items():
        # Copies: the file format refuses tensors that share memory, as tied weights do.
        copies = {key: value.detach().to("cpu", copy=True) for key, value in tensors.items()}
        save_file(copies, folder / f"{name}.safetensors")
    (folder / STATE_FILE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """What an optimiser remembers of each parameter, by `number.name`."""
    return {
        f"{number}.{name}": value
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimiser of the same parameters its memory back."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> Tensors:
    """Torch's random generators as they stand: dropout draws from them."""
    import torch

    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    import torch

    torch.set_rng_state(state["cpu"])
    # A training may go on on another machine.
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
