"""A view held against another: another stream in the same time, or another time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Literal, TypedDict

from django.http import QueryDict
from django.utils.dateparse import parse_date, parse_datetime

from dashboard.events import TermEvent
from dashboard.selectors.counts import Timeline, net_band, timeline, totals
from dashboard.selectors.details import hashtags_of
from dashboard.selectors.posts import Judged, judged_sample
from dashboard.selectors.view import RANGES, STREAM_ID, View, floor
from ingestion.models import Stream
from modeling.ml import terms
from modeling.ml.estimate import wilson
from modeling.models import Category

Kind = Literal["before", "since", "stream"]
# A value, and the ends of its 95 % band.
Band = tuple[float, float, float]
MINUTE = timedelta(minutes=1)
TOLD = 40


class NotComparable(ValueError):
    """What the address asks to compare with is none; the message says what to choose."""


@dataclass(frozen=True)
class Against:
    """What a view is held against. Its bins are those of the view, `shift` earlier."""

    kind: Kind
    view: View
    shift: timedelta = timedelta(0)
    stream: str = ""


class Side(TypedDict):
    """Posts of one side: when, how many of each category, how many the words are taken from."""

    start: str
    end: str
    counts: dict[str, int]
    total: int
    sampled: int


class Difference(TypedDict):
    """A measure of both sides, and this one minus the other with its 95 % band. It `is_noise`
    when the band holds 0. None where a side has no posts."""

    this: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    is_noise: bool


class Apart(TypedDict):
    """What sets each side apart from the other."""

    this: list[TermEvent]
    other: list[TermEvent]


class Comparison(TypedDict):
    """`bins` are the other side's counts by category, aligned with the view's bins."""

    kind: Kind
    stream: str
    shift_seconds: int
    this: Side
    other: Side
    net: Difference
    shares: dict[str, Difference]
    bins: dict[str, list[int]]
    words: Apart
    hashtags: Apart


def against_of(query: QueryDict, view: View) -> Against | None:
    """What a URL's `against` holds the view against: `before`, `since` with a time, or the id of
    a stream. None when it names nothing; raises NotComparable."""
    asked = query.get("against", "").strip()
    if not asked:
        return None
    if asked == "before":
        return _before(view)
    if asked == "since":
        return _since(view, query.get("since", "").strip())
    if STREAM_ID.fullmatch(asked):
        return _stream(view, int(asked))
    raise NotComparable(
        f"“{asked[:TOLD]}” is nothing to compare with. Choose a stream, the period before, or a "
        "period that begins at a time of yours."
    )


def _before(view: View) -> Against:
    return _earlier("before", view, _length(view))


def _since(view: View, asked: str) -> Against:
    start = _moment(asked)
    if start is None:
        raise NotComparable(
            f"“{asked[:TOLD]}” is no time from which a period could begin: write it as 2026-03-01 "
            "or 2026-03-01T12:00Z."
        )
    latest = view.first - _length(view)
    if start > latest:
        raise NotComparable(
            f"A period of {view.range_key} from {start:%Y-%m-%d %H:%M} UTC on reaches into the one "
            f"shown. Let it begin at {latest:%Y-%m-%d %H:%M} UTC or before."
        )
    return _earlier("since", view, view.first - floor(start, view.bin_seconds))


def _length(view: View) -> timedelta:
    length = RANGES[view.range_key]
    if length is None:
        raise NotComparable(
            "All posts have no other period to be compared with. Choose a shorter time range."
        )
    return length


def _moment(text: str) -> datetime | None:
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError:
        return None
    if day is not None:
        found = datetime(day.year, day.month, day.day)
    if found is None or not 1900 < found.year < 3000:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _earlier(kind: Kind, view: View, shift: timedelta) -> Against:
    """The view's bins so much earlier, up to where the view begins: no post is of both."""
    start, end = view.start - shift, view.end - shift
    until = min(floor(end, 60), view.first)
    return Against(kind, replace(view, start=start, end=end, until=until), shift)


