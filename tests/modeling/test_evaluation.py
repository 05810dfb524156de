"""The figures, against scikit-learn and by hand; their intervals against drawing posts."""

import time
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from modeling.ml import bootstrap
from modeling.ml.evaluation import evaluate, expected_calibration_error
from modeling.ml.slices import Origin, slices

LABELS = ("negative", "neutral", "positive")


def judged_posts(size: int, seed: int = 1) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """True categories, drawn by the very probabilities that judge them: calibrated."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet((0.6, 0.6, 0.6), size)
    drawn = generator.random((size, 1)) > probabilities.cumsum(axis=1)
    return np.minimum(drawn.sum(axis=1), 2), probabilities


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
    assert judged.intervals["macro_recall"] == (1.0, 1.0)


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


def test_intervals_are_those_of_drawing_post_by_post() -> None:
    truth, probabilities = judged_posts(400)
    judged = evaluate(truth, probabilities, LABELS)
    generator = np.random.default_rng(2)
    drawn = [generator.integers(0, 400, 400) for _ in range(150)]
    for name, figure in (
        ("accuracy", lambda t, p: accuracy_score(t, p)),
        ("macro_recall", lambda t, p: recall_score(t, p, average="macro")),
    ):
        predicted = probabilities.argmax(axis=1)
        slow = np.quantile([figure(truth[i], predicted[i]) for i in drawn], [0.025, 0.975])
        assert judged.intervals[name] == pytest.approx(tuple(slow), abs=0.02)
    recall = judged.per_class["neutral"]
    low, high = recall.intervals["recall"]
    assert low < recall.recall < high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    true_truth, true_probabilities = judged_posts(200_000, seed=9)
    true = evaluate(true_truth, true_probabilities, LABELS)
    held = dict.fromkeys(true.intervals, 0)
    for seed in range(100, 130):
        for name, (low, high) in evaluate(*judged_posts(300, seed), LABELS).intervals.items():
            held[name] += low <= getattr(true, name) <= high
    # Of 30 about 28.
    assert all(count >= 25 for count in held.values()), held


@pytest.mark.parametrize("too_sure", [0.0, 0.05, 0.15])
def test_the_calibration_errors_interval_holds_the_truth(too_sure: float) -> None:
    def error(size: int, seed: int) -> tuple[float, tuple[float, float]]:
        generator = np.random.default_rng(seed)
        confidence = 0.5 + 0.5 * generator.random(size)
        correct = generator.random(size) < confidence - too_sure
        truth = np.where(correct, 0, 1)
        probabilities = np.stack((confidence, 1 - confidence), axis=1)
        ece = expected_calibration_error(truth, probabilities)
        return ece, bootstrap.calibration_interval(ece, confidence, correct, 15)

    intervals = [error(500, seed)[1] for seed in range(1, 31)]
    assert sum(low <= too_sure <= high for low, high in intervals) >= 24
    reaching = sum(low == 0 for low, _ in intervals)
    assert reaching >= 24 if too_sure == 0 else reaching < 23


def test_five_thousand_posts_are_resampled_in_well_under_a_second() -> None:
    truth, probabilities = judged_posts(5000)
    started = time.process_time()
    first = evaluate(truth, probabilities, LABELS)
    assert time.process_time() - started < 1
    assert evaluate(truth, probabilities, LABELS) == first


def test_two_models_of_many_categories_are_compared_on_the_same_posts_in_little_memory() -> None:
    generator = np.random.default_rng(0)
    truth, first, second = generator.integers(0, 60, size=(3, 4000))
    tracemalloc.start()
    mine, others = bootstrap.paired_draws(truth, first, second, 60)
    # The cube of 60 categories, a thousand times, is 1.7 GB.
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert (mine.sum(axis=2) == others.sum(axis=2)).all() and (mine.sum(axis=(1, 2)) == 4000).all()
    expected = confusion_matrix(truth, first)
    assert mine.mean(axis=0).ravel() == pytest.approx(expected.ravel(), abs=0.5)
    same = bootstrap.paired_draws(truth, first, first, 60)
    assert (same[0] == same[1]).all()


def test_slices_go_by_what_the_posts_are() -> None:
    texts = ["not good", "fine 😀", "a " * 40, "a " * 100]
    mastodon = Origin(frozenset({"de"}), frozenset({"mastodon"}), frozenset({"Cats"}))
    both = Origin(frozenset({"en"}), frozenset({"x", "mastodon"}))
    found = {
        (part.dimension, part.value): np.flatnonzero(part.members).tolist()
        for part in slices(texts, [mastodon, both, both, Origin()])
    }
    assert found == {
        ("emoji", "no"): [0, 2, 3],
        ("emoji", "yes"): [1],
        ("language", "de"): [0],
        ("language", "en"): [1, 2],
        ("length", "long"): [3],
        ("length", "medium"): [2],
        ("length", "short"): [0, 1],
        ("negation", "no"): [1, 2, 3],
        ("negation", "yes"): [0],
        ("source", "mastodon"): [0, 1, 2],
        ("source", "x"): [1, 2],
        ("stream", "Cats"): [0],
    }


def test_slices_under_fifty_posts_are_shown_but_not_judged() -> None:
    truth, probabilities = judged_posts(60)
    texts = ["not good"] * 49 + ["good"] * 11
    judged = evaluate(truth, probabilities, LABELS, slices(texts))
    shown = {(part.dimension, part.value): part for part in judged.slices}
    assert not shown["negation", "yes"].is_judged and shown["negation", "yes"].size == 49
    assert shown["length", "short"].is_judged
    assert shown["length", "short"].accuracy == judged.accuracy
