"""Triggers in words: what a value is of."""

from typing import Any

import pytest
from django.utils import translation

from dashboard.model_pages import stories


def row(name: str, **entry: Any) -> stories.TriggerRow:
    (found,) = stories.triggers({name: entry})
    return found


@pytest.mark.parametrize(
    ("language", "embedding", "accuracy"),
    [
        ("en", "MMD: meaning (embedding)", "Estimated accuracy, without labels"),
        ("de", "MMD: Bedeutung (Embedding)", "Geschätzte Genauigkeit, ohne Einordnungen"),
    ],
)
def test_a_value_says_which_statistic_it_is_of(
    language: str, embedding: str, accuracy: str
) -> None:
    with translation.override(language):
        drift = row("drift", value=0.3, threshold=0.1, kind="mmd", statistic="embedding")
        assert drift.hint == embedding
        low = row(
            "mean_confidence",
            value=0.41,
            threshold=0.6,
            statistic="estimated_accuracy",
            estimated_accuracy=0.41,
        )
        assert (low.hint, low.note) == (accuracy, "")


def test_a_record_of_old_knew_but_one_statistic() -> None:
    with translation.override("en"):
        assert row("drift", value=0.3, threshold=0.25).hint.startswith("largest PSI")
        mean = row("mean_confidence", value=0.5, threshold=0.55, estimated_accuracy=0.7)
        assert mean.hint == "mean of the champion's newest predictions"
        assert mean.note.startswith("estimated accuracy 0.7")
