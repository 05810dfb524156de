"""Distances between histograms."""

import numpy as np
import pytest

from modeling.ml import drift, reference

LABELS = ("negative", "neutral", "positive")


def test_equal_histograms_have_no_distance() -> None:
    assert drift.psi([10, 20, 30], [1, 2, 3]) == pytest.approx(0)
    assert drift.jensen_shannon([10, 20, 30], [1, 2, 3]) == pytest.approx(0, abs=1e-6)


def test_psi_by_hand() -> None:
    expected = (0.6 - 0.4) * np.log(0.6 / 0.4) * 2
    assert drift.psi([40, 60], [60, 40]) == pytest.approx(expected)


def test_disjoint_histograms_are_almost_one_apart() -> None:
    assert drift.jensen_shannon([1, 0], [0, 1]) == pytest.approx(1, abs=0.01)
    assert np.isfinite(drift.psi([1, 0], [0, 1]))


def test_ties_make_fewer_bins_and_every_value_is_counted() -> None:
    values = np.array([0.0] * 90 + [1.0] * 10)
    edges = drift.quantile_edges(values)
    assert len(edges) < 9
    assert sum(drift.histogram(values, edges)) == 100


def test_like_posts_are_close_and_shouting_ones_are_far() -> None:
    generator = np.random.default_rng(2)
    calm = [f"a quiet post number {i} about the weather" for i in range(300)]
    loud = [f"WHAT A DAY!!!! NUMBER {i} @you #SHOUT #MORE" for i in range(300)]
    probabilities = generator.dirichlet((4, 3, 3), 300)
    picture = reference.build(calm, probabilities, LABELS)
    counts = dict(
        zip(LABELS, np.bincount(probabilities.argmax(1), minlength=3).tolist(), strict=True)
    )
    same = reference.compare(picture, calm, probabilities.max(axis=1), counts)
    other = reference.compare(picture, loud, probabilities.max(axis=1), counts)
    assert max(entry["psi"] for entry in same.values()) < 0.1
    assert other["upper_share"]["psi"] > 0.25
    assert other["labels"]["psi"] < 0.1
