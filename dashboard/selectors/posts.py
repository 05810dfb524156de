"""The posts of a view: the newest of them, and what they are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict, cast

from django.db.models import Exists, OuterRef, Q, QuerySet

from dashboard.events import PostEvent, TermEvent
from dashboard.selectors.view import RANGES, View
from ingestion.models import Post
from ingestion.models.posts import holding
from modeling.ml import terms
from modeling.models import Prediction

NEWEST = 30
# Words and the like are taken from so many of the newest posts.
SAMPLE = 1500
# Where languages or words are asked for, so many of the newest posts are looked at.
SCANNED = 20_000
POST_FIELDS = (
    *("post_id", "post__text", "post__author_username", "post__author_name", "post__source"),
    *("post__lang", "post__created_at", "category__key", "confidence"),
)


class Edge(NamedTuple):
    """A post's place among the newest."""

    created_at: datetime
    id: int


class Reading(NamedTuple):
    """One post's judgement, as a chart counts it."""

    post_id: int
    created_at: datetime
    category_id: int


class Judged(TypedDict):
    """A post with the judgement that counts."""

    post_id: int
    post__text: str
    post__author_username: str
    post__author_name: str
    post__source: str
    post__lang: str
    post__created_at: datetime
    category__key: str
    confidence: float


def within(view: View, path: str = "") -> Q:
    """What the view asks of a post but for words; `path` leads to the post, as `post__`."""
    wanted = Q(**{f"{path}deleted_at__isnull": True, f"{path}is_superseded": False})
    if RANGES[view.range_key] is not None or view.until is not None:
        wanted &= Q(**{f"{path}created_at__gte": view.first})
    if view.until is not None:
        wanted &= Q(**{f"{path}created_at__lt": view.until})
    if view.wanted.streams:
        links = Post.streams.through.objects.filter(stream_id__in=view.wanted.streams)
        wanted &= Q(Exists(links.filter(post_id=OuterRef(f"{path}pk"))))
    if view.wanted.languages:
        wanted &= Q(**{f"{path}lang__in": view.tags})
    return wanted


def edge(view: View) -> Edge | None:
    """Of a view by languages or words the oldest post that is looked at, where older ones are left
    out: it is the SCANNED-th newest, before words are looked for. Asked for once a view."""
    if "edge" not in view.known:
        newest = Post.objects.filter(within(view)).order_by("-created_at", "-id")
        found = newest.values_list("created_at", "id")[SCANNED - 1 : SCANNED]
        view.known["edge"] = next((Edge(*row) for row in found), None)
    return cast("Edge | None", view.known["edge"])


def judgements(view: View) -> QuerySet[Prediction]:
    """What counts in the view; of views by language or words, of posts among the newest SCANNED."""
    serving = Prediction.objects.serving().filter(within(view, "post__"))
    serving = serving.filter(category__in=view.categories)
    if not view.wanted.reads_posts:
        return serving
    oldest = edge(view)
    if oldest is not None:
        serving = serving.filter(
            Q(post__created_at__gt=oldest.created_at) | Q(post_id__gte=oldest.id),
            # Says nothing new, but is what an index answers.
            post__created_at__gte=oldest.created_at,
        )
    return holding(serving, view.wanted.words, "post__") if view.wanted.words else serving


def reading(view: View) -> list[Reading]:
    """Everything that counts in a view by languages or words, newest first. Asked for once a view;
    at most SCANNED."""
    if "reading" not in view.known:
        rows = judgements(view).order_by("-post__created_at", "-post_id")
        found = rows.values_list("post_id", "post__created_at", "category_id")
        view.known["reading"] = [Reading(*row) for row in found[:SCANNED]]
    return cast(list[Reading], view.known["reading"])


def judged_sample(view: View) -> list[Judged]:
    """The newest SAMPLE judged posts of the view, newest first, of all categories."""
    rows: QuerySet[Prediction] = judgements(view)
    if "reading" in view.known:
        ids = [row.post_id for row in reading(view)[:SAMPLE]]
        rows = Prediction.objects.serving().filter(post_id__in=ids, category__in=view.categories)
    ordered = rows.order_by("-post__created_at", "-post_id").values(*POST_FIELDS)
    return cast(list[Judged], list(ordered[:SAMPLE]))


def newest_posts(view: View, sample: Sequence[Judged] | None = None) -> list[PostEvent]:
    """The newest judged posts that the view shows, newest first."""
    shown = {category.key for category in view.shown}
    rows = judged_sample(view) if sample is None else sample
    return as_events([row for row in rows if row["category__key"] in shown][:NEWEST])


def posts_of_bin(view: View, start: datetime) -> list[PostEvent]:
    """The newest judged posts that a bin of the view's chart counts."""
    end = start + timedelta(seconds=view.bin_seconds)
    of_bin = judgements(view).filter(post__created_at__gte=start, post__created_at__lt=end)
    rows = of_bin.filter(category__in=view.shown).order_by("-post__created_at", "-post_id")
    return as_events(rows.values(*POST_FIELDS)[:NEWEST])


def distinctive_terms(
    view: View, sample: Sequence[Judged] | None = None
) -> dict[str, list[TermEvent]]:
    """By category, the words that set its posts apart, from the newest posts of the view."""
    rows = judged_sample(view) if sample is None else sample
    found = terms.distinctive((row["category__key"], row["post__text"]) for row in rows)
    return {
        key: [TermEvent(word=word, count=count, z=z) for word, count, z in ranked]
        for key, ranked in found.items()
    }


def as_events(found: Iterable[Any]) -> list[PostEvent]:
    rows = list(found)
    links = stream_ids_of([row["post_id"] for row in rows])
    return [_as_event(row, links[row["post_id"]]) for row in rows]


def _as_event(row: Judged, streams: list[int]) -> PostEvent:
    return PostEvent(
        id=row["post_id"],
        text=row["post__text"],
        author=row["post__author_username"] or row["post__author_name"],
        source=row["post__source"],
        lang=row["post__lang"],
        created_at=row["post__created_at"].isoformat(),
        category=row["category__key"],
        confidence=round(row["confidence"], 3),
        streams=streams,
    )


def stream_ids_of(post_ids: Sequence[int]) -> dict[int, list[int]]:
    """The streams of each post; a post of none has an empty list."""
    links: dict[int, list[int]] = defaultdict(list)
    through = Post.streams.through.objects.filter(post_id__in=post_ids)
    for post_id, stream_id in through.values_list("post_id", "stream_id"):
        links[post_id].append(stream_id)
    return links
