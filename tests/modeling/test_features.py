"""Explicit features, checked by hand."""

import numpy as np
import pytest

from modeling.ml.features import NAMES, extract, lexicon_score, matrix


def feature(text: str, name: str) -> float:
    return float(extract(text)[NAMES.index(name)])


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("hello you", "characters", 9),
        ("hello, you two!", "words", 3),
        ("ABcd", "upper_share", 0.5),
        ("what?! no!", "exclamations", 2),
        ("what?! no!", "questions", 1),
        ("ok 😂🔥", "emoji", 2),
        ("#one #two", "hashtags", 2),
        ("@a and @b", "mentions", 2),
        ("see https://t.co/x", "links", 1),
        ("soooo coool", "elongations", 2),
        ("don't, never, not", "negations", 3),
        ("", "characters", 0),
    ],
)
def test_a_feature_counts_what_it_says(text: str, name: str, value: float) -> None:
    assert feature(text, name) == pytest.approx(value)


def test_the_lexicon_knows_good_from_bad() -> None:
    assert lexicon_score("I love it, great") > 0.5
    assert lexicon_score("I hate it, awful") < -0.5


def test_emoji_have_a_polarity() -> None:
    assert feature("😂", "emoji_polarity") != 0
    assert feature("no emoji", "emoji_polarity") == 0


def test_a_matrix_has_a_row_a_text() -> None:
    assert matrix(["a", "b"]).shape == (2, len(NAMES))
    assert matrix([]).shape == (0, len(NAMES))
    assert np.isfinite(matrix(["", "\x00", "😂" * 50])).all()
