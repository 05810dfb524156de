"""A student that learns from a teacher."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from modeling.ml import artifact, distill
from modeling.ml.arguments import Labelled, SoftLabels, TrainingError
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.training import fine_tune
from tests.conftest import LABELS, obvious_posts
from tests.modeling.tiny_training import data, quick


def test_a_student_learns_from_a_teacher_what_no_label_shows(
    tiny_model: Path, tiny_base: Path, tmp_path: Path
) -> None:
    train, validation = data()
    said: list[str] = []
    # Labels of the first words of each kind alone; the others are the teacher's to explain.
    shown = [index for index in range(len(train)) if index % 6 < 2]
    hidden = [index for index in range(len(train)) if index % 6 >= 2]
    few = Labelled([train.texts[i] for i in shown], [train.labels[i] for i in shown])
    texts = [train.texts[i] for i in hidden]
    logits = distill.opinions(distill.load(tiny_model), [*few.texts, *texts], LABELS, said.append)
    assert said[-1] == "the teacher has judged 180 of 180 texts"
    soft = SoftLabels(logits[: len(few)], texts, logits[len(few) :])
    arguments = quick(tiny_base, epochs=8, learning_rate=3e-3)
    fine_tune(few, validation, LABELS, arguments, tmp_path, soft_labels=soft)
    given = SentimentClassifier(tmp_path, "torch", 1).predict_proba(texts).argmax(axis=1)
    assert float((given == np.array([train.labels[i] for i in hidden])).mean()) > 0.95


def test_a_teacher_of_transformers_is_asked_in_our_order_or_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(tiny_model, folder)
    (folder / artifact.SETTINGS_FILE).unlink()
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "Negative", "1": "Neutral", "2": "Positive"}
    (folder / "config.json").write_text(json.dumps(config))
    texts, labels = obvious_posts()
    order = ("positive", "negative", "neutral")
    logits = distill.opinions(distill.load(str(folder)), texts, order, lambda words: None)
    given = np.array([LABELS.index(order[i]) for i in logits.argmax(axis=1)])
    assert float((given == np.array(labels)).mean()) > 0.95
    ours = distill.opinions(distill.load(tiny_model), texts, LABELS, lambda words: None)
    assert np.array_equal(given, ours.argmax(axis=1))
    with pytest.raises(TrainingError, match="labels are negative, neutral, positive, not a, b"):
        distill.opinions(distill.load(str(folder)), texts, ("a", "b"), lambda words: None)
