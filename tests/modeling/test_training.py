"""Fine-tuning, on the tiny base model."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling.ml import base_model
from modeling.ml.arguments import Labelled, TrainingArguments, TrainingError
from modeling.ml.calibration import fit_temperature, softmax
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.optimisation import (
    bucketed_batches,
    half_precision,
    learning_rate_factor,
    parameter_groups,
)
from modeling.ml.training import fine_tune
from tests.conftest import LABELS, obvious_posts
from tests.modeling.tiny_training import data, quick


def test_the_tiny_model_learned_and_the_folder_is_complete(tiny_model: Path) -> None:
    names = {path.name for path in tiny_model.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "model.onnx", "model.int8.onnx"} <= names
    texts, labels = obvious_posts()
    given = SentimentClassifier(tiny_model, "onnx", 1).predict_proba(texts).argmax(axis=1)
    assert float((given == np.array(labels)).mean()) > 0.95


def test_the_same_seed_gives_the_same_model(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / name)
    one, two = (base_model.sha256(tmp_path / name / "model.safetensors") for name in "ab")
    assert one == two


def test_progress_rises_to_the_whole(tiny_base: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    arguments = quick(tiny_base, epochs=2, gradient_accumulation_steps=2)
    outcome = fine_tune(
        *data(), LABELS, arguments, tmp_path, lambda share, text: seen.append(share)
    )
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1)
    assert len(outcome.history) == 2


def test_word_vectors_stay_as_they_were_when_frozen(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path)
    before = load_file(tiny_base / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    name = next(key for key in after if key.endswith("word_embeddings.weight"))
    original = next(key for key in before if key.endswith("word_embeddings.weight"))
    assert np.array_equal(after[name], before[original])


def test_one_sided_data_is_refused_with_the_missing_label(tiny_base: Path, tmp_path: Path) -> None:
    train = Labelled(["a", "b", "c", "d"], [0, 0, 1, 1])
    with pytest.raises(TrainingError, match="positive"):
        fine_tune(train, train, LABELS, quick(tiny_base), tmp_path)


def test_batches_cover_every_row_once() -> None:
    rows = [[0] * length for length in range(1, 101)]
    batches = bucketed_batches(rows, 8, random.Random(1))
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert max(map(len, batches)) == 8


def test_temperature_softens_what_is_too_sure() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 400)
    logits = np.eye(3)[truth] * 2 + generator.normal(size=(400, 3))
    assert fit_temperature(logits * 5, truth) > 2
    assert fit_temperature(logits * 10, truth) == pytest.approx(
        fit_temperature(logits * 5, truth) * 2, rel=0.05
    )


def test_few_posts_never_make_surer() -> None:
    truth = np.array([0, 1, 2] * 50)
    assert fit_temperature(np.eye(3)[truth] * 0.1, truth) == pytest.approx(1, abs=0.01)


def test_many_posts_make_a_model_that_is_too_unsure_surer_within_bounds() -> None:
    truth = np.array([0, 1, 2] * 167)
    # Right in nine of ten, and says six of ten.
    unsure = np.log(np.full((501, 3), 0.2) + np.eye(3)[truth] * 0.4)
    unsure[::10] = np.roll(unsure[::10], 1, axis=1)
    temperature = fit_temperature(unsure, truth)
    sureness = softmax(unsure / temperature).max(axis=1).mean()
    assert 0.3 < temperature < 0.7 and sureness == pytest.approx(0.9, abs=0.01)
    assert fit_temperature(unsure[:499], truth[:499]) == pytest.approx(1, abs=0.01)
    assert fit_temperature(np.eye(3)[truth] * 0.1, truth) == pytest.approx(0.3, abs=0.01)


def test_texts_without_a_label_each_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 texts but 1 labels"):
        Labelled(["a", "b"], [0])


def test_lower_layers_learn_more_slowly_and_frozen_ones_not_at_all(tiny_base: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    groups = parameter_groups(model, weight_decay=0.01, layer_decay=0.5, freeze_embeddings=False)
    assert sorted({group["scale"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    frozen = parameter_groups(model, weight_decay=0.01, layer_decay=0.5, freeze_embeddings=True)
    assert sorted({group["scale"] for group in frozen}) == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_rises_and_falls(schedule: str) -> None:
    rates = [learning_rate_factor(step, 100, warmup=0.1, schedule=schedule) for step in range(100)]
    assert rates[:10] == sorted(rates[:10]) and rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and 0 < rates[-1] < 0.02


@pytest.mark.parametrize(
    ("processor", "dtype"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, None),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, None),
        ({}, None),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it_faster(
    monkeypatch: pytest.MonkeyPatch, processor: dict[str, object], dtype: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    assert half_precision(torch.device("cpu")) == dtype


@pytest.mark.parametrize("is_native", [True, False])
def test_bfloat16_that_a_card_only_emulates_is_not_used(
    monkeypatch: pytest.MonkeyPatch, is_native: bool
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return including_emulation or is_native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    expected = torch.bfloat16 if is_native else None
    assert half_precision(torch.device("cuda")) == expected


def test_training_ends_when_it_gets_no_better(tiny_base: Path, tmp_path: Path) -> None:
    arguments = quick(tiny_base, epochs=30, learning_rate=3e-3, patience=2)
    outcome = fine_tune(*data(), LABELS, arguments, tmp_path)
    assert len(outcome.history) == outcome.best_epoch + 3 < 30


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": "zigzag"},
        {"epochs": 0},
        {"warmup": 1.5},
        {"distillation_temperature": 0},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_wrong_arguments_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=next(iter(values))):
        TrainingArguments(**values)  # type: ignore[arg-type]
