"""Rows in, Plotly figures out; no queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from modeling.models import Category


def timeline(series: Mapping[str, Any], categories: Sequence[Category]) -> dict[str, Any]:
    """Stacked counts by category over time, as Plotly's JSON (data and layout)."""
    figure = go.Figure()
    for category in categories:
        figure.add_trace(
            go.Bar(
                x=series["bins"],
                y=series["counts"][category.key],
                name=category.title,
                marker={"color": category.color},
                hovertemplate="%{y}",
                meta=category.key,
            )
        )
    figure.update_layout(
        template=None,
        barmode="stack",
        bargap=0.15,
        hovermode="x unified",
        showlegend=False,
        margin={"l": 40, "r": 8, "t": 8, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"type": "date", "showgrid": False, "zeroline": False},
        yaxis={"rangemode": "tozero", "zeroline": False, "nticks": 5},
    )
    return _plain(figure)


def _plain(figure: go.Figure) -> dict[str, Any]:
    plain: dict[str, Any] = figure.to_plotly_json()
    # Plotly keeps lists as tuples of its own; JSON wants lists.
    for trace in plain["data"]:
        trace["x"], trace["y"] = list(trace["x"]), list(trace["y"])
    return plain
