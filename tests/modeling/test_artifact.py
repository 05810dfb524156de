"""A trained model's folder: exported, loaded, held against its digests."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from modeling.ml import artifact, export
from modeling.ml.artifact import ArtifactError, ArtifactSettings
from modeling.ml.classifier import SentimentClassifier
from tests.conftest import LABELS, obvious_posts
from tests.modeling.broken import of_newer_format


def test_the_backends_agree(tiny_model: Path) -> None:
    texts, _ = obvious_posts()
    torch_, onnx, int8 = (
        SentimentClassifier(tiny_model, name, 1).predict_proba(texts)
        for name in ("torch", "onnx", "onnx-int8")
    )
    assert np.abs(torch_ - onnx).max() < 1e-3
    assert float((onnx.argmax(1) == int8.argmax(1)).mean()) > 0.97


@pytest.mark.parametrize("name", ["tokenizer.json", "model.int8.onnx", "sentiment.json"])
def test_a_missing_file_is_named(tiny_model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        SentimentClassifier(folder, "onnx-int8", 1)


def test_a_broken_graph_is_an_artifact_error(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    (folder / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        SentimentClassifier(folder, "onnx", 1)


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "torch"])
def test_a_tokenizer_of_another_format_is_named(
    tiny_model: Path, tmp_path: Path, backend: str
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "copy")
    of_newer_format(folder)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be loaded: "):
        SentimentClassifier(folder, backend, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", "no tensors"),
        ("model.safetensors", None),
        ("config.json", "{"),
        ("config.json", '{"model_type": "of the future"}'),
        ("config.json", None),
    ],
)
def test_what_torch_cannot_load_is_an_artifact_error(
    tiny_model: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "copy")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ArtifactError, match=r"copy/model\.safetensors cannot be loaded: \w+: "):
        SentimentClassifier(folder, "torch", 1)


@pytest.mark.parametrize("backend", ["onnx", "onnx-int8", "torch"])
def test_a_network_that_does_not_fit_its_settings_is_found_when_it_is_tried_out(
    tiny_model: Path, tmp_path: Path, backend: str
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "copy")
    whole = SentimentClassifier(folder, backend, 1)
    whole.try_out()
    settings = ArtifactSettings.read(folder)
    ArtifactSettings(**{**vars(settings), "labels": (*LABELS, "mixed")}).write(folder)
    with pytest.raises(ArtifactError, match=f"copy cannot judge with {backend}: ValueError"):
        SentimentClassifier(folder, backend, 1).try_out()


def test_an_unknown_backend_lists_the_known_ones(tiny_model: Path) -> None:
    with pytest.raises(ArtifactError, match="onnx-int8, onnx, torch"):
        SentimentClassifier(tiny_model, "abacus", 1)


def test_digests_catch_every_change(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    expected = artifact.digests(folder)
    artifact.verify(folder, expected)
    settings = ArtifactSettings.read(folder)
    ArtifactSettings(**{**vars(settings), "temperature": 9.0}).write(folder)
    with pytest.raises(ArtifactError, match="sentiment.json"):
        artifact.verify(folder, expected)


def test_a_file_that_the_disk_does_not_give_is_told(tmp_path: Path) -> None:
    # Too long a name is refused by the system, as a broken disk's file is.
    with pytest.raises(ArtifactError, match="x cannot be read: .*File name too long"):
        artifact.verify(tmp_path, {"x" * 300: "0" * 64})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"labels": ["a"]}', "not JSON"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sentiment.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a model's settings"):
        ArtifactSettings.read(tmp_path)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = ArtifactSettings(LABELS, 80, 1.25, True, "tiny")
    settings.write(tmp_path)
    assert ArtifactSettings.read(tmp_path) == settings


def test_a_graph_that_differs_from_the_weights_is_not_trusted(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path / "copy"
    shutil.copytree(tiny_model, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model.classifier.bias.data += 1.0
    with pytest.raises(ArtifactError, match=r"differs from the model by 1\."):
        export._compare(folder, model)


@pytest.mark.parametrize("length", [1, 2, 31])
def test_the_exported_graph_takes_any_batch_and_length(tiny_model: Path, length: int) -> None:
    classifier = SentimentClassifier(tiny_model, "onnx-int8", 1)
    probabilities = classifier.probabilities([[7] * length, [7]] * 3)
    assert probabilities.shape == (6, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_padding_changes_no_judgement(tiny_model: Path, backend: str) -> None:
    classifier = SentimentClassifier(tiny_model, backend, 1)
    short, long = "the food awful today", "the song wonderful today " * 5
    together = classifier.predict_proba([short, long])
    alone = classifier.predict_proba([short])
    assert np.abs(together[0] - alone[0]).max() < 1e-4


def test_a_cut_text_keeps_its_beginning_and_its_last_special_token(
    classifier: SentimentClassifier,
) -> None:
    (long,) = classifier.encode(["the food " * 100])
    (short,) = classifier.encode(["the food"])
    assert long.truncated and not short.truncated
    assert len(long.ids) == classifier.settings.max_length
    assert long.ids[:2] == short.ids[:2] and long.ids[-1] == short.ids[-1]


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\x00"])
def test_a_text_of_nothing_is_judged_too(classifier: SentimentClassifier, text: str) -> None:
    assert classifier.predict_proba([text]).sum() == pytest.approx(1)


def test_no_texts_have_no_probabilities(classifier: SentimentClassifier) -> None:
    assert classifier.predict_proba([]).shape == (0, 3)
