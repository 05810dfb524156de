"""What a page looks at, and how its address says it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import QueryDict
from django.utils import timezone

from dashboard.models import SentimentBucket
from ingestion.language_tags import normalised
from ingestion.models import Stream
from ingestion.selectors import language_tags
from modeling.models import Category, LabelScheme

RANGES: dict[str, timedelta | None] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "all": None,
}
# Widths of a chart's bins; the first that makes at most MAXIMUM_BINS of them is taken.
BIN_SECONDS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
MAXIMUM_BINS = 90
MAXIMUM_STREAMS = 20
MAXIMUM_LANGUAGES = 20
MAXIMUM_WORDS = 100
# What fits the database's integers.
STREAM_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Wanted:
    """Which posts: of any of the streams, in any of the languages (en is en-gb, too), with all of
    the words. Empty is every one. `categories` says what lists and charts show; shares are
    always of all."""

    streams: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    words: str = ""

    @property
    def reads_posts(self) -> bool:
        """Roll-ups know neither languages nor words: then posts are counted one by one."""
        return bool(self.languages or self.words)


@dataclass(frozen=True)
class View:
    """What a page looks at: a time range, and which posts."""

    start: datetime
    end: datetime
    range_key: str
    wanted: Wanted = Wanted()
    # Of the default scheme, in order.
    categories: tuple[Category, ...] = field(default=(), compare=False)
    # Those of the wanted streams; None is every one.
    sources: tuple[str, ...] | None = field(default=None, compare=False)
    # How stored posts name the wanted languages, regions and all: by these an index finds them.
    tags: tuple[str, ...] = field(default=(), compare=False)
    # Where it ends though posts came later; None while it goes on.
    until: datetime | None = None
    # What was looked up of it already, by what it is.
    known: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def bin_seconds(self) -> int:
        span = (self.end - self.start).total_seconds()
        return next((s for s in BIN_SECONDS if span / s <= MAXIMUM_BINS), BIN_SECONDS[-1])

    @property
    def first(self) -> datetime:
        """Where the first bin begins, at `start` or a little before: what every number counts
        from, so that the chart's bars add up to the totals."""
        return floor(self.start, self.bin_seconds)

    @property
    def shown(self) -> tuple[Category, ...]:
        """The categories that lists and charts show."""
        return tuple(c for c in self.categories if c.key in self.wanted.categories) or (
            self.categories
        )


def floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, tz=UTC)


def view_of(query: QueryDict) -> View:
    """The view that a URL asks for by `range`, `stream`, `lang`, `category` (each of these any
    number of times) and `q`; values that mean nothing are left out."""
    streams = [int(text) for text in query.getlist("stream") if STREAM_ID.fullmatch(text)]
    languages = [tag for text in query.getlist("lang") if (tag := normalised(text))]
    words = " ".join(query.get("q", "").replace("\0", "").split())[:MAXIMUM_WORDS]
    wanted = Wanted(
        streams=tuple(_once(streams)[:MAXIMUM_STREAMS]),
        languages=tuple(_once(languages)[:MAXIMUM_LANGUAGES]),
        categories=tuple(_once(query.getlist("category"))[:MAXIMUM_LANGUAGES]),
        words=words,
    )
    return make_view(query.get("range"), wanted)


def _once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def make_view(range_key: str | None = None, wanted: Wanted | Sequence[int] = ()) -> View:
    """A view; with no range, the shortest that holds the newest posts. `wanted` may be ids of
    streams alone."""
    if not isinstance(wanted, Wanted):
        wanted = Wanted(streams=tuple(wanted))
    now = timezone.now()
    found = tuple(categories())
    # Each row's first and last minute come with it; `Any`, as annotations have no static type.
    spans: Sequence[Any] = found
    sources = None
    if wanted.streams:
        spans = list(_spans_of_streams(wanted.streams, found))
        sources = tuple(sorted({stream.source for stream in spans}))
    rows = [row for row in spans if row.first_minute is not None]
    oldest = min((row.first_minute for row in rows), default=None)
    newest = max((row.last_minute for row in rows), default=now)
    if range_key not in RANGES:
        range_key = _fitting_range(now - (oldest or now), now - newest)
    tags = tuple(language_tags(wanted.languages))
    length = RANGES[range_key]
    if length is None:
        start = oldest or now - timedelta(hours=1)
        # Old posts fill the chart; the present joins it only when posts arrive now.
        end = now if now - newest < timedelta(days=1) else newest + timedelta(minutes=1)
        return View(start, end, range_key, wanted, found, sources, tags)
    return View(now - length, now, range_key, wanted, found, sources, tags)


def _fitting_range(age: timedelta, silence: timedelta) -> str:
    if silence > timedelta(hours=1):
        return "all"
    return "15m" if age < timedelta(minutes=30) else "1h"


def categories() -> list[Category]:
    """Of the default scheme, in order; each with the `first_minute` and `last_minute` that have
    a post of it."""
    own = SentimentBucket.objects.filter(stream__isnull=True, category=OuterRef("pk"))
    return list(Category.objects.filter(scheme__key=LabelScheme.DEFAULT_KEY).annotate(**_ends(own)))


def _spans_of_streams(ids: Sequence[int], of: Sequence[Category]) -> QuerySet[Stream]:
    own = SentimentBucket.objects.filter(
        stream=OuterRef("pk"), category__in=[category.pk for category in of]
    )
    return Stream.objects.filter(pk__in=ids).annotate(**_ends(own))


def _ends(buckets: QuerySet[SentimentBucket]) -> dict[str, Subquery]:
    """Each a look at one end of an index, where Min and Max might read all of it."""
    return {
        "first_minute": Subquery(buckets.order_by("minute").values("minute")[:1]),
        "last_minute": Subquery(buckets.order_by("-minute").values("minute")[:1]),
    }
