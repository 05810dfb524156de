"""Which encoder a training begins with."""

from pathlib import Path

import pytest

from modeling.ml import base_model
from modeling.ml.encoder import knows_emoji
from modeling.ml.training import fine_tune
from tests.conftest import LABELS
from tests.modeling.tiny_training import data, quick


def test_the_offline_encoder_is_the_published_one() -> None:
    assert Path(base_model.resolve("")).is_dir()


def test_an_altered_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "OFFLINE_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(base_model.BaseModelError, match="not the published model"):
        base_model.resolve("")


def test_without_the_offline_encoder_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base_model, "OFFLINE_PACKAGE", "gt_no_such_package")
    with pytest.raises(base_model.BaseModelError, match="make setup"):
        base_model.resolve("")


def test_another_base_model_is_left_to_transformers() -> None:
    assert base_model.resolve("distilbert-base-uncased") == "distilbert-base-uncased"


@pytest.mark.parametrize("knows", [True, False])
def test_whether_an_encoder_knows_emoji_is_seen_in_its_vocabulary(
    tmp_path: Path, knows: bool
) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[UNK]": 0, "a": 1} | ({"😂": 2} if knows else {})
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")),
        unk_token="[UNK]",
    )
    assert knows_emoji(words) is knows


def test_a_base_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        fine_tune(*data(), LABELS, quick(tmp_path / "nowhere"), tmp_path)
