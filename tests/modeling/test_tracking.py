"""Weights & Biases: a copy of a training's figures that never stands in its way."""

import logging
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from modeling import tracking
from modeling.checks import check_tracking


def log(images: list[Path] | None = None) -> bool:
    return tracking.log_training(
        name="mood-3",
        group="mood",
        config={"epochs": 2},
        history=[{"loss": 1.0}, {"loss": 0.5}],
        summary={"test_accuracy": 0.75},
        images=images or [],
    )


@pytest.fixture
def offline(settings: Settings, tmp_path: Path) -> Settings:
    settings.WANDB_MODE, settings.WANDB_DIR = "offline", tmp_path / "wandb"
    return settings


def test_nothing_is_logged_unless_it_is_asked_for(settings: Settings, tmp_path: Path) -> None:
    settings.WANDB_DIR = tmp_path / "wandb"
    assert not tracking.is_wanted() and not log()
    settings.WANDB_API_KEY, settings.WANDB_MODE = "k" * 40, "disabled"
    assert not tracking.is_wanted() and not log()
    assert not settings.WANDB_DIR.exists()
    assert check_tracking(None) == []


def test_offline_the_figures_lie_in_a_folder(offline: Settings) -> None:
    pytest.importorskip("wandb")
    from matplotlib.figure import Figure

    picture = Path(offline.WANDB_DIR).parent / "calibration.png"
    Figure(figsize=(1, 1)).savefig(picture)
    assert log([picture])
    (run,) = Path(offline.WANDB_DIR).glob("wandb/offline-run-*")
    # What `wandb sync` would send: values are JSON texts between the fields' lengths.
    sent = next(run.glob("*.wandb")).read_bytes()
    for said in (b"epochs", b"loss", b"0.5", b"test_accuracy", b"0.75", b"mood-3"):
        assert said in sent, said
    assert list(run.glob("files/media/images/calibration*.png"))


def test_what_goes_wrong_is_a_warning(offline: Settings, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("wandb")
    with caplog.at_level(logging.WARNING, "modeling"):
        assert not log([Path("nowhere.png")])
    assert "did not take training run mood-3" in caplog.text
    assert "nowhere.png" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_warning(
    offline: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb")
    Path(offline.WANDB_DIR).write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "modeling"):
        assert not log()
    assert "did not take training run mood-3" in caplog.text


def test_a_server_that_never_answers_is_given_up(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.WANDB_API_KEY, settings.WANDB_DIR = "k" * 40, tmp_path
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "TIMEOUT_SECONDS", 0.5)
    with caplog.at_level(logging.WARNING, "modeling"):
        assert not log()
    assert "did not take training run mood-3" in caplog.text
    assert "k" * 40 not in caplog.text


def test_without_the_package_one_is_told_how_to_get_it(
    offline: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    (warning,) = check_tracking(None)
    assert "pip install wandb" in warning.msg
    with caplog.at_level(logging.WARNING, "modeling"):
        assert not log()
    assert "pip install wandb" in caplog.text
