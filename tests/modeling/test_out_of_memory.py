"""A training on too little memory, and batches in pieces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modeling.ml.arguments import TrainingError, Watch, silent
from modeling.ml.training import _Trainer
from tests.conftest import LABELS
from tests.modeling.tiny_training import data, quick


def cpu_refuses() -> None:
    import torch

    torch.empty(1 << 60, dtype=torch.uint8)


def cuda_refuses() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def trained(
    base: Path, batch_size: int, most: int, refuse: Callable[[], None], said: list[str]
) -> _Trainer:
    """An epoch on a memory that has room for `most` texts at once."""

    def room(module: object, args: object, inputs: dict[str, Any]) -> None:
        if len(inputs["input_ids"]) > most:
            refuse()

    arguments = quick(base, batch_size=batch_size, learning_rate=3e-3)
    trainer = _Trainer(
        *data(), LABELS, arguments, lambda share, message: said.append(message), None
    )
    trainer.dtype, trainer.saved, trainer.watch = None, None, Watch()
    trainer.model.register_forward_pre_hook(room, with_kwargs=True)
    trainer.run()
    return trainer


@pytest.mark.parametrize("refuse", [cpu_refuses, cuda_refuses])
def test_out_of_memory_halves_the_batch_and_learns_the_same(
    tiny_base: Path, refuse: Callable[[], None]
) -> None:
    import torch

    said: list[str] = []
    whole = trained(tiny_base, 64, 64, refuse, [])
    halved = trained(tiny_base, 64, 40, refuse, said)
    assert said[0] == "out of memory: batch halved to 32, gradient accumulation 1 → 2"
    assert said[-1].startswith("epoch 1/1, loss")
    assert (halved.batch_size, halved.evaluation_batch) == (32, 32)
    # What the version's record tells; all epochs are done.
    assert (whole.run().batch_size, halved.run().batch_size) == (64, 32)
    expected = whole.model.state_dict()
    for name, weights in halved.model.state_dict().items():
        assert torch.allclose(weights, expected[name], atol=1e-3), name


def test_a_memory_without_room_for_one_text_ends_the_training(tiny_base: Path) -> None:
    with pytest.raises(TrainingError, match="with one text at a time: lower MAX_LENGTH"):
        trained(tiny_base, 2, 0, cpu_refuses, [])


def test_a_batch_in_pieces_has_the_same_gradient(tiny_base: Path) -> None:
    import torch

    train, validation = data()
    trainer = _Trainer(train, validation, LABELS, quick(tiny_base), silent, None)
    trainer.dtype = None
    gradients = []
    for trainer.batch_size in (64, 7):
        loss = trainer._gradients([list(range(40)), list(range(100, 140))])
        named = [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]
        gradients.append((loss, named))
        trainer.optimizer.zero_grad()
    (whole, expected), (pieces, actual) = gradients
    assert pieces == pytest.approx(whole, rel=1e-4)
    assert all(torch.allclose(a, e, atol=1e-5) for a, e in zip(actual, expected, strict=True))
