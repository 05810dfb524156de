"""What the websocket tells: what was judged or withdrawn since the last look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Avg, Count, F, Max, Model, OuterRef, Q, Subquery
from django.utils import timezone

from dashboard.events import CountEvent, ModelEvent, PostEvent
from dashboard.models import Withdrawal
from dashboard.selectors.posts import NEWEST, POST_FIELDS, as_events, stream_ids_of
from dashboard.selectors.view import floor
from modeling.models import LabelScheme, ModelVersion, Prediction, Promotion

TICK_LIMIT = 2000
LIVE_WINDOW = timedelta(seconds=60)


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
    return [row[0] for row in rows], counts, as_events(newest.order_by("-id").values(*POST_FIELDS))


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
            counted[floor(created_at, 60), stream, key] += each
    return [
        CountEvent(minute=minute.isoformat(), stream=stream, category=key, count=count)
        for (minute, stream, key), count in counted.items()
    ]


def serving_model() -> ModelEvent:
    """The champion, by the database, and its newest line of the ledger."""
    lines = Promotion.objects.filter(version=OuterRef("pk"), scheme=OuterRef("scheme"))
    newest = lines.order_by("-promoted_at", "-id")
    champions = ModelVersion.objects.champions().of_scheme(LabelScheme.DEFAULT_KEY)
    # `Any`, as annotations have no static type.
    version: Any = champions.annotate(
        since=Subquery(newest.values("promoted_at")[:1]),
        reason=Subquery(newest.values("reason")[:1]),
    ).first()
    if version is None:
        return ModelEvent(
            type="model", version=None, base_model="", macro_recall=None, since=None, reason=""
        )
    return ModelEvent(
        type="model",
        version=str(version.version),
        base_model=version.base_model,
        macro_recall=version.metrics.get("test", {}).get("macro_recall"),
        since=None if version.since is None else version.since.isoformat(),
        reason=version.reason or "",
    )
