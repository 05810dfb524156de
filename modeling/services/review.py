"""A second look at labels: what people flagged, what is probably wrong, how each of them does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Annotation, Assignment, LabelScheme, TrainingPost
from modeling.services import agreement, likeness

# Of the newest so many labels; more would take a page too long.
NEWEST = 3000
SHOWN = 30


@dataclass(frozen=True)
class Doubt:
    """A label that the model finds improbable. Probabilities are of the given label and of the
    model's."""

    post: Post
    person: str
    given: str
    given_score: float
    likelier: str
    likelier_score: float


@dataclass(frozen=True)
class Clash:
    """Posts that read alike and are labelled differently."""

    labels: Sequence[tuple[Post, str, str]]


@dataclass(frozen=True)
class Annotator:
    """What one person has done. `seconds` is their median a post; shares are 0 to 1, None where
    there is nothing to compare."""

    name: str
    labels: int
    last_day: int
    last_at: datetime
    seconds: float | None
    agreeing: float | None
    compared: int
    gold: float | None
    gold_posts: int


@dataclass(frozen=True)
class Accuracy:
    """The model's, on posts drawn at random that it had judged before anybody labelled them."""

    posts: int
    right: int

    @property
    def share(self) -> float | None:
        return self.right / self.posts if self.posts else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's, at 95 %; None without posts."""
        n, z = self.posts, 1.96
        if not n:
            return None
        share = self.right / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
        return max(0.0, centre - half), min(1.0, centre + half)


def flagged(scheme: LabelScheme) -> list[Assignment]:
    """What people flagged and nobody has settled, newest first."""
    flags = Assignment.objects.filter(
        scheme=scheme, status=Assignment.Status.FLAGGED, post__deleted_at__isnull=True
    )
    return list(flags.select_related("post", "annotator").order_by("-pk")[:SHOWN])


def unlearned_labels(scheme: LabelScheme, *judged: Q) -> QuerySet[Any]:
    """Labels of posts that the version which judged them had not learned from; `judge` is that
    version, and `judged` holds conditions on its prediction (`post__predictions__…`)."""
    learned = TrainingPost.objects.filter(
        post=OuterRef("post"), version=OuterRef("judge"), split=TrainingPost.Split.TRAIN
    )
    return (
        Annotation.objects.usable()
        .filter(
            *judged,
            scheme=scheme,
            post__predictions__scheme=scheme,
            post__predictions__is_serving=True,
        )
        # Named, so that it is the prediction of the line above: in a condition of its own the same
        # path would stand for any prediction of the post.
        .annotate(judge=F("post__predictions__model_version"))
        .exclude(Exists(learned))
    )


def doubts(scheme: LabelScheme) -> list[Doubt]:
    """Labels that are probably wrong, the least probable first (confident learning, Northcutt,
    Jiang and Chuang 2021).

    A label is doubted where the model gives another category at least the probability that it
    gives, on average, to posts labelled so. Only judgements of posts that the version had not
    learned from count, and what a review has settled is left alone.
    """
    rows = list(
        unlearned_labels(scheme)
        .order_by("-pk")
        .values_list(
            "post_id",
            "category__key",
            "annotator__username",
            "post__predictions__scores",
            "origin",
        )[:NEWEST]
    )
    settled = {post_id for post_id, _, _, _, origin in rows if origin == Annotation.Origin.REVIEW}
    usual: dict[str, list[float]] = defaultdict(list)
    for _, given, _, scores, _ in rows:
        usual[given].append(scores.get(given, 0.0))
    threshold = {key: sum(values) / len(values) for key, values in usual.items()}
    found = []
    for post_id, given, person, scores, _ in rows:
        above = [
            (score, key)
            for key, score in scores.items()
            if key != given and key in threshold and score >= threshold[key]
        ]
        if above and post_id not in settled and (best := max(above))[0] > scores.get(given, 0.0):
            found.append((scores.get(given, 0.0) - best[0], post_id, given, person, scores, best))
    found.sort(key=lambda one: one[:2])
    posts = Post.objects.in_bulk([one[1] for one in found[:SHOWN]])
    names = dict(scheme.categories.values_list("key", "name"))
    return [
        Doubt(
            posts[post_id],
            person or "an import",
            names.get(given, given),
            scores.get(given, 0.0),
            names.get(best[1], best[1]),
            best[0],
        )
        for _, post_id, given, person, scores, best in found[:SHOWN]
    ]


def clashes(scheme: LabelScheme) -> list[Clash]:
    """Posts that read alike with different labels, newest first."""
    rows = (
        Annotation.objects.usable()
        .filter(scheme=scheme)
        .order_by("-pk")
        .values_list("post_id", "post__text", "category__name", "annotator__username")[:NEWEST]
    )
    groups: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for post_id, text, category, person in rows:
        groups[likeness.digest(text)].append((post_id, category, person or "an import"))
    several = [
        group
        for group in groups.values()
        if len({post_id for post_id, _, _ in group}) > 1 and len({c for _, c, _ in group}) > 1
    ][:SHOWN]
    posts = Post.objects.in_bulk({post_id for group in several for post_id, _, _ in group})
    return [
        Clash([(posts[post_id], category, person) for post_id, category, person in group[:6]])
        for group in several
    ]


