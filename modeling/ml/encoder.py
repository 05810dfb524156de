"""The encoder that is fine-tuned: loading it, and what it can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modeling.ml import base_model, hub
from modeling.ml.arguments import TrainingError

if TYPE_CHECKING:
    import torch


def load_encoder(name: str, labels: Sequence[str], device: torch.device) -> tuple[Any, Any]:
    """Tokenizer and an encoder with a new head. Raises TrainingError for one we cannot serve."""
    import torch

    library = hub.transformers()
    source = base_model.resolve(name)
    tokenizer = library.AutoTokenizer.from_pretrained(source)
    if not tokenizer.is_fast:
        raise TrainingError(f"{name} has no fast tokenizer (tokenizer.json): choose another model")
    if tokenizer.pad_token_id is None:
        raise TrainingError(f"the tokenizer of {name} has no padding token: choose another model")
    config = library.AutoConfig.from_pretrained(
        source,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    # Drawing the attention's dropout takes a sixth of a step on a CPU; that of the layers stays.
    for dropout in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, dropout):
            setattr(config, dropout, 0.0)
    model = library.AutoModelForSequenceClassification.from_pretrained(
        source,
        config=config,
        # Half of a checkpoint's precision is for what runs; AdamW's small steps vanish in it, and
        # the new head would not fit.
        dtype=torch.float32,
        # Torch's fused attention is slow backwards in bfloat16 on a CPU.
        attn_implementation="eager" if device.type == "cpu" else None,
        # A classifier of other labels is an encoder too: its head is replaced.
        ignore_mismatched_sizes=True,
    )
    return tokenizer, model


def longest_input(model: Any) -> int:
    """How many tokens a model has positions for; RoBERTa-like ones keep some of them free."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            free = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings - free)
    return 1 << 30


def knows_emoji(tokenizer: Any) -> bool:
    """Whether the encoder's vocabulary holds a common emoji, rather than calling it unknown."""
    ids = tokenizer("😂", add_special_tokens=False)["input_ids"]
    return tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
