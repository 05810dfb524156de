"""The model's figures as Plotly figures: rows in, figure out; no queries.

Colours are named in `meta` after the page's custom properties: the browser fills them in, for the
light and the dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

Figure = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Counts, coloured by the share of their true category; the first category on top."""
    shares = [[count / (sum(row) or 1) for count in row] for row in counts]
    texts = [
        [f"{count:,}<br>{share:.0%}" for count, share in zip(row, part, strict=True)]
        for row, part in zip(counts, shares, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            x=list(names),
            y=list(names),
            z=shares,
            text=texts,
            texttemplate="%{text}",
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="truly %{y}, given %{x}: %{text}<extra></extra>",
            meta={"scale": "heat"},
        )
    )
    return _plain(
        figure,
        xaxis={"title": {"text": "given by the model"}, "type": "category", "side": "bottom"},
        yaxis={"title": {"text": "truly"}, "type": "category", "autorange": "reversed"},
        margin={"l": 90, "r": 8, "t": 8, "b": 56},
        hovermode="closest",
    )


def calibration(curves: Mapping[str, Rows]) -> Figure:
    """Share that is right by confidence, a curve each; on the diagonal both are the same."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            name="confidence = share right",
            line={"dash": "dot", "width": 1},
            hoverinfo="skip",
            meta={"color": "soft"},
        )
    )
    for place, (name, bins) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=[item["confidence"] for item in bins],
                y=[item["accuracy"] for item in bins],
                text=[f"{item['count']:,} posts" for item in bins],
                mode="lines+markers",
                name=name,
                line={"dash": "solid" if not place else "dash", "width": 2},
                marker={"size": 9, "symbol": "circle" if not place else "square"},
                hovertemplate="%{x:.0%} sure, %{y:.0%} right, %{text}<extra></extra>",
                meta={"color": "side-b" if place else "side-a"},
            )
        )
    percent = {"range": [0, 1.03], "tickformat": ".0%", "zeroline": False}
    return _plain(
        figure,
        xaxis={**percent, "title": {"text": "confidence"}},
        yaxis={**percent, "title": {"text": "share right"}},
        margin={"l": 60, "r": 12, "t": 8, "b": 48},
        hovermode="closest",
        showlegend=len(curves) > 1,
    )


def versions(numbers: Sequence[int], rows: Rows) -> Figure:
    """Macro recall of versions with its 95 % interval, oldest first; `rows` hold `value`, `low`
    and `high`."""
    figure = go.Figure(
        go.Scatter(
            x=[str(number) for number in numbers],
            y=[row["value"] for row in rows],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_above(row) for row in rows],
                "arrayminus": [_below(row) for row in rows],
                "thickness": 2,
                "width": 6,
            },
            mode="markers",
            marker={"size": 10},
            hovertemplate="version %{x}: %{y:.3f}<extra></extra>",
            meta={"color": "accent"},
        )
    )
    return _plain(
        figure,
        xaxis={"title": {"text": "version"}, "type": "category"},
        yaxis={"title": {"text": "macro recall"}, "tickformat": ".2f", "nticks": 5},
        margin={"l": 60, "r": 12, "t": 8, "b": 48},
        hovermode="closest",
    )


def _above(row: Mapping[str, Any]) -> float:
    return 0.0 if row["high"] is None else max(0.0, row["high"] - row["value"])


def _below(row: Mapping[str, Any]) -> float:
    return 0.0 if row["low"] is None else max(0.0, row["value"] - row["low"])


def history(epochs: Rows, losses: Sequence[Sequence[float]] = ()) -> Figure:
    """Loss (left) and validation macro recall (right) by epoch.

    `losses` are points of [epochs done, loss]; without them the loss is drawn once an epoch.
    """
    numbers = [entry["epoch"] for entry in epochs]
    curve = losses or [(entry["epoch"], entry["loss"]) for entry in epochs]
    figure = go.Figure(
        [
            go.Scatter(
                x=[point[0] for point in curve],
                y=[point[1] for point in curve],
                name="training loss",
                mode="lines" if losses else "lines+markers",
                line={"width": 2},
                marker={"size": 8},
                hovertemplate="epoch %{x:.2f}: loss %{y:.3f}<extra></extra>",
                meta={"color": "side-a"},
            ),
            go.Scatter(
                x=numbers,
                y=[entry.get("macro_recall") for entry in epochs],
                name="macro recall on validation posts",
                mode="lines+markers",
                line={"width": 2, "dash": "dash"},
                marker={"size": 8, "symbol": "square"},
                yaxis="y2",
                hovertemplate="macro recall %{y:.3f}<extra></extra>",
                meta={"color": "side-b"},
            ),
        ]
    )
    return _plain(
        figure,
        xaxis={"title": {"text": "epoch"}, "dtick": max(1, len(epochs) // 8), "zeroline": False},
        yaxis={"title": {"text": "loss"}, "rangemode": "tozero", "nticks": 5, "zeroline": False},
        yaxis2={
            "title": {"text": "macro recall"},
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "zeroline": False,
            "nticks": 5,
            "tickformat": ".3f",
        },
        margin={"l": 56, "r": 60, "t": 8, "b": 48},
        showlegend=True,
    )


def drift(rows: Sequence[tuple[str, float, bool]]) -> Figure:
    """How far each statistic reaches towards its threshold (1), largest on top; the last of each
    row tells whether it is drift."""
    ordered = list(reversed(rows))
    figure = go.Figure()
    for is_drift, name, color in (
        (False, "within", "neutral-fill"),
        (True, "drift", "negative-fill"),
    ):
        chosen = [row for row in ordered if row[2] is is_drift]
        figure.add_trace(
            go.Bar(
                x=[reach for _, reach, _ in chosen],
                y=[statistic for statistic, _, _ in chosen],
                orientation="h",
                name=name,
                marker={"pattern": {"shape": "/" if is_drift else ""}},
                hovertemplate="%{y}: %{x:.2f} times its threshold<extra></extra>",
                meta={"color": color},
            )
        )
    return _plain(
        figure,
        xaxis={"title": {"text": "times its threshold"}, "rangemode": "tozero", "nticks": 6},
        yaxis={
            "type": "category",
            "automargin": True,
            "categoryorder": "array",
            "categoryarray": [statistic for statistic, _, _ in ordered],
        },
        margin={"l": 8, "r": 12, "t": 8, "b": 48},
        hovermode="closest",
        showlegend=True,
        shapes=[{"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1}],
    )


def shares(names: Sequence[str], before: Sequence[float | None], now: Sequence[float]) -> Figure:
    """Each category's share in the reference and now."""
    figure = go.Figure(
        [
            go.Bar(
                x=list(names),
                y=list(values),
                name=name,
                marker={"pattern": {"shape": pattern}},
                hovertemplate="%{x} " + name + ": %{y:.0%}<extra></extra>",
                meta={"color": color},
            )
            for name, values, color, pattern in (
                ("at training", before, "neutral-fill", "/"),
                ("now", now, "accent", ""),
            )
        ]
    )
    return _plain(
        figure,
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 5, "zeroline": False},
        margin={"l": 48, "r": 8, "t": 8, "b": 32},
        barmode="group",
        showlegend=True,
    )


