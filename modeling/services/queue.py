"""Which posts people are asked to label next, and who gets which.

What teaches most comes first: posts between whose categories the champion wavers (least margin,
Scheffer et al. 2001), of categories that few labels name, of the kind that drift has brought, each
near duplicate once. A share that the model has no say in is drawn at random: on it alone is
accuracy measured honestly.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop
from numpy.typing import NDArray

from ingestion.models import Post
from modeling.ml import features
from modeling.models import Annotation, Assignment, LabelScheme, ModelVersion, Prediction
from modeling.models.annotations import AnnotationQuerySet
from modeling.models.labelling import AssignmentQuerySet
from modeling.services import likeness
from modeling.services.likeness import Seen

Reason = Assignment.Reason

# Only the newest unlabelled posts are looked at, and the newest asked ones compared with.
POOL = 2000
RECENT = 300
# A post is kept for so long for somebody who does not answer; asking for more keeps it longer.
HOLD = timedelta(minutes=10)
# What one person holds at most, however often they ask.
MOST_HELD = 30
# A category is scarce with less than this part of an even share of the labels.
SCARCE = 0.8
# Of so many newest posts, this part that is least like the reference is what drift has brought.
DRIFT_POOL = 500
DRIFTED = 1 / 4
# Whoever is outrun looks again, as often as others may be quicker at the same moment.
_TRIES = 10

WHY = {
    Reason.MINORITY: gettext_noop("It may belong to a category that has few labels so far."),
    Reason.DRIFT: gettext_noop("Posts like it have come up since the model was trained."),
    Reason.RANDOM: gettext_noop(
        "Drawn at random, to measure the model honestly: its opinion stays hidden."
    ),
    Reason.SECOND: gettext_noop(
        "Somebody else has labelled it: two opinions tell how clear it is."
    ),
    Reason.GOLD: gettext_noop(
        "A settled post, to see whether we still understand the categories alike."
    ),
    Reason.UNJUDGED: gettext_noop("No model has judged it yet."),
}


@dataclass(frozen=True)
class Candidate:
    """An unlabelled post and what the model thinks of it; no scores where none has judged it."""

    post_id: int
    text: str
    category_id: int | None = None
    scores: tuple[float, ...] = ()

    @property
    def margin(self) -> float:
        """Between the two likeliest categories, 0 (undecided) to 1."""
        best = sorted(self.scores, reverse=True)[:2]
        return best[0] - best[1] if len(best) == 2 else 1.0

    @property
    def is_sampled(self) -> bool:
        """Whether it belongs to the random share. Settled by its number: were the unsure posts
        taken out of the same pool first, what is left would look better than it is."""
        share = settings.LABELLING_RANDOM_SHARE
        if settings.LABELLING_STRATEGY == "random":
            share = 1.0
        return zlib.crc32(str(self.post_id).encode()) < share * 2**32


@dataclass(frozen=True)
class Pick:
    """A post for somebody, with the reason."""

    post_id: int
    reason: Assignment.Reason
    why: str
    seat: int | None = Assignment.FIRST

    @property
    def is_blind(self) -> bool:
        return self.reason in {Reason.RANDOM, Reason.GOLD}


def draw(
    annotator: User, scheme: LabelScheme, *, count: int = 10, have: Collection[int] = ()
) -> list[Assignment]:
    """Up to `count` posts for `annotator`, other than the assignments that they `have` already.

    What they hold is kept longer. Nobody else is handed the same post while they hold it, but
    for the share that a second person reads. Safe to call from several processes at once.
    """
    now = timezone.now()
    Assignment.objects.filter(scheme=scheme).expired(now).exclude(annotator=annotator).delete()
    held = Assignment.objects.waiting().filter(annotator=annotator, scheme=scheme)
    # Deleted or edited meanwhile, or labelled elsewhere: not shown any more.
    held.filter(~Q(post__in=Post.objects.current()) | Exists(_said(annotator))).delete()
    held.update(expires_at=now + HOLD)
    ids = set(held.values_list("pk", flat=True))
    for attempt in range(_TRIES):
        missing = min(count - len(ids - set(have)), MOST_HELD - len(ids))
        if missing <= 0:
            break
        # Whoever lost posts to somebody quicker looks again while nobody else does.
        with _alone(scheme) if attempt else nullcontext():
            if not (picks := _pick(annotator, scheme, missing)):
                break
            _hand_out(picks, annotator, scheme, now)
        ids = set(held.values_list("pk", flat=True))
        if len(picks) < missing:
            break
    fresh = held.exclude(pk__in=have).select_related("post").order_by("pk")
    return list(fresh[:count])


@contextmanager
def _alone(scheme: LabelScheme) -> Iterator[None]:
    with transaction.atomic():
        # Without the key: predictions and labels that name the scheme need not wait.
        LabelScheme.objects.select_for_update(no_key=True).get(pk=scheme.pk)
        yield


def _hand_out(picks: Sequence[Pick], annotator: User, scheme: LabelScheme, now: datetime) -> None:
    """Take the seats; those that somebody else took a moment ago stay theirs."""
    Assignment.objects.bulk_create(
        (
            Assignment(
                post_id=pick.post_id,
                scheme=scheme,
                annotator=annotator,
                seat=pick.seat,
                reason=pick.reason,
                why=pick.why,
                is_blind=pick.is_blind,
                wants_second=pick.seat == Assignment.FIRST
                and random.random() < settings.LABELLING_OVERLAP,
                created_at=now,
                expires_at=now + HOLD,
            )
            for pick in picks
        ),
        ignore_conflicts=True,
    )


def _pick(annotator: User, scheme: LabelScheme, count: int) -> list[Pick]:
    picks = [
        *_for_comparison(annotator, scheme, sum(_chance(settings.LABELLING_GOLD, count))),
        # Half at most: who comes late would otherwise read nothing but what others have read.
        *_second_readings(annotator, scheme, (count + 1) // 2),
    ][:count]
    picks += _first_readings(annotator, scheme, count - len(picks))
    # Mixed, so that the place in the row gives no reason away.
    random.shuffle(picks)
    return picks


def _chance(share: float, count: int) -> Iterator[bool]:
    return (random.random() < share for _ in range(count))


def _second_readings(annotator: User, scheme: LabelScheme, limit: int) -> list[Pick]:
    taken = Assignment.objects.holding().filter(
        post=OuterRef("post"), scheme=scheme, seat=Assignment.SECOND
    )
    first = (
        Assignment.objects.unread_twice()
        .filter(scheme=scheme, post__in=Post.objects.current())
        .filter(~Exists(taken), ~Exists(_known_to(annotator, scheme)), ~Exists(_said(annotator)))
        .order_by("pk")
    )
    return [
        Pick(post_id, Reason.SECOND, WHY[Reason.SECOND], Assignment.SECOND)
        for post_id in first.values_list("post_id", flat=True)[:limit]
    ]


def _for_comparison(annotator: User, scheme: LabelScheme, limit: int) -> list[Pick]:
    if not limit:
        return []
    settled = (
        Annotation.objects.usable()
        .filter(scheme=scheme, origin=Annotation.Origin.REVIEW)
        .filter(~Exists(_known_to(annotator, scheme)), ~Exists(_said(annotator)))
        .order_by("-pk")
        .values_list("post_id", flat=True)
    )
    ids = sorted(set(settled[:RECENT]))
    return [
        Pick(post_id, Reason.GOLD, WHY[Reason.GOLD], None)
        for post_id in random.sample(ids, min(limit, len(ids)))
    ]


def _known_to(annotator: User, scheme: LabelScheme) -> AssignmentQuerySet:
    return Assignment.objects.filter(post=OuterRef("post"), scheme=scheme, annotator=annotator)


def _said(annotator: User) -> AnnotationQuerySet:
    return Annotation.objects.current().filter(
        post=OuterRef("post"), scheme=OuterRef("scheme"), annotator=annotator
    )


def _first_readings(annotator: User, scheme: LabelScheme, count: int) -> list[Pick]:
    pool = _judged(annotator, scheme) if count > 0 else []
    if not pool:
        return _unjudged(annotator, scheme, count) if count > 0 else []
    # What was skipped is still to be asked.
    asked = Assignment.objects.holding().filter(scheme=scheme).order_by("-pk")[:RECENT]
    source = likeness.embeddings(scheme)
    seen = Seen(asked.values_list("post__text", flat=True), source)
    sample = [one for one in pool if one.is_sampled]
    random.shuffle(sample)
    rest = sorted((one for one in pool if not one.is_sampled), key=lambda one: one.margin)
    scarce = _scarce(scheme)
    drifted = _drifted(scheme, rest)
    orders: dict[Assignment.Reason, Iterator[Candidate]] = {
        # As it comes, near duplicates too: a sample that is tidied up is none.
        Reason.RANDOM: iter(sample),
        Reason.UNCERTAIN: _unlike(rest, seen),
        Reason.MINORITY: _unlike([one for one in rest if one.category_id == scarce], seen),
        Reason.DRIFT: _unlike([one for one in rest if one.post_id in drifted], seen),
    }
    picks: dict[int, Pick] = {}
    for place in range(count):
        for reason in _preferences(place):
            if (found := next(orders[reason], None)) is not None:
                picks[found.post_id] = Pick(found.post_id, reason, _why(reason, found))
                break
    return list(picks.values())


def _preferences(place: int) -> tuple[Assignment.Reason, ...]:
    """The reasons to choose by, the best first; the others where it has nothing left."""
    strategy = settings.LABELLING_STRATEGY
    if strategy == "random" or random.random() < settings.LABELLING_RANDOM_SHARE:
        return (Reason.RANDOM, Reason.UNCERTAIN)
    if strategy == "minority" or (strategy == "balanced" and place % 3 == 2):
        return (Reason.MINORITY, Reason.UNCERTAIN, Reason.RANDOM)
    if strategy == "drift" or (strategy == "balanced" and place % 3 == 1):
        return (Reason.DRIFT, Reason.UNCERTAIN, Reason.RANDOM)
    return (Reason.UNCERTAIN, Reason.RANDOM)


def _why(reason: Assignment.Reason, candidate: Candidate) -> str:
    """In words that do not tell the model's opinion."""
    if reason != Reason.UNCERTAIN:
        return WHY[reason]
    best = [f"{score:.0%}" for score in sorted(candidate.scores, reverse=True)[:2]]
    return f"The model wavers between two categories, {' against '.join(best)}."


