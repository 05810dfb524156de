"""A view's numbers put together for the page and for the websocket's snapshot."""

from __future__ import annotations

from typing import Any

from dashboard import figures, selectors, summary
from dashboard.selectors import View


def present(view: View) -> dict[str, Any]:
    """Everything that a view shows but its newest posts, as plain JSON values."""
    counts = selectors.totals(view)
    net = selectors.net_sentiment(counts)
    terms = selectors.distinctive_terms(view)
    series = selectors.timeline(view)
    return {
        "range": view.range_key,
        "stream": view.stream_id,
        "source": selectors.source_of(view),
        "start": view.first.isoformat(),
        "end": view.end.isoformat(),
        "bin_seconds": series["bin_seconds"],
        "totals": counts,
        "net_sentiment": None if net is None else round(net, 3),
        "mood": summary.mood(net),
        "headline": summary.headline(counts, net, terms),
        "terms": terms,
        "figure": figures.timeline(series, selectors.categories()),
    }
