"""The numbers that pages and websocket show."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Avg, Count, F, Max, Min, Model, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from dashboard.events import CountEvent, ModelEvent, PostEvent
from dashboard.models import SentimentBucket, Withdrawal
from ingestion.models import Post, Stream
from modeling.ml import terms
from modeling.models import Category, LabelScheme, ModelVersion, Prediction

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
NEWEST = 30
TERM_SAMPLE = 1500
TICK_LIMIT = 2000
LIVE_WINDOW = timedelta(seconds=60)
# What fits the database's integers.
STREAM_ID = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class View:
    """What a page looks at: a time range and one stream, or all of them."""

    start: datetime
    end: datetime
    range_key: str
    stream_id: int | None = None

    @property
    def bin_seconds(self) -> int:
        span = (self.end - self.start).total_seconds()
        return next((s for s in BIN_SECONDS if span / s <= MAXIMUM_BINS), BIN_SECONDS[-1])

    @property
    def first(self) -> datetime:
        """Where the first bin begins, at `start` or a little before: what every number counts
        from, so that the chart's bars add up to the totals."""
        return _floor(self.start, self.bin_seconds)


def view_of(query: Mapping[str, str]) -> View:
    """The view that a URL asks for by `range` and `stream`; values that mean nothing are left
    out."""
    stream = query.get("stream", "")
    return make_view(query.get("range"), int(stream) if STREAM_ID.fullmatch(stream) else None)


def make_view(range_key: str | None, stream_id: int | None) -> View:
    """A view from what the URL says; with no range, the shortest that holds the newest posts."""
    now = timezone.now()
    span = _buckets(stream_id).aggregate(first=Min("minute"), last=Max("minute"))
    newest = span["last"] or now
    if range_key not in RANGES:
        range_key = _fitting_range(now - (span["first"] or now), now - newest)
    length = RANGES[range_key]
    if length is None:
        start = span["first"] or now - timedelta(hours=1)
        # Old posts fill the chart; the present joins it only when posts arrive now.
        end = now if now - newest < timedelta(days=1) else newest + timedelta(minutes=1)
        return View(start, end, range_key, stream_id)
    return View(now - length, now, range_key, stream_id)


def _fitting_range(age: timedelta, silence: timedelta) -> str:
    if silence > timedelta(hours=1):
        return "all"
    return "15m" if age < timedelta(minutes=30) else "1h"


def _buckets(stream_id: int | None) -> QuerySet[SentimentBucket]:
    return SentimentBucket.objects.filter(
        stream=stream_id, category__scheme__key=LabelScheme.DEFAULT_KEY
    )


def categories() -> list[Category]:
    """Of the default scheme, in order."""
    return list(Category.objects.filter(scheme__key=LabelScheme.DEFAULT_KEY))


def streams() -> list[Stream]:
    """Every stream, by name."""
    return list(Stream.objects.all())


def source_of(view: View) -> str | None:
    """The source of the view's stream; None when it shows all."""
    if view.stream_id is None:
        return None
    return Stream.objects.filter(pk=view.stream_id).values_list("source", flat=True).first() or ""


def totals(view: View) -> dict[str, int]:
    """Posts of each category in the view."""
    rows = (
        _buckets(view.stream_id)
        .filter(minute__gte=view.first, minute__lte=view.end)
        .values_list("category__key")
        .annotate(total=Sum("count"))
    )
    return dict(rows.values_list("category__key", "total"))