def why_in_words(assignment: Assignment) -> str:
    """The reason in the reader's language; the row keeps it as it was written, in English."""
    shares = re.findall(r"(\d+)%", assignment.why)
    if assignment.reason == Reason.UNCERTAIN and len(shares) == 2:
        return gettext(
            "The model wavers between two categories, %(first)s%% against %(second)s%%."
        ) % {"first": shares[0], "second": shares[1]}
    return gettext(assignment.why) if assignment.why in WHY.values() else assignment.why


def _unlike(order: Sequence[Candidate], seen: Seen) -> Iterator[Candidate]:
    """In order, those of about the same rank spread out, near duplicates once."""
    for start in range(0, len(order), likeness.AT_ONCE):
        part = order[start : start + likeness.AT_ONCE]
        spread = seen.spread([one.text for one in part])
        yield from (part[place] for place in spread if seen.take(part[place].text))


def _free(annotator: User, scheme: LabelScheme, post: str) -> Q:
    """That nobody has labelled or flagged a row's `post`, or has it in hand, and that `annotator`
    was not asked about it."""
    asked = Assignment.objects.filter(post=OuterRef(post), scheme=scheme)
    labelled = Annotation.objects.current().filter(post=OuterRef(post), scheme=scheme)
    is_asked = asked.filter(Q(status__in=Assignment.HOLDING) | Q(annotator=annotator))
    return ~Q(Exists(is_asked)) & ~Q(Exists(labelled))


