"""How a training walks: batches, parameter groups, learning rates, precision, memory."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")

# BERT, RoBERTa, XLM-R, MPNet: encoder.layer.3; DistilBERT: transformer.layer.3; others: layers.3.
_LAYER = re.compile(r"\.(?:layer|layers|h|block)\.(\d+)\.")
_OUT_OF_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "alloc_failed")


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
        batches.extend(chunks(bucket, size))
    rng.shuffle(batches)
    return batches


def chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def parameter_groups(
    model: torch.nn.Module, *, weight_decay: float, layer_decay: float, freeze_embeddings: bool
) -> list[dict[str, Any]]:
    """Groups for AdamW; `scale` says which share of the learning rate a group gets.

    The head has all of it, and each layer below `layer_decay` times that of the one above: the
    lower ones hold what is true of every language task (Howard and Ruder 2018). Biases and norms
    do not decay. Frozen embeddings are in no group.
    """
    names = [name for name, _ in model.named_parameters()]
    depth = 1 + max((int(found[1]) for n in names if (found := _LAYER.search(n))), default=-1)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_embedding = ".embeddings." in f".{name}"
        if freeze_embeddings and is_embedding:
            parameter.requires_grad = False
            continue
        found = _LAYER.search(name)
        below = depth + 1 if is_embedding else depth - int(found[1]) if found else 0
        decay = weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((layer_decay**below, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "scale": scale}
        for (scale, decay), parameters in groups.items()
    ]


def learning_rate_factor(step: int, total: int, *, warmup: float, schedule: str) -> float:
    """The share of the learning rate at a step: it rises over the warm-up, then falls to zero."""
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    left = (total - step) / (total - rising + 1)
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def half_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the hardware multiplies it faster than float32, else None.

    By the processor's make, not by the clock: the same machine must train the same model.
    """
    import torch

    if device.type == "cuda":
        # Cards before Ampere emulate it, many times slower than float32.
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else None
    capabilities = torch.cpu.get_capabilities()
    # Intel's AVX-512 has no more bfloat16 products a cycle than float32 ones; its AMX has.
    is_intel = "Intel" in str(capabilities.get("cpu_name", ""))
    is_faster = capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and not is_intel)
    return torch.bfloat16 if is_faster else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator refused: CUDA has a class for it, the CPU's says so in words."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in _OUT_OF_MEMORY)
