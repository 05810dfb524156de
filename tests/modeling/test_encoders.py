"""Encoders of other families than the tiny model's."""

import shutil
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest

from modeling.ml import export
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.training import fine_tune
from tests.conftest import LABELS, obvious_posts
from tests.modeling.tiny_training import data, quick

ENCODERS = ("distilbert", "roberta", "xlm-roberta")


def make_encoder(kind: str, folder: Path) -> Path:
    """An untrained encoder of another family, with its own kind of tokenizer: WordPiece, bytes,
    pieces of words with their spaces. Only BERT's takes token types."""
    import torch
    import transformers
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    texts, _ = obvious_posts()
    known = sorted({word for text in texts for word in text.split()})
    words = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    if kind == "roberta":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=special, initial_alphabet=alphabet
        )
        tokenizer.train_from_iterator(texts, trainer)
    elif kind == "xlm-roberta":
        # Their trainers number pieces by chance: each run would test another model.
        pieces = [(piece, 0.0) for piece in special] + [(f"▁{word}", -5.0) for word in known]
        pieces += [(letter, -10.0) for letter in "▁" + ascii_lowercase]
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        vocabulary = {word: number for number, word in enumerate([*special, *known])}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **words).save_pretrained(
        folder
    )
    size = tokenizer.get_vocab_size()
    torch.manual_seed(1)
    if kind == "distilbert":
        config = transformers.DistilBertConfig(
            vocab_size=size,
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=64,
            max_position_embeddings=24,
            pad_token_id=1,
            dropout=0.0,
            attention_dropout=0.0,
            initializer_range=0.2,
        )
        transformers.DistilBertModel(config).save_pretrained(folder)
        return folder
    config_class, model_class = {
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "xlm-roberta": (transformers.XLMRobertaConfig, transformers.XLMRobertaModel),
    }[kind]
    config = config_class(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        # Two of them are kept free, as in the real ones.
        max_position_embeddings=26,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model_class(config).save_pretrained(folder)
    return folder


def test_an_encoder_in_half_precision_is_trained_in_single(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import BertModel

    BertModel.from_pretrained(tiny_base, dtype=torch.float16).save_pretrained(tmp_path / "half")
    for path in tiny_base.glob("tokenizer*"):
        shutil.copy(path, tmp_path / "half")
    fine_tune(*data(), LABELS, quick(tmp_path / "half"), tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_of_every_family_are_trained_exported_and_served(
    kind: str, tmp_path: Path
) -> None:
    base = make_encoder(kind, tmp_path / "base")
    arguments = quick(
        base,
        epochs=5,
        patience=0,
        learning_rate=3e-3,
        freeze_embeddings=False,
        layer_decay=0.9,
        schedule="cosine",
        max_length=80,
    )
    fine_tune(*data(), LABELS, arguments, tmp_path / "out")
    export.export_onnx(tmp_path / "out")
    texts, labels = obvious_posts()
    onnx, int8, torch_ = (
        SentimentClassifier(tmp_path / "out", name, 1) for name in ("onnx", "onnx-int8", "torch")
    )
    # Longer than it has positions: cut at what the model can read.
    assert onnx.settings.max_length == 24
    texts[-1] = "the city thanks today " * 40
    probabilities = onnx.predict_proba(texts)
    assert float((probabilities.argmax(1) == np.array(labels)).mean()) > 0.9
    assert np.abs(torch_.predict_proba(texts) - probabilities).max() < 1e-3
    assert float((int8.predict_proba(texts).argmax(1) == probabilities.argmax(1)).mean()) > 0.95
