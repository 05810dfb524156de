"""What goes with a version: card, pictures, and the numbers behind them, read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib import image

from modeling.ml import plots
from modeling.ml.arguments import Labelled
from modeling.ml.card import CardFacts, model_card
from modeling.ml.evaluation import evaluate
from modeling.services import documents
from modeling.services.dataset import Dataset

LABELS = ("negative", "neutral", "positive")
TRUTH = (0, 0, 1, 1, 2, 2)
# Two mistakes: the second, sure of it, and the fourth.
PROBABILITIES = np.array(
    [
        [0.90, 0.05, 0.05],
        [0.02, 0.03, 0.95],
        [0.20, 0.60, 0.20],
        [0.55, 0.40, 0.05],
        [0.05, 0.05, 0.90],
        [0.10, 0.30, 0.60],
    ]
)


def a_dataset() -> Dataset:
    held = Labelled([f"text {n}" for n in range(6)], TRUTH)
    return Dataset(labels=LABELS, train=held, validation=held, test=held, digest="abc123")


def facts(**given: object) -> CardFacts:
    values = {
        "scheme": "Sentiment",
        "labels": LABELS,
        "base_model": "distilbert-base-uncased",
        "max_length": 96,
        "temperature": 1.25,
        "parameters": {"learning_rate": 5e-05, "epochs": 3},
        "metrics": evaluate(TRUTH, PROBABILITIES, LABELS).as_dict(),
        "sizes": {"train": {"negative": 7, "neutral": 8, "positive": 9}},
        "dataset_digest": "abc123",
    }
    return CardFacts(**{**values, **given})  # type: ignore[arg-type]


def front_matter(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    return dict(yaml.safe_load(head))


def test_the_card_tells_data_figures_limits_and_licence() -> None:
    card = model_card(facts(files={"model.safetensors": "f00d"}, environment={"torch": "2.13.0"}))
    assert front_matter(card) == {
        "license": "apache-2.0",
        "base_model": "distilbert-base-uncased",
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
    }
    for line in (
        "| train | 24 | 7 | 8 | 9 |",
        "| macro recall | 0.667 |",
        "- Fewer than 50 texts of the test set are `negative`, `neutral`, `positive`",
        "- Only the first 96 tokens of a text are read.",
        "(temperature 1.25)",
        "published under `apache-2.0`",
        "| epochs | 3 |",
        "| torch | 2.13.0 |",
        "| model.safetensors | `f00d` |",
        "`abc123`",
    ):
        assert line in card
    # The interval stands beside each headline figure.
    row = next(line for line in card.splitlines() if line.startswith("| macro recall"))
    low, high = (float(value) for value in row.split("|")[3].split(" to "))
    assert low < 0.667 < high


def test_an_encoder_of_unknown_licence_and_odd_names_do_not_break_the_card() -> None:
    card = model_card(facts(base_model='somebody/"odd"|name', parameters={"note": "a|b\nc"}))
    assert front_matter(card)["license"] == "other"
    assert front_matter(card)["base_model"] == 'somebody/"odd"|name'
    assert "look at where it is published" in card
    assert "| note | a\\|b c |" in card


def test_reliability_bins_add_up_and_tell_confidence_from_accuracy() -> None:
    bins = plots.reliability(TRUTH, PROBABILITIES)
    assert sum(item.count for item in bins) == len(TRUTH)
    assert [(item.low, item.count, item.accuracy) for item in bins] == [
        (0.5, 1, 0.0),
        (0.6, 2, 1.0),
        (0.9, 3, pytest.approx(2 / 3)),
    ]
    assert bins[-1].confidence == pytest.approx((0.9 + 0.95 + 0.9) / 3)
    assert all(item.low <= item.confidence <= item.high for item in bins)


def test_certainty_falls_into_the_last_bin() -> None:
    (only,) = plots.reliability([0], np.array([[1.0, 0.0]]))
    assert (only.low, only.high, only.count) == (0.9, 1.0, 1)


def test_reports_are_pictures_that_open_and_the_numbers_behind_them(tmp_path: Path) -> None:
    judged = evaluate(TRUTH, PROBABILITIES, LABELS)
    documents.write_reports(tmp_path, a_dataset(), judged, PROBABILITIES)
    for name in ("confusion_matrix.png", "calibration.png"):
        pixels = image.imread(tmp_path / name)
        assert pixels.shape[0] > 300 and pixels.shape[1] > 300
        assert pixels[..., :3].std() > 0.05  # not blank
    confusion = json.loads((tmp_path / "confusion_matrix.json").read_text())
    assert confusion == {"labels": list(LABELS), "counts": [[1, 0, 1], [1, 1, 0], [0, 0, 2]]}
    bins = json.loads((tmp_path / documents.CALIBRATION_FILE).read_text())
    assert sum(item["count"] for item in bins) == 6
    assert json.loads((tmp_path / "evaluation.json").read_text())["macro_recall"] == (
        pytest.approx(judged.macro_recall)
    )
    assert "torch" in json.loads((tmp_path / "environment.json").read_text())


def test_figures_are_flat_and_complete() -> None:
    flat = documents.figures("test", evaluate(TRUTH, PROBABILITIES, LABELS))
    assert set(flat) == {
        *(f"test_{name}" for name in documents.FIGURES),
        *(f"test_{name}_{label}" for name in ("precision", "recall", "f1") for label in LABELS),
    }
    assert flat["test_recall_neutral"] == 0.5
