"""A base model small enough for tests, made on the spot."""

from collections.abc import Sequence
from pathlib import Path

from modeling import starter
from modeling.ml.text import normalise


def make_base_model(folder: Path, known: Sequence[str] = ()) -> Path:
    """Write an untrained BERT of two layers and 32 units, and its WordPiece tokenizer.

    Every word of `known` is one token, whatever words the starter corpus holds.
    """
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = BertWordPieceTokenizer(lowercase=True)
    corpus = [normalise(post.text) for post in starter.labelled()]
    words.train_from_iterator([*corpus, *known * 100], vocab_size=3000, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # So narrow a network stays stuck for hundreds of steps at BERT's own 0.02.
        initializer_range=0.2,
    )
    torch.manual_seed(1)
    BertModel(config).save_pretrained(folder)
    return folder