def timeline(view: View) -> dict[str, Any]:
    """Counts by category over time: `bins` (ISO times, oldest first) and `counts` by category,
    aligned with them."""
    width = view.bin_seconds
    first = view.first
    size = int((view.end - first).total_seconds() // width) + 1
    counts = {category.key: [0] * size for category in categories()}
    buckets = _buckets(view.stream_id).filter(minute__gte=first, minute__lte=view.end)
    moment: Any = F("minute")
    if width >= 86400:
        moment = TruncDay("minute", tzinfo=UTC)
    elif width >= 3600:
        moment = TruncHour("minute", tzinfo=UTC)
    rows = buckets.values(moment=moment, key=F("category__key")).annotate(total=Sum("count"))
    for row in rows.order_by():
        index = int((row["moment"] - first).total_seconds() // width)
        counts[row["key"]][max(index, 0)] += row["total"]
    bins = [(first + timedelta(seconds=width * i)).isoformat() for i in range(size)]
    return {"bin_seconds": width, "bins": bins, "counts": counts}


def _floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, tz=UTC)


def net_sentiment(counts: dict[str, int]) -> float | None:
    """Mean polarity, −1 to 1; None without posts or polarities."""
    polarity = {c.key: c.polarity for c in categories() if c.polarity is not None}
    total = sum(counts.get(key, 0) for key in polarity)
    if not total:
        return None
    return sum(value * counts.get(key, 0) for key, value in polarity.items()) / total


def _serving(view: View) -> QuerySet[Prediction]:
    predictions = (
        Prediction.objects.serving().of_current_posts().filter(scheme__key=LabelScheme.DEFAULT_KEY)
    )
    if view.stream_id is not None:
        predictions = predictions.filter(post__streams=view.stream_id)
    if RANGES[view.range_key] is not None:
        predictions = predictions.filter(post__created_at__gte=view.first)
    return predictions


def newest_posts(view: View, limit: int = NEWEST) -> list[PostEvent]:
    """The newest judged posts of the view, newest first."""
    return _as_events(_serving(view).order_by("-post__created_at", "-id")[:limit])


def distinctive_terms(view: View) -> dict[str, list[dict[str, Any]]]:
    """By category, the words that set its posts apart, from the newest posts of the view."""
    rows = _serving(view).order_by("-id").values_list("category__key", "post__text")[:TERM_SAMPLE]
    return {
        key: [{"word": word, "count": count, "z": z} for word, count, z in ranked]
        for key, ranked in terms.distinctive(rows).items()
    }


def _as_events(predictions: QuerySet[Prediction]) -> list[PostEvent]:
    rows = list(predictions.select_related("post", "category"))
    links = stream_ids_of([row.post_id for row in rows])
    return [
        PostEvent(
            id=row.post_id,
            text=row.post.text,
            author=row.post.author_username or row.post.author_name,
            source=row.post.source,
            lang=row.post.lang,
            created_at=row.post.created_at.isoformat(),
            category=row.category.key,
            confidence=round(row.confidence, 3),
            streams=links[row.post_id],
        )
        for row in rows
    ]


def stream_ids_of(post_ids: Sequence[int]) -> dict[int, list[int]]:
    """The streams of each post; a post of none has an empty list."""
    links: dict[int, list[int]] = defaultdict(list)
    through = Post.streams.through.objects.filter(post_id__in=post_ids)
    for post_id, stream_id in through.values_list("post_id", "stream_id"):
        links[post_id].append(stream_id)
    return links


def latest_id(table: type[Model]) -> int:
    """Where a live view starts to read a table."""
    return table._default_manager.aggregate(last=Max("pk"))["last"] or 0


def rate() -> tuple[float, float | None]:
    """Posts judged a minute, now, and the mean seconds from a post's arrival to its judgement."""
    recent = Prediction.objects.serving().filter(created_at__gte=timezone.now() - LIVE_WINDOW)
    figures = recent.aggregate(count=Count("id"), lag=Avg(F("created_at") - F("post__received_at")))
    lag = figures["lag"]
    return figures["count"], None if lag is None else round(lag.total_seconds(), 2)


def news_since(
    last_id: int, missing: Collection[int] = ()
) -> tuple[list[int], list[CountEvent], list[PostEvent]]:
    """What was judged after prediction `last_id`, and those of the `missing` that are there now:
    ids in order, counts, the newest posts.

    The counts hold posts that were withdrawn meanwhile: `withdrawn_since` takes them off.
    Bounded: beyond TICK_LIMIT predictions the rest comes with the next call.
    """
    fresh = Prediction.objects.serving().filter(
        Q(id__gt=last_id) | Q(id__in=missing), scheme__key=LabelScheme.DEFAULT_KEY
    )
    rows = list(
        fresh.order_by("id").values_list("id", "post_id", "post__created_at", "category__key")[
            :TICK_LIMIT
        ]
    )
    if not rows:
        return [], [], []
    counts = _counts((row[1:] for row in rows), each=1)
    newest_ids = [row[0] for row in rows[-NEWEST:]]
    newest = Prediction.objects.filter(id__in=newest_ids).of_current_posts()
    return [row[0] for row in rows], counts, _as_events(newest.order_by("-id"))


def withdrawn_since(
    last_id: int, missing: Collection[int] = ()
) -> tuple[list[int], list[CountEvent], list[int]]:
    """Which posts stopped counting after withdrawal `last_id`, and by the `missing` that are
    there now: ids of withdrawals, counts below zero, ids of posts. Bounded as `news_since`."""
    fresh = Withdrawal.objects.filter(Q(id__gt=last_id) | Q(id__in=missing))
    rows = list(fresh.order_by("id").values_list("id", "post_id")[:TICK_LIMIT])
    if not rows:
        return [], [], []
    posts = [post_id for _, post_id in rows]
    judged = Prediction.objects.serving().filter(
        post_id__in=posts, scheme__key=LabelScheme.DEFAULT_KEY
    )
    counts = _counts(judged.values_list("post_id", "post__created_at", "category__key"), each=-1)
    return [row[0] for row in rows], counts, posts


def _counts(judged: Iterable[tuple[int, datetime, str]], each: int) -> list[CountEvent]:
    """Judgements (post, time, category) summed by minute, stream and category."""
    rows = list(judged)
    links = stream_ids_of([post_id for post_id, _, _ in rows])
    counted: dict[tuple[datetime, int | None, str], int] = defaultdict(int)
    for post_id, created_at, key in rows:
        for stream in (None, *links[post_id]):
            counted[_floor(created_at, 60), stream, key] += each
    return [
        CountEvent(minute=minute.isoformat(), stream=stream, category=key, count=count)
        for (minute, stream, key), count in counted.items()
    ]


def serving_model() -> ModelEvent:
    """The champion, by the database."""
    version = ModelVersion.objects.champions().of_scheme(LabelScheme.DEFAULT_KEY).first()
    if version is None:
        return ModelEvent(type="model", version=None, base_model="", macro_recall=None)
    return ModelEvent(
        type="model",
        version=str(version.version),
        base_model=version.base_model,
        macro_recall=version.metrics.get("test", {}).get("macro_recall"),
    )
