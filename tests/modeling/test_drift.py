"""Distances between a window and its reference, and from where on they are drift."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from modeling.ml import drift, features
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.embedding import Embedder
from modeling.ml.estimate import Correction, estimate_accuracy, wilson
from modeling.ml.reference import LIMIT, REFERENCE_FILE, UNKNOWN, Sample, make_sample


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


Posts = tuple[dict[str, NDArray[np.float64]], NDArray[np.int64], NDArray[np.float64]]


def posts(count: int, generator: np.random.Generator, shift: float = 0.0) -> Posts:
    """Columns as posts have them: skewed, sparse, and one that goes with another."""
    length = generator.gamma(3, 30, count)
    columns = {
        "characters": length,
        "words": length / 5 + generator.normal(size=count),
        "hashtags": generator.poisson(0.3, count).astype(float),
        "emoji": (generator.random(count) < 0.02).astype(float),
    }
    labels = generator.choice(3, count, p=[0.2, 0.45, 0.35])
    return columns, labels, generator.normal(size=(count, 8)) + shift


def compare(
    reference: Posts, window: Posts, permutations: int = 299, limits: drift.Limits | None = None
) -> dict[str, drift.Statistic]:
    return drift.compare(
        reference[0],
        window[0],
        (reference[1], window[1]),
        (reference[2], window[2]),
        limits=limits or drift.Limits(),
        permutations=permutations,
    )


@pytest.mark.parametrize("size", [60, 400])
def test_the_thresholds_hold_for_the_whole_report_at_any_size(size: int) -> None:
    """Without the limits, so that chance alone is judged."""
    told = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        found = compare(
            posts(500, generator), posts(size, generator), 199, drift.Limits(0.0, 0.0, 0.0)
        )
        told += any(entry.is_drift for entry in found.values())
    # 1 % of 20: more than 2 would be seen once in a thousand times.
    assert told <= 2


def test_a_shift_of_the_embeddings_alone_is_seen_by_those_who_look_at_them() -> None:
    generator = np.random.default_rng(1)
    found = compare(posts(500, generator), posts(300, generator, shift=0.5))
    drifted = {name for name, entry in found.items() if entry.is_drift}
    assert drifted == {"embedding", "domain_classifier"}
    # What metrics and their alert go by: one scale for every kind.
    assert drifted == {name for name, entry in found.items() if entry.ratio > 1}
    assert found["embedding"].kind == "mmd" and found["domain_classifier"].value > 0.7
    assert found["embedding"].p_value == pytest.approx(1 / 300)


def test_a_sure_but_small_difference_is_no_drift() -> None:
    generator = np.random.default_rng(2)
    calm, other = posts(2000, generator), posts(1000, generator)
    other[0]["characters"] *= 1.1
    found = compare(calm, other)
    assert found["characters"].value < found["characters"].threshold == 0.25
    alike = compare(calm, posts(1000, generator))
    assert alike["domain_classifier"].value > 0.3 and alike["domain_classifier"].ratio < 1


def test_a_classifier_without_embeddings_is_compared_by_features() -> None:
    generator = np.random.default_rng(3)
    calm, loud = posts(300, generator), posts(300, generator)
    loud[0]["hashtags"] += 2
    found = drift.compare(calm[0], loud[0], (calm[1], loud[1]), permutations=99)
    assert "embedding" not in found
    assert found["hashtags"].is_drift and found["domain_classifier"].is_drift


TEXTS = [f"a quiet post number {i} about the game" for i in range(40)]


def test_a_sample_is_read_as_it_was_written(
    tiny_model: Path, classifier: SentimentClassifier, tmp_path: Path
) -> None:
    embed = Embedder(tiny_model, classifier).embed
    sample = make_sample(TEXTS, classifier.predict_proba(TEXTS), [1] * 40, embed)
    sample.write(tmp_path)
    again = Sample.read(tmp_path)
    assert again is not None and len(again) == 40
    assert np.array_equal(again.embeddings, sample.embeddings)
    assert again.features.shape == (40, len(features.NAMES))
    assert Sample.read(tiny_model) is None
    (tmp_path / REFERENCE_FILE).write_bytes(b"no archive")
    with pytest.raises(ArtifactError, match="is no reference"):
        Sample.read(tmp_path)


def test_a_pickle_in_a_reference_is_not_opened(tmp_path: Path) -> None:
    sample = make_sample(TEXTS, np.full((40, 3), 1 / 3))
    values = {**vars(sample), "truth": np.array([{"a": 1}], dtype=object)}
    np.savez(tmp_path / REFERENCE_FILE, allow_pickle=True, **values)
    with pytest.raises(ArtifactError):
        Sample.read(tmp_path)


def test_a_reference_is_bounded() -> None:
    count = LIMIT + 50
    sample = make_sample([str(i) for i in range(count)], np.full((count, 3), 1 / 3))
    assert len(sample) == LIMIT and set(sample.truth) == {UNKNOWN}
    truth = [1] * (LIMIT + 10) + [UNKNOWN] * 40
    sample = make_sample([str(i) for i in range(count)], np.full((count, 3), 1 / 3), truth)
    assert (len(sample.labelled), len(sample.ordinary)) == (LIMIT, 40)
    assert (
        sample.ordinary.features.tolist()
        == features.matrix(map(str, range(LIMIT + 10, count))).tolist()
    )


def test_the_head_makes_the_same_probabilities_of_the_embeddings(
    tiny_model: Path, classifier: SentimentClassifier
) -> None:
    """So that they are what the model decides by."""
    from safetensors.numpy import load_file

    weights = load_file(tiny_model / "model.safetensors")
    vectors = Embedder(tiny_model, classifier).embed(TEXTS)
    logits = vectors @ weights["classifier.weight"].T + weights["classifier.bias"]
    float_graph = SentimentClassifier(tiny_model, "onnx", threads=1)
    exponents = np.exp(logits / float_graph.settings.temperature)
    expected = float_graph.predict_proba(TEXTS)
    assert np.allclose(exponents / exponents.sum(axis=1, keepdims=True), expected, atol=1e-4)


def test_the_estimate_holds_where_confidence_is_wrong_in_a_known_way() -> None:
    generator = np.random.default_rng(4)
    known, window = generator.uniform(0.4, 1, 2000), generator.uniform(0.7, 1, 1000)
    right = generator.random(2000) < known - 0.1
    found = estimate_accuracy(window, known, right)
    assert found.accuracy == pytest.approx(0.75, abs=0.03)
    assert found.low < 0.75 < found.high and found.high - found.low < 0.15


def test_few_known_answers_correct_nothing() -> None:
    confidence = np.array([0.5, 0.9])
    correction = Correction.fit(confidence, np.array([True, False]))
    assert np.array_equal(correction.chances(confidence), confidence)
    found = estimate_accuracy(confidence, np.zeros(0), np.zeros(0, dtype=bool))
    assert found.accuracy == pytest.approx(0.7) and found.low < 0.7 < found.high


def test_copies_of_one_text_make_an_estimate_no_surer() -> None:
    generator = np.random.default_rng(6)
    known = generator.uniform(0.5, 1, 2000)
    right = generator.random(2000) < known
    varied = generator.uniform(0.5, 1, 200)
    alone = estimate_accuracy(varied, known, right)
    window = np.concatenate([varied, np.full(4800, 0.95)])
    told = [*map(str, range(200)), *["again"] * 4800]
    found, naive = (estimate_accuracy(window, known, right, texts) for texts in (told, None))
    # All posts count, and nobody knows whether the text that most of them say was judged right.
    assert found.accuracy == naive.accuracy > 0.9
    assert naive.high - naive.low < 0.1
    assert found.low < alone.accuracy and found.high - found.low > alone.high - alone.low


def test_texts_that_all_differ_are_posts_of_their_own() -> None:
    window = np.random.default_rng(7).uniform(0.5, 1, 300)
    each = estimate_accuracy(window, window, window > 0.6, [str(i) for i in range(300)])
    plain = estimate_accuracy(window, window, window > 0.6)
    # In another order, the same chances: the texts are sorted.
    assert each.accuracy == plain.accuracy
    assert each.high - each.low == pytest.approx(plain.high - plain.low, abs=0.02)


def test_wilson_by_hand() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_the_telltale_points_at_what_sets_the_window_apart() -> None:
    generator = np.random.default_rng(5)
    reference = {name: generator.normal(size=400) for name in ("same", "more", "less")}
    window = {name: generator.normal(size=60) for name in reference}
    window["more"], window["less"] = window["more"] + 2, window["less"] - 1
    reference["fixed"], window["fixed"] = np.ones(400), np.ones(60)
    weights = drift.telltale(reference, window)
    assert weights["more"] > -weights["less"] > abs(weights["same"])
    assert weights["fixed"] == 0

    def scores(side: dict[str, np.ndarray]) -> np.ndarray:
        return np.sum([weights[name] * side[name] for name in weights], axis=0)

    assert np.quantile(scores(window), 0.25) > np.quantile(scores(reference), 0.75)