def _judged(annotator: User, scheme: LabelScheme) -> list[Candidate]:
    rows = (
        Prediction.objects.serving()
        .of_current_posts()
        .filter(_free(annotator, scheme, "post"), scheme=scheme)
        .order_by("-id")
        .values_list("post_id", "post__text", "category_id", "scores")
    )
    return [
        Candidate(post_id, text, category_id, tuple(scores.values()))
        for post_id, text, category_id, scores in rows[:POOL]
    ]


def _unjudged(annotator: User, scheme: LabelScheme, count: int) -> list[Pick]:
    posts = Post.objects.current().filter(_free(annotator, scheme, "pk")).order_by("-pk")
    ids = list(posts.values_list("pk", flat=True)[:POOL])
    return [
        Pick(post_id, Reason.UNJUDGED, WHY[Reason.UNJUDGED])
        for post_id in random.sample(ids, min(count, len(ids)))
    ]


def _drifted(scheme: LabelScheme, pool: Sequence[Candidate]) -> set[int]:
    """Posts of the kind that the last quality report has found to be new; none without drift."""
    if settings.LABELLING_STRATEGY not in {"balanced", "drift"}:
        return set()
    report = scheme.reports.filter(model_version__stage=ModelVersion.Stage.CHAMPION).first()
    weights = report.summary.get("telltale") if report is not None and report.has_drift else None
    if not weights or set(weights) != set(features.NAMES):
        return set()
    newest = sorted(pool, key=lambda one: -one.post_id)[:DRIFT_POOL]
    vector = [weights[name] for name in features.NAMES]
    unlike = {one.post_id: float(_features(one.text) @ vector) for one in newest}
    ranked = sorted(unlike, key=lambda post_id: -unlike[post_id])
    return set(ranked[: int(len(ranked) * DRIFTED)])


@lru_cache(maxsize=5_000)
def _features(post_text: str) -> NDArray[np.float32]:
    return features.extract(post_text)


def _scarce(scheme: LabelScheme) -> int | None:
    """The category that fewest labels name, where that is few; None where all have their share."""
    in_force = Q(annotations__replaced_at__isnull=True)
    counts = dict(
        scheme.categories.annotate(count=Count("annotations", filter=in_force)).values_list(
            "pk", "count"
        )
    )
    if not counts:
        return None
    least = min(counts, key=lambda pk: counts[pk])
    even = sum(counts.values()) / len(counts)
    return least if counts[least] < SCARCE * even else None
