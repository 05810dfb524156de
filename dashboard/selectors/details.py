"""What a view shows beside its counts: shares side by side, tags, confidence, promotions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import emoji
from django.db.models import Sum

from dashboard.models import SentimentBucket, SentimentPeriod
from dashboard.selectors.posts import Judged, reading, stream_ids_of
from dashboard.selectors.view import View
from ingestion.language_tags import primary
from ingestion.models import Post, Stream
from modeling.models import LabelScheme, Promotion

SHOWN = 12
MAXIMUM_PROMOTIONS = 50
CONFIDENCE_BINS = 10
HASHTAG = re.compile(r"(?<![\w&/])#(\w*[^\W\d]\w*)")


class Group(TypedDict):
    """Posts of one stream, language or source, by category."""

    name: str
    counts: dict[str, int]


class Tag(TypedDict):
    """A hashtag or an emoji, and in how many posts of each category it is."""

    name: str
    counts: dict[str, int]


class PromotionMark(TypedDict):
    at: str
    version: str
    reason: str


class Details(TypedDict):
    """`sampled` is how many of the newest posts all but `streams` are taken from: these are of all
    that the view counts."""

    sampled: int
    streams: list[Group]
    languages: list[Group]
    sources: list[Group]
    hashtags: list[Tag]
    emoji: list[Tag]
    # By category, how many posts were judged with a confidence in each tenth of 0 to 1.
    confidence: dict[str, list[int]]


def details(view: View, streams: list[Group], sample: Sequence[Judged]) -> Details:
    """What the page's second half shows; `streams` as `by_stream` counts them."""
    names = dict(Post._meta.get_field("source").flatchoices)
    return Details(
        sampled=len(sample),
        streams=streams,
        languages=_grouped((primary(row["post__lang"]) or "unknown", row) for row in sample),
        sources=_grouped(
            (str(names.get(row["post__source"], row["post__source"])), row) for row in sample
        ),
        hashtags=_tags(sample, hashtags_of),
        emoji=_tags(sample, _emoji),
        confidence=_confidence(view, sample),
    )


def by_stream(view: View) -> list[Group]:
    """The view's largest streams. A post of several counts in each of them."""
    rows = _of_posts(view) if view.wanted.reads_posts else _of_roll_ups(view)
    keys = {category.pk: category.key for category in view.categories}
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for stream, category, count in rows:
        counts[stream][keys[category]] = count
    largest = sorted(counts, key=lambda stream: -sum(counts[stream].values()))[:SHOWN]
    names = dict(Stream.objects.filter(pk__in=largest).values_list("pk", "name"))
    return [Group(name=names[pk], counts=counts[pk]) for pk in largest if pk in names]


def _of_posts(view: View) -> Iterable[tuple[int, int, int]]:
    """Streams and categories of the posts that a view by languages or words counts."""
    categories = {row.post_id: row.category_id for row in reading(view)}
    counts: Counter[tuple[int, int]] = Counter()
    for post, streams in stream_ids_of(list(categories)).items():
        for stream in streams:
            if not view.wanted.streams or stream in view.wanted.streams:
                counts[stream, categories[post]] += 1
    return [(stream, category, count) for (stream, category), count in counts.items()]


def _of_roll_ups(view: View) -> Iterable[tuple[int, int, int]]:
    length = next((s for s in (86400, 3600) if view.bin_seconds % s == 0), None)
    rows: Any
    if length is None:
        rows = SentimentBucket.objects.filter(minute__gte=view.first, minute__lte=view.end)
    else:
        rows = SentimentPeriod.objects.filter(
            seconds=length, start__gte=view.first, start__lte=view.end
        )
    rows = rows.filter(stream__isnull=False, category__in=view.categories).order_by()
    if view.wanted.streams:
        rows = rows.filter(stream__in=view.wanted.streams)
    counted: Iterable[tuple[int, int, int]] = rows.values_list("stream", "category").annotate(
        Sum("count")
    )
    return counted


def _grouped(rows: Iterable[tuple[str, Judged]]) -> list[Group]:
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for name, row in rows:
        groups[name][row["category__key"]] += 1
    largest = sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))[:SHOWN]
    return [Group(name=name, counts=dict(counts)) for name, counts in largest]


def _tags(sample: Sequence[Judged], find: Any) -> list[Tag]:
    """The most frequent; one counts once a post."""
    found = ((name, row) for row in sample for name in find(row["post__text"]))
    return [Tag(name=g["name"], counts=g["counts"]) for g in _grouped(found)]


def hashtags_of(text: str) -> set[str]:
    """Lower-cased, each once."""
    return {f"#{name.lower()}" for name in HASHTAG.findall(text)}


def _emoji(text: str) -> set[str]:
    if text.isascii():
        return set()
    return {found["emoji"] for found in emoji.emoji_list(text)}


def _confidence(view: View, sample: Sequence[Judged]) -> dict[str, list[int]]:
    bins = {category.key: [0] * CONFIDENCE_BINS for category in view.categories}
    for row in sample:
        index = min(int(row["confidence"] * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)
        bins[row["category__key"]][index] += 1
    return bins


def promotions(view: View) -> list[PromotionMark]:
    """What began to serve within the view, newest first."""
    rows = Promotion.objects.filter(
        scheme__key=LabelScheme.DEFAULT_KEY,
        promoted_at__gte=view.first,
        promoted_at__lte=view.end,
    )
    return [
        PromotionMark(
            at=row.promoted_at.isoformat(), version=str(row.version.version), reason=row.reason
        )
        for row in rows.select_related("version")[:MAXIMUM_PROMOTIONS]
    ]
