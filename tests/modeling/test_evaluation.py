"""The figures, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from modeling.ml.evaluation import evaluate, expected_calibration_error

LABELS = ("negative", "neutral", "positive")


def test_figures_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 500)
    probabilities = generator.dirichlet((1, 1, 1), 500)
    predicted = probabilities.argmax(axis=1)
    judged = evaluate(truth, probabilities, LABELS)
    assert judged.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert judged.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert judged.macro_recall == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert judged.confusion == confusion_matrix(truth, predicted).tolist()
    assert judged.per_class["neutral"].support == int((truth == 1).sum())


def test_a_category_that_no_post_has_is_left_out_of_the_means() -> None:
    judged = evaluate([0, 0], np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1]]), LABELS)
    assert judged.macro_recall == 1.0


def test_calibration_error_by_hand() -> None:
    # Two posts at 0.8 confidence, one right: the gap is 0.3.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2]])
    assert expected_calibration_error(np.array([0, 1]), probabilities) == pytest.approx(0.3)


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate([], np.zeros((0, 3)), LABELS)


def test_shapes_that_disagree_are_an_error() -> None:
    with pytest.raises(ValueError, match="shape"):
        evaluate([0], np.zeros((1, 2)), LABELS)
