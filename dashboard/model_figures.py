"""The model's figures as Plotly figures: rows in, figure out; no queries.

Colours are named in `meta` after the page's custom properties: the browser fills them in, for the
light and the dark theme. Words are in the page's language; the browser brings its decimal sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from django.utils.translation import gettext, ngettext, pgettext

from dashboard.languages import number, per_cent, per_cent_sign

Figure = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]


def confusion(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Counts, coloured by the share of their true category; the first category on top."""
    shares = [[count / (sum(row) or 1) for count in row] for row in counts]
    texts = [
        [f"{number(count)}<br>{per_cent(share)}" for count, share in zip(row, part, strict=True)]
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
            hovertemplate=_hover(
                gettext("truly %(truth)s, given %(said)s: %(count)s"),
                {"truth": "%{y}", "said": "%{x}", "count": "%{text}"},
            ),
            meta={"scale": "heat"},
        )
    )
    return _plain(
        figure,
        xaxis={
            "title": {"text": gettext("given by the model")},
            "type": "category",
            "side": "bottom",
        },
        yaxis={
            "title": {"text": pgettext("axis", "truly")},
            "type": "category",
            "autorange": "reversed",
        },
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
            name=gettext("confidence = share right"),
            line={"dash": "dot", "width": 1},
            hoverinfo="skip",
            meta={"color": "soft"},
        )
    )
    hover = _hover(
        gettext("%(confidence)s sure, %(accuracy)s right, %(posts)s"),
        {"confidence": "%{customdata[0]}", "accuracy": "%{customdata[1]}", "posts": "%{text}"},
    )
    for place, (name, bins) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=[item["confidence"] for item in bins],
                y=[item["accuracy"] for item in bins],
                text=[_posts(item["count"]) for item in bins],
                customdata=[
                    [per_cent(item["confidence"]), per_cent(item["accuracy"])] for item in bins
                ],
                mode="lines+markers",
                name=name,
                line={"dash": "solid" if not place else "dash", "width": 2},
                marker={"size": 9, "symbol": "circle" if not place else "square"},
                hovertemplate=hover,
                meta={"color": "side-b" if place else "side-a"},
            )
        )
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    percent = {
        "range": [0, 1.03],
        "tickvals": ticks,
        "ticktext": [per_cent(tick) for tick in ticks],
        "zeroline": False,
    }
    return _plain(
        figure,
        xaxis={**percent, "title": {"text": gettext("confidence")}},
        yaxis={**percent, "title": {"text": gettext("share right")}},
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
            hovertemplate=_hover(
                gettext("version %(version)s: %(value)s"), {"version": "%{x}", "value": "%{y:.3f}"}
            ),
            meta={"color": "accent"},
        )
    )
    return _plain(
        figure,
        xaxis={"title": {"text": pgettext("axis", "version")}, "type": "category"},
        yaxis={"title": {"text": gettext("macro recall")}, "tickformat": ".2f", "nticks": 5},
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
                name=gettext("training loss"),
                mode="lines" if losses else "lines+markers",
                line={"width": 2},
                marker={"size": 8},
                hovertemplate=_hover(
                    gettext("epoch %(epoch)s: loss %(loss)s"),
                    {"epoch": "%{x:.2f}", "loss": "%{y:.3f}"},
                ),
                meta={"color": "side-a"},
            ),
            go.Scatter(
                x=numbers,
                y=[entry.get("macro_recall") for entry in epochs],
                name=gettext("macro recall on validation posts"),
                mode="lines+markers",
                line={"width": 2, "dash": "dash"},
                marker={"size": 8, "symbol": "square"},
                yaxis="y2",
                hovertemplate=_hover(gettext("macro recall %(value)s"), {"value": "%{y:.3f}"}),
                meta={"color": "side-b"},
            ),
        ]
    )
    return _plain(
        figure,
        xaxis={
            "title": {"text": pgettext("axis", "epoch")},
            "dtick": max(1, len(epochs) // 8),
            "zeroline": False,
        },
        yaxis={
            "title": {"text": pgettext("axis", "loss")},
            "rangemode": "tozero",
            "nticks": 5,
            "zeroline": False,
        },
        yaxis2={
            "title": {"text": gettext("macro recall")},
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
        (False, pgettext("drift", "within"), "neutral-fill"),
        (True, pgettext("report", "drift"), "negative-fill"),
    ):
        chosen = [row for row in ordered if row[2] is is_drift]
        figure.add_trace(
            go.Bar(
                x=[reach for _, reach, _ in chosen],
                y=[statistic for statistic, _, _ in chosen],
                orientation="h",
                name=name,
                marker={"pattern": {"shape": "/" if is_drift else ""}},
                hovertemplate=_hover(
                    gettext("%(statistic)s: %(times)s times its threshold"),
                    {"statistic": "%{y}", "times": "%{x:.2f}"},
                ),
                meta={"color": color},
            )
        )
    return _plain(
        figure,
        xaxis={
            "title": {"text": gettext("times its threshold")},
            "rangemode": "tozero",
            "nticks": 6,
        },
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
    """Each category's share in the reference and now, in per cent."""
    sign = per_cent_sign()
    figure = go.Figure(
        [
            go.Bar(
                x=list(names),
                y=[_of_hundred(value) for value in values],
                name=name,
                marker={"pattern": {"shape": pattern}},
                hovertemplate=_hover(
                    gettext("%(category)s %(when)s: %(share)s"),
                    {"category": "%{x}", "when": name, "share": "%{y:.0f}" + sign},
                ),
                meta={"color": color},
            )
            for name, values, color, pattern in (
                (gettext("at training"), before, "neutral-fill", "/"),
                (gettext("now"), now, "accent", ""),
            )
        ]
    )
    return _plain(
        figure,
        xaxis={"type": "category"},
        yaxis={
            "tickformat": ".0f",
            "ticksuffix": sign,
            "rangemode": "tozero",
            "nticks": 5,
            "zeroline": False,
        },
        margin={"l": 48, "r": 8, "t": 8, "b": 32},
        barmode="group",
        showlegend=True,
    )


def accuracies(moments: Sequence[str], estimated: Rows, labelled: Rows) -> Figure:
    """Accuracy in per cent, by the end of each report's window; oldest first. Of all posts as it is
    estimated, with its interval; of the labelled ones as it was expected, and as it truly is."""
    sign = per_cent_sign()
    figure = go.Figure(
        [
            go.Scatter(
                x=list(moments),
                y=[_of_hundred(row["value"]) for row in estimated],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        0.0 if row["value"] is None else 100 * _above(row) for row in estimated
                    ],
                    "arrayminus": [
                        0.0 if row["value"] is None else 100 * _below(row) for row in estimated
                    ],
                    "thickness": 1,
                    "width": 3,
                },
                mode="markers",
                name=gettext("estimated, of all posts"),
                marker={"size": 7},
                hovertemplate=_hover(
                    gettext("estimated %(accuracy)s"), {"accuracy": "%{y:.1f}" + sign}
                ),
                meta={"color": "neutral-fill"},
            ),
            *_of_labelled(moments, labelled),
        ]
    )
    return _plain(
        figure,
        xaxis={"type": "date"},
        yaxis={"tickformat": ".0f", "ticksuffix": sign, "nticks": 5, "zeroline": False},
        margin={"l": 52, "r": 12, "t": 8, "b": 40},
        hovermode="closest",
        showlegend=True,
    )


def _of_labelled(moments: Sequence[str], rows: Rows) -> list[go.Scatter]:
    """The pair that may be held against each other: both are of the very same posts."""
    drawn = [
        gettext("drawn at random")
        if row["is_random"]
        else gettext("chosen for labelling, perhaps harder than most")
        for row in rows
    ]
    # Told apart without colour, too.
    forms = ["" if row["is_random"] else "-open" for row in rows]
    return [
        go.Scatter(
            x=list(moments),
            y=[_of_hundred(row[key]) for row in rows],
            text=drawn,
            mode="markers",
            name=name,
            marker={"size": 9, "symbol": [shape + form for form in forms]},
            hovertemplate=_hover(
                hover, {"accuracy": "%{y:.1f}" + per_cent_sign(), "posts": "%{text}"}
            ),
            meta={"color": color},
        )
        for key, name, hover, shape, color in (
            (
                "expected",
                gettext("expected of labelled posts"),
                gettext("expected %(accuracy)s of posts %(posts)s"),
                "diamond",
                "side-a",
            ),
            (
                "true",
                gettext("true of labelled posts"),
                gettext("true %(accuracy)s of posts %(posts)s"),
                "square",
                "side-b",
            ),
        )
    ]


def _posts(count: int) -> str:
    return ngettext("%(posts)s post", "%(posts)s posts", count) % {"posts": number(count)}


def _of_hundred(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 6)


def _hover(text: str, parts: Mapping[str, str]) -> str:
    """A sentence with Plotly's placeholders put in, and no name beside it."""
    return text % parts + "<extra></extra>"


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
