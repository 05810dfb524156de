"""How well people agree, and on which posts they do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Count

from ingestion.models import Post
from modeling.models import Annotation, LabelScheme

# The newest posts that several people have labelled.
NEWEST = 2000
DISAGREEMENTS = 50

# Post → person → category, each label given without knowing the others'.
Readings = Mapping[int, Mapping[int, int]]


@dataclass(frozen=True)
class Pair:
    """Two people, over the posts that both have labelled."""

    first: int
    second: int
    posts: int
    agreed: int
    kappa: float


@dataclass(frozen=True)
class Agreement:
    """`value` is 1 for perfect agreement, 0 for what chance would give, None without such posts."""

    measure: str
    value: float | None
    posts: int
    agreed: int
    people: int
    pairs: Sequence[Pair] = ()


@dataclass(frozen=True)
class Vote:
    person: str
    category: str


@dataclass(frozen=True)
class Disagreement:
    """A post whose labels have no majority: nothing learns from it until somebody settles it."""

    post: Post
    votes: Sequence[Vote]


def cohen_kappa(pairs: Sequence[tuple[int, int]]) -> float:
    """Agreement of two people beyond chance (Cohen 1960); 1 where both know one category only."""
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[key] * second[key] for key in first) / total**2
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Iterable[Sequence[int]]) -> float | None:
    """Agreement of any number of people, each of whom may miss posts (nominal; Krippendorff 2011).

    A unit is one post's labels. None where no post has two.
    """
    coincidences: dict[tuple[int, int], float] = defaultdict(float)
    for labels in units:
        if len(labels) < 2:
            continue
        weight = 1 / (len(labels) - 1)
        counts = Counter(labels)
        for a, b in ((a, b) for a in counts for b in counts):
            coincidences[a, b] += counts[a] * (counts[b] - (a == b)) * weight
    totals: dict[int, float] = defaultdict(float)
    for (a, _), count in coincidences.items():
        totals[a] += count
    n = sum(totals.values())
    if not n:
        return None
    observed = sum(count for (a, b), count in coincidences.items() if a != b)
    expected = (n * n - sum(count * count for count in totals.values())) / (n - 1)
    return 1.0 if expected == 0 else 1 - observed / expected


def agreement(scheme: LabelScheme) -> Agreement:
    """Over the newest posts that several people have labelled, none knowing the others' labels."""
    return measured(readings(scheme))


def measured(read: Readings) -> Agreement:
    """Cohen's kappa of two people, Krippendorff's alpha of more."""
    units = [labels for labels in read.values() if len(labels) > 1]
    people = sorted({person for labels in units for person in labels})
    pairs = [pair for a, b in combinations(people, 2) if (pair := _pair(units, a, b))]
    value = krippendorff_alpha([list(labels.values()) for labels in units])
    measure = "Krippendorff's alpha"
    if len(people) == 2:
        measure, value = "Cohen's kappa", pairs[0].kappa
    agreed = sum(len(set(labels.values())) == 1 for labels in units)
    return Agreement(measure, value, len(units), agreed, len(people), pairs)


def _pair(units: Sequence[Mapping[int, int]], first: int, second: int) -> Pair | None:
    both = [(one[first], one[second]) for one in units if first in one and second in one]
    if not both:
        return None
    agreed = sum(a == b for a, b in both)
    return Pair(first, second, len(both), agreed, cohen_kappa(both))


def readings(scheme: LabelScheme) -> dict[int, dict[int, int]]:
    """What each person said of each post that several have labelled, before any review."""
    rows = (
        Annotation.objects.filter(scheme=scheme, post__in=_shared(scheme))
        .exclude(annotator=None)
        .exclude(origin=Annotation.Origin.IMPORT)
        .order_by("pk")
        .values_list("post_id", "annotator_id", "category_id", "origin", "replaced_at")
    )
    found: dict[int, dict[int, int]] = defaultdict(dict)
    last_said: dict[tuple[int, int], int] = {}
    for post_id, person, category, origin, replaced_at in rows:
        if origin == Annotation.Origin.HUMAN:
            last_said[post_id, person] = category
            if replaced_at is None:
                found[post_id][person] = category
        elif replaced_at is None and (post_id, person) in last_said:
            # A reviewer's own first opinion is still theirs.
            found[post_id][person] = last_said[post_id, person]
    return dict(found)


def _shared(scheme: LabelScheme) -> list[int]:
    posts = (
        Annotation.objects.usable()
        .filter(scheme=scheme, annotator__isnull=False)
        .exclude(origin=Annotation.Origin.IMPORT)
        .order_by()
        .values("post_id")
        .annotate(people=Count("annotator"))
        .filter(people__gt=1)
        .order_by("-post_id")
    )
    return list(posts.values_list("post_id", flat=True)[:NEWEST])


def disagreements(scheme: LabelScheme) -> list[Disagreement]:
    """Posts whose labels have no majority, newest first."""
    votes: dict[int, list[Vote]] = defaultdict(list)
    settled: set[int] = set()
    rows = (
        Annotation.objects.usable()
        .filter(scheme=scheme, post__in=_shared(scheme))
        .exclude(origin=Annotation.Origin.IMPORT)
        .order_by("pk")
        .values_list("post_id", "annotator__username", "category__name", "origin")
    )
    for post_id, person, category, origin in rows:
        votes[post_id].append(Vote(person or "someone", category))
        if origin == Annotation.Origin.REVIEW:
            settled.add(post_id)
    open_ids = [pk for pk, said in votes.items() if pk not in settled and _is_tied(said)]
    newest = sorted(open_ids, reverse=True)[:DISAGREEMENTS]
    posts = Post.objects.in_bulk(newest)
    return [Disagreement(posts[pk], votes[pk]) for pk in newest if pk in posts]


def _is_tied(said: Sequence[Vote]) -> bool:
    ranked = Counter(vote.category for vote in said).most_common(2)
    return len(ranked) == 2 and ranked[0][1] == ranked[1][1]
