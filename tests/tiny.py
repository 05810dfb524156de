"""A base model small enough for tests, made on the spot."""

from collections import Counter
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

    # By hand, as the library's trainer breaks ties by chance: each run would test another model.
    plain = BertWordPieceTokenizer(lowercase=True)._tokenizer
    counted: Counter[str] = Counter()
    for text in [*(normalise(post.text) for post in starter.labelled()), *known * 100]:
        split = plain.pre_tokenizer.pre_tokenize_str(plain.normalizer.normalize_str(text))
        counted.update(word for word, _ in split)
    letters = sorted({letter for word in counted for letter in word})
    frequent = sorted(counted, key=lambda word: (-counted[word], word))
    pieces = [*letters, *(f"##{letter}" for letter in letters), *frequent]
    vocabulary = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces][:3000])
    words = BertWordPieceTokenizer({word: i for i, word in enumerate(vocabulary)}, lowercase=True)
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
