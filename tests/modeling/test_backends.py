"""Every backend gives the same answers; one that cannot run says what it lacks."""

import shutil
from pathlib import Path

import pytest

from modeling.ml import backends
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.export import export_openvino
from tests.conftest import obvious_posts

TEXTS = ["the food awful today", "the train opens today", "the song wonderful today"]


@pytest.mark.parametrize("name", ["onnx-int8", "onnx", "torch"])
def test_backends_agree(tiny_model: Path, name: str) -> None:
    assert SentimentClassifier(tiny_model, name).predict(TEXTS) == [
        "negative",
        "neutral",
        "positive",
    ]


def test_only_runtimes_that_gain_by_it_run_batches_side_by_side(tiny_model: Path) -> None:
    assert SentimentClassifier(tiny_model, "onnx-int8", threads=1, streams=3).streams == 3
    assert SentimentClassifier(tiny_model, "torch", threads=1, streams=3).streams == 1


def test_a_version_without_the_file_says_how_to_get_one(tiny_model: Path) -> None:
    with pytest.raises(ArtifactError, match="set INFERENCE_BACKEND to openvino-int8"):
        backends.load(tiny_model, "openvino-int8", 1)


def test_openvino_is_calibrated_and_blind_to_the_rest_of_the_batch(
    tiny_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    export_openvino(folder, obvious_posts()[0][:20])
    classifier = SentimentClassifier(folder, "openvino-int8", threads=1, streams=2)
    assert classifier.predict(TEXTS) == ["negative", "neutral", "positive"]
    alone = classifier.predict_proba(TEXTS[:1])[0]
    beside = classifier.predict_proba([TEXTS[0], "word " * 30])[0]
    assert alone == pytest.approx(beside, abs=0.02)
