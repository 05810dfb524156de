"""The model's figures: plain JSON that says what the tables say."""

from __future__ import annotations

import json
from typing import Any

from dashboard import model_figures
from dashboard.model_pages import tables


def data_of(figure: dict[str, Any]) -> list[dict[str, Any]]:
    """As the browser gets it."""
    data: list[dict[str, Any]] = json.loads(json.dumps(figure))["data"]
    return data


def test_the_confusion_matrix_is_coloured_by_the_share_of_its_row() -> None:
    (trace,) = data_of(model_figures.confusion(["bad", "good"], [[3, 1], [0, 0]]))
    assert trace["z"] == [[0.75, 0.25], [0.0, 0.0]]
    assert trace["text"][0] == ["3<br>75%", "1<br>25%"]


def test_a_calibration_curve_stands_beside_the_diagonal() -> None:
    bins = [{"confidence": 0.55, "accuracy": 0.5, "count": 20}]
    figure = model_figures.calibration({"version 1": bins, "version 2": []})
    diagonal, first, second = data_of(figure)
    assert diagonal["x"] == diagonal["y"] == [0, 1]
    assert (first["x"], first["y"], first["text"]) == ([0.55], [0.5], ["20 posts"])
    # Told apart without colour, too.
    assert first["line"]["dash"] != second["line"]["dash"]
    assert first["marker"]["symbol"] != second["marker"]["symbol"]


def test_versions_carry_their_intervals_and_none_reaches_below_nothing() -> None:
    rows = [
        {"value": 0.5, "low": 0.4, "high": 0.7},
        {"value": 0.9, "low": None, "high": None},
    ]
    (trace,) = data_of(model_figures.versions([1, 2], rows))
    assert trace["x"] == ["1", "2"]
    assert [round(x, 3) for x in trace["error_y"]["array"]] == [0.2, 0.0]
    assert [round(x, 3) for x in trace["error_y"]["arrayminus"]] == [0.1, 0.0]


def test_the_loss_curve_bears_an_epoch_without_validation() -> None:
    loss, recall = data_of(model_figures.history([{"epoch": 1, "loss": 0.5}]))
    assert (loss["x"], loss["y"], recall["y"]) == ([1], [0.5], [None])
    assert data_of(model_figures.history([]))[0]["y"] == []


def test_the_loss_curve_moves_within_an_epoch() -> None:
    loss, recall = data_of(model_figures.history([], [[0.25, 0.9], [0.5, 0.7]]))
    assert (loss["x"], loss["y"], recall["x"]) == ([0.25, 0.5], [0.9, 0.7], [])


def test_drift_is_told_apart_by_pattern_and_the_threshold_is_drawn() -> None:
    figure = model_figures.drift([("Words", 1.4, True), ("Emoji", 0.2, False)])
    within, drift = data_of(figure)
    assert (within["y"], drift["y"]) == (["Emoji"], ["Words"])
    assert within["marker"]["pattern"] != drift["marker"]["pattern"]
    assert figure["layout"]["shapes"][0]["x0"] == 1
    assert figure["layout"]["yaxis"]["categoryarray"] == ["Emoji", "Words"]


def test_shares_and_accuracies_bear_what_is_not_known() -> None:
    before, now = data_of(model_figures.shares(["bad", "good"], [None, 0.4], [0.5, 0.5]))
    assert (before["y"], now["y"]) == ([None, 40.0], [50.0, 50.0])
    rows = [{"value": None, "low": None, "high": None}, {"value": 0.8, "low": 0.7, "high": 0.9}]
    labelled = [
        {"true": None, "expected": None, "is_random": False},
        {"true": 0.85, "expected": 0.9, "is_random": True},
    ]
    figure = model_figures.accuracies(["a", "b"], rows, labelled)
    estimated, expected, true = data_of(figure)
    assert estimated["y"] == [None, 80.0]
    assert (expected["y"], true["y"]) == ([None, 90.0], [None, 85.0])
    # Posts that were chosen tell less: their marks are hollow.
    assert true["marker"]["symbol"] == ["square-open", "square"]
    assert true["text"][1] == "drawn at random" != true["text"][0]
    assert [round(x, 3) for x in estimated["error_y"]["array"]] == [0.0, 10.0]


def test_colours_are_left_to_the_theme() -> None:
    figures = [
        model_figures.versions([1], [{"value": 0.5, "low": None, "high": None}]),
        model_figures.history([{"epoch": 1, "loss": 0.5}]),
        model_figures.drift([("Words", 1.4, True)]),
    ]
    assert all(trace["meta"]["color"] for figure in figures for trace in data_of(figure))
    assert "#" not in json.dumps(figures)


def test_a_difference_is_hardly_chance_when_the_intervals_do_not_touch() -> None:
    apart = tables.Difference("f", tables.Figure(0.5, 0.4, 0.6), tables.Figure(0.8, 0.7, 0.9))
    touching = tables.Difference("f", tables.Figure(0.5, 0.4, 0.7), tables.Figure(0.8, 0.7, 0.9))
    unknown = tables.Difference("f", tables.Figure(0.5), tables.Figure(None))
    assert (apart.is_apart, touching.is_apart, unknown.is_apart) == (True, False, False)
    assert (apart.change, unknown.change) == ("+0.300", "–")
    assert tables.Difference("f", apart.second, apart.first).change == "−0.300"


def test_figures_are_written_short() -> None:
    assert [tables.number(v) for v in (None, 0, 0.0, 1234, 0.25, 87.2558, 1.0)] == [
        *("–", "0", "0", "1,234", "0.25", "87.256", "1"),
    ]