def annotators(scheme: LabelScheme) -> list[Annotator]:
    """Everybody who has labelled, the busiest first."""
    day_ago = timezone.now() - timedelta(days=1)
    rows = list(
        Annotation.objects.current()
        .filter(scheme=scheme, annotator__isnull=False)
        .order_by()
        .values("annotator_id", "annotator__username")
        .annotate(
            labels=Count("pk"),
            last_day=Count("pk", filter=Q(created_at__gte=day_ago)),
            last_at=Max("created_at"),
        )
        .order_by("-labels")[:SHOWN]
    )
    pace = _seconds(scheme)
    agreeing: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for pair in agreement.agreement(scheme).pairs:
        for person in (pair.first, pair.second):
            agreeing[person][0] += pair.agreed
            agreeing[person][1] += pair.posts
    gold = _gold(scheme)
    return [
        Annotator(
            name=row["annotator__username"],
            labels=row["labels"],
            last_day=row["last_day"],
            last_at=row["last_at"],
            seconds=median(pace[person]) if pace.get(person) else None,
            agreeing=_share(agreeing[person]),
            compared=agreeing[person][1],
            gold=_share(gold[person]),
            gold_posts=gold[person][1],
        )
        for row in rows
        for person in [row["annotator_id"]]
    ]


def _share(counted: Sequence[int]) -> float | None:
    return counted[0] / counted[1] if counted[1] else None


def _seconds(scheme: LabelScheme) -> dict[int, list[float]]:
    """Of each person's newest answers."""
    rows = (
        Assignment.objects.filter(
            scheme=scheme, status=Assignment.Status.DONE, seconds__isnull=False
        )
        .order_by("-pk")
        .values_list("annotator_id", "seconds")[:NEWEST]
    )
    found: dict[int, list[float]] = defaultdict(list)
    for person, seconds in rows:
        if seconds is not None:
            found[person].append(seconds)
    return found


def _gold(scheme: LabelScheme) -> dict[int, list[int]]:
    """Person → how many settled posts they labelled as the review did, of how many."""
    asked = dict.fromkeys(
        Assignment.objects.filter(
            scheme=scheme, reason=Assignment.Reason.GOLD, status=Assignment.Status.DONE
        )
        .order_by("-pk")
        .values_list("post_id", "annotator_id")[:NEWEST]
    )
    labels = (
        Annotation.objects.current()
        .filter(scheme=scheme, post__in={post_id for post_id, _ in asked})
        .values_list("post_id", "annotator_id", "category_id", "origin")
    )
    truth, said = {}, {}
    for post_id, person, category, origin in labels:
        if origin == Annotation.Origin.REVIEW:
            truth[post_id] = category
        said[post_id, person] = category
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for post_id, person in asked:
        if post_id in truth and (post_id, person) in said:
            found[person][0] += said[post_id, person] == truth[post_id]
            found[person][1] += 1
    return found


def honest_labels(scheme: LabelScheme, *conditions: Q) -> QuerySet[Assignment]:
    """Labels of posts drawn at random that were judged before anybody labelled them.

    `conditions` are on the same rows: `post__annotations` is the label, `post__predictions` the
    judgement that was served.
    """
    return Assignment.objects.filter(
        *conditions,
        scheme=scheme,
        reason=Assignment.Reason.RANDOM,
        status=Assignment.Status.DONE,
        post__deleted_at__isnull=True,
        post__predictions__scheme=scheme,
        post__predictions__is_serving=True,
        post__annotations__scheme=scheme,
        post__annotations__annotator=F("annotator"),
        post__annotations__replaced_at__isnull=True,
        # What was classified after its label came may have been learned by heart.
        post__predictions__created_at__lte=F("finished_at"),
    )


def honest_accuracy(scheme: LabelScheme) -> Accuracy:
    """Of what served, on the newest posts of the random share."""
    rows = honest_labels(scheme).order_by("-pk")
    told = list(
        rows.values_list("post__annotations__category_id", "post__predictions__category_id")[
            :NEWEST
        ]
    )
    return Accuracy(len(told), sum(label == judged for label, judged in told))


def counts_of(annotator: User, scheme: LabelScheme) -> dict[str, int]:
    """One's own labels in force: all, of the last day and of the last hour."""
    now = timezone.now()
    return (
        Annotation.objects.current()
        .filter(annotator=annotator, scheme=scheme)
        .aggregate(
            total=Count("pk"),
            day=Count("pk", filter=Q(created_at__gte=now - timedelta(days=1))),
            hour=Count("pk", filter=Q(created_at__gte=now - timedelta(hours=1))),
        )
    )


def history_of(annotator: User, scheme: LabelScheme, limit: int = 30) -> list[Annotation]:
    """One's own newest labels of posts that are still shown."""
    mine = Annotation.objects.usable().filter(annotator=annotator, scheme=scheme)
    return list(mine.select_related("post", "category").order_by("-pk")[:limit])