def _stream(view: View, pk: int) -> Against:
    if view.wanted.streams == (pk,):
        raise NotComparable("A stream is not compared with itself. Choose another, or a period.")
    stream = Stream.objects.filter(pk=pk).first()
    if stream is None:
        raise NotComparable(f"There is no stream {pk} to compare with. Choose one of the list.")
    # All posts of a stream are those of the view's time.
    until = floor(view.end, 60) + MINUTE if RANGES[view.range_key] is None else None
    wanted = replace(view.wanted, streams=(pk,))
    other = replace(view, wanted=wanted, sources=(stream.source,), until=until)
    return Against("stream", other, stream=stream.name)


def comparison(view: View, against: Against) -> Comparison:
    """Both sides, and how far apart they are. A post of both streams counts in both: then the
    bands are wider than they need be."""
    sides = (view, against.view)
    series = [timeline(side) for side in sides]
    samples = [judged_sample(side) for side in sides]
    this, other = (
        _side(side, own, sample) for side, own, sample in zip(sides, series, samples, strict=True)
    )
    return Comparison(
        kind=against.kind,
        stream=against.stream,
        shift_seconds=int(against.shift.total_seconds()),
        this=this,
        other=other,
        net=net_difference(this["counts"], other["counts"], view.categories),
        shares={
            c.key: share_difference(this["counts"], other["counts"], c.key) for c in view.shown
        },
        bins=series[1]["counts"],
        words=_apart(samples[0], samples[1]),
        hashtags=_apart(samples[0], samples[1], find=hashtags_of),
    )


def _side(view: View, series: Timeline, sample: Sequence[Judged]) -> Side:
    counts = totals(view, series)
    return Side(
        start=view.first.isoformat(),
        end=(view.until or view.end).isoformat(),
        counts=counts,
        total=sum(counts.values()),
        sampled=len(sample),
    )


def net_difference(
    this: Mapping[str, int], other: Mapping[str, int], categories: Sequence[Category]
) -> Difference:
    """Of the mean polarities."""
    return _difference(net_band(this, categories), net_band(other, categories))


def share_difference(this: Mapping[str, int], other: Mapping[str, int], key: str) -> Difference:
    """Of a category's shares: Newcombe's interval (1998, method 10)."""
    return _difference(_share_band(this, key), _share_band(other, key))


def _share_band(counts: Mapping[str, int], key: str) -> Band | None:
    total, own = sum(counts.values()), counts.get(key, 0)
    return (own / total, *wilson(own, total)) if total else None


def _difference(this: Band | None, other: Band | None) -> Difference:
    """The band of a difference from the bands of its parts, as if these were independent (Zou &
    Donner 2008, which on Wilson's intervals is Newcombe's)."""
    if this is None or other is None:
        return Difference(
            this=this and this[0],
            other=other and other[0],
            difference=None,
            low=None,
            high=None,
            is_noise=True,
        )
    (one, one_low, one_high), (two, two_low, two_high) = this, other
    difference = one - two
    low = difference - sqrt((one - one_low) ** 2 + (two_high - two) ** 2)
    high = difference + sqrt((one_high - one) ** 2 + (two - two_low) ** 2)
    return Difference(
        this=one, other=two, difference=difference, low=low, high=high, is_noise=low <= 0 <= high
    )


def _apart(
    this: Sequence[Judged],
    other: Sequence[Judged],
    find: Callable[[str], Collection[str]] | None = None,
) -> Apart:
    """Words, or what `find` finds, by log-odds with a prior. Nothing unless both have posts."""
    if not this or not other:
        return Apart(this=[], other=[])
    pairs = [
        *(("this", row["post__text"]) for row in this),
        *(("other", row["post__text"]) for row in other),
    ]
    found = terms.distinctive(pairs) if find is None else terms.distinctive(pairs, find=find)
    told = {
        side: [TermEvent(word=word, count=count, z=z) for word, count, z in ranked]
        for side, ranked in found.items()
    }
    return Apart(this=told["this"], other=told["other"])
