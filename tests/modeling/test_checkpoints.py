"""A training that is stopped goes on where it was."""

import json
import shutil
from pathlib import Path

import pytest

from modeling.ml import base_model
from modeling.ml.arguments import TrainingInterrupted, Watch
from modeling.ml.checkpoints import Checkpoints
from modeling.ml.training import fine_tune
from tests.conftest import LABELS
from tests.modeling.tiny_training import data, quick


def digest_of(folder: Path) -> str:
    return base_model.sha256(folder / "model.safetensors")


def with_dropout(base: Path, folder: Path) -> Path:
    """A copy of the base model that draws random numbers in training, as real ones do."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_training_stopped_again_and_again_gives_the_model_of_an_undisturbed_one(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = with_dropout(tiny_base, tmp_path / "base")
    arguments = quick(base, epochs=2, gradient_accumulation_steps=2, learning_rate=3e-3)
    undisturbed = fine_tune(*data(), LABELS, arguments, tmp_path / "whole")
    steps, stops, epochs = 0, 0, []

    def every_fourth() -> bool:
        nonlocal steps
        steps += 1
        return steps % 4 == 0

    while True:
        watch = Watch(
            should_stop=every_fourth, on_epoch=lambda history: epochs.append(len(history))
        )
        try:
            outcome = fine_tune(
                *data(),
                LABELS,
                arguments,
                tmp_path / "parts",
                saved=Checkpoints(tmp_path / "saved"),
                watch=watch,
            )
            break
        except TrainingInterrupted:
            stops += 1
    assert stops == 3 and steps == 12  # no step was done twice
    assert outcome == undisturbed and epochs[-1] == 2
    assert digest_of(tmp_path / "parts") == digest_of(tmp_path / "whole")


def test_within_an_epoch_checkpoints_are_written_by_the_clock(
    tiny_base: Path, tmp_path: Path
) -> None:
    saved = Checkpoints(tmp_path / "saved", every_seconds=0)
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "out", saved=saved)
    (last,) = saved.folder.iterdir()
    # One after each of the 12 steps, one after the epoch; nothing that would be unpickled.
    assert last.name == "checkpoint-000013"
    assert {path.suffix for path in last.iterdir()} == {".safetensors", ".json"}


def test_a_checkpoint_of_other_data_or_a_broken_one_is_left_alone(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = Checkpoints(tmp_path / "saved")
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "a", saved=saved)
    fine_tune(*data(), LABELS, quick(tiny_base, seed=2), tmp_path / "b", saved=saved)
    assert "of other data or arguments" in caplog.text
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
    (last,) = saved.folder.iterdir()
    (last / "model.safetensors").write_bytes(b"nonsense")
    fine_tune(*data(), LABELS, quick(tiny_base, seed=2), tmp_path / "c", saved=saved)
    assert "cannot be read" in caplog.text
    assert digest_of(tmp_path / "b") == digest_of(tmp_path / "c")


def test_a_disk_that_takes_no_checkpoint_does_not_end_the_training(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "saved").write_text("a file where the folder should be")
    saved = Checkpoints(tmp_path / "saved")
    fine_tune(*data(), LABELS, quick(tiny_base), tmp_path / "out", saved=saved)
    assert "no checkpoint could be written" in caplog.text


def test_a_disk_that_was_full_when_the_best_epoch_ended_costs_no_weights(
    tiny_base: Path, tmp_path: Path
) -> None:
    arguments = quick(tiny_base, epochs=3, learning_rate=3e-3)
    undisturbed = fine_tune(*data(), LABELS, arguments, tmp_path / "whole")
    assert undisturbed.best_epoch == 1
    saved = Checkpoints(tmp_path / "saved")
    (tmp_path / "full").write_text("nothing can be written here")
    steps = 0

    def on_loss(epochs: float, loss: float) -> None:
        nonlocal steps
        steps += 1
        # The last step of the second of three epochs, of 12 steps each.
        saved.folder = tmp_path / ("full" if steps == 24 else "saved")

    watch = Watch(on_loss=on_loss, should_stop=lambda: steps == 30)
    with pytest.raises(TrainingInterrupted):
        fine_tune(*data(), LABELS, arguments, tmp_path / "out", saved=saved, watch=watch)
    outcome = fine_tune(*data(), LABELS, arguments, tmp_path / "out", saved=saved)
    assert outcome == undisturbed
    assert digest_of(tmp_path / "out") == digest_of(tmp_path / "whole")