def accuracies(moments: Sequence[str], estimated: Rows, true: Sequence[float | None]) -> Figure:
    """Estimated accuracy with its interval and the true one, by the end of each report's window;
    oldest first."""
    figure = go.Figure(
        [
            go.Scatter(
                x=list(moments),
                y=[row["value"] for row in estimated],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [0.0 if row["value"] is None else _above(row) for row in estimated],
                    "arrayminus": [
                        0.0 if row["value"] is None else _below(row) for row in estimated
                    ],
                    "thickness": 1,
                    "width": 3,
                },
                mode="markers",
                name="estimated",
                marker={"size": 7},
                hovertemplate="estimated %{y:.1%}<extra></extra>",
                meta={"color": "side-a"},
            ),
            go.Scatter(
                x=list(moments),
                y=list(true),
                mode="markers",
                name="true, of labelled posts",
                marker={"size": 9, "symbol": "square"},
                hovertemplate="true %{y:.1%}<extra></extra>",
                meta={"color": "side-b"},
            ),
        ]
    )
    return _plain(
        figure,
        xaxis={"type": "date"},
        yaxis={"tickformat": ".0%", "nticks": 5, "zeroline": False},
        margin={"l": 52, "r": 12, "t": 8, "b": 40},
        hovermode="closest",
        showlegend=True,
    )


def _plain(figure: go.Figure, **layout: Any) -> Figure:
    figure.update_layout(
        template=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        **{"hovermode": "x unified", "showlegend": False, **layout},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    # Plotly keeps lists as tuples and arrays of its own; JSON wants lists.
    plain: Figure = _listed(figure.to_plotly_json())
    return plain


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(inner) for inner in value]
    return value
