"""A view's numbers put together for the page, for the websocket's snapshot and for files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dashboard import figures, selectors, summary
from dashboard.events import PostEvent
from dashboard.selectors import Against, Judged, Timeline, View


def present(
    view: View, sample: Sequence[Judged] | None = None, series: Timeline | None = None
) -> dict[str, Any]:
    """Everything that a view shows but its posts, as plain JSON values."""
    # First the counts: a view by languages or words then knows which posts are its newest.
    series = selectors.timeline(view) if series is None else series
    sample = selectors.judged_sample(view) if sample is None else sample
    counts = selectors.totals(view, series)
    net = selectors.net_sentiment(counts, view.categories)
    terms = selectors.distinctive_terms(view, sample)
    return {
        "range": view.range_key,
        "streams": view.wanted.streams,
        "sources": view.sources,
        "languages": view.wanted.languages,
        "shown": [category.key for category in view.shown],
        "words": view.wanted.words,
        "reads_posts": view.wanted.reads_posts,
        "sample": series["sample"],
        "start": view.first.isoformat(),
        "end": view.end.isoformat(),
        "bin_seconds": series["bin_seconds"],
        "totals": counts,
        "net_sentiment": None if net is None else round(net, 3),
        "mood": summary.mood(net),
        "headline": (
            str(summary.NO_MATCH)
            if view.wanted.reads_posts and not counts
            else summary.headline(counts, net, terms)
        ),
        "terms": terms,
        "figure": figures.timeline(series, view.categories),
    }


def present_with_posts(view: View) -> tuple[dict[str, Any], list[PostEvent]]:
    """The same and its newest posts, which are of one reading."""
    series = selectors.timeline(view)
    sample = selectors.judged_sample(view)
    return present(view, sample, series), selectors.newest_posts(view, sample)


def present_details(view: View) -> dict[str, Any]:
    """What the page asks for once the numbers are shown."""
    # First the streams: a view by languages or words then knows which posts are its newest.
    streams = selectors.by_stream(view)
    sample = selectors.judged_sample(view)
    return {
        **selectors.details(view, streams, sample),
        "promotions": selectors.promotions(view),
        "choices": {"languages": selectors.languages(sample, view.wanted.languages)},
    }


def present_comparison(view: View, against: Against) -> dict[str, Any]:
    """The view beside what it is held against, and how far apart they are."""
    told = selectors.comparison(view, against)
    return {**told, "verdict": summary.verdict(told)}


class _Line:
    """A file of one line, which `csv` writes and nobody keeps."""

    def write(self, text: str) -> str:
        return text


BAND = ("net_sentiment", "net_low", "net_high")
DIFFERENCE = ("net_difference", "difference_low", "difference_high")


def as_csv(view: View, against: Against | None = None) -> Iterator[str]:
    """The chart's bins as lines of CSV: start (UTC), posts of each category, all of them, net
    sentiment and its 95 % band (empty without posts); of a comparison the same of the other side,
    and how far net sentiment is apart."""
    writer = csv.writer(_Line())
    keys = [category.key for category in view.categories]
    columns = ["start", *keys, "total", *BAND]
    others = [] if against is None else [*(f"other_{name}" for name in columns), *DIFFERENCE]
    yield writer.writerow([*columns, *others])
    series = selectors.timeline(view)
    other = None if against is None else selectors.timeline(against.view)
    for index in range(len(series["bins"])):
        row, counts = _bin(view, series, index)
        if other is not None:
            beside, other_counts = _bin(view, other, index)
            apart = selectors.net_difference(counts, other_counts, view.categories)
            row += [*beside, *_figures([apart["difference"], apart["low"], apart["high"]])]
        yield writer.writerow(row)


def _bin(view: View, series: Timeline, index: int) -> tuple[list[Any], dict[str, int]]:
    counts = {key: values[index] for key, values in series["counts"].items()}
    band = selectors.net_band(counts, view.categories) or (None, None, None)
    return [series["bins"][index], *counts.values(), sum(counts.values()), *_figures(band)], counts


def _figures(values: Iterable[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.4f}" for value in values]
