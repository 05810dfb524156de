"""Two versions on the same posts: where they agree, and on which they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Q

from ingestion.models import Post
from modeling import serving
from modeling.ml import text
from modeling.models import ModelVersion, Prediction

# Of each version, so many of its newest judgements are looked at.
NEWEST = 2000
# So many different texts both judge on demand: a second or two on one core.
SAMPLE = 200
SHOWN = 50


@dataclass(frozen=True)
class Judgement:
    """What a version says of a post; confidence from 0 to 1."""

    category: str
    confidence: float


@dataclass(frozen=True)
class Difference:
    """A post of which two versions say different things."""

    post_id: int
    text: str
    first: Judgement
    second: Judgement


@dataclass(frozen=True)
class Comparison:
    """Two versions on `size` posts. `differing` counts all differences, `shown` holds the newest;
    `pairs` counts posts by what the first and what the second says."""

    size: int
    differing: int
    shown: list[Difference] = field(default_factory=list)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def agreement(self) -> float | None:
        """The share of posts that both judge alike; None without posts."""
        return None if not self.size else 1 - self.differing / self.size


def stored_judgements(first: ModelVersion, second: ModelVersion) -> Comparison:
    """By the predictions that are stored of both: of posts that they judged side by side."""
    of_current = Prediction.objects.of_current_posts()
    newest = [
        of_current.filter(model_version=version).order_by("-id").values("post")[:NEWEST]
        for version in (first, second)
    ]
    rows = of_current.filter(
        Q(post__in=newest[0]) | Q(post__in=newest[1]), model_version__in=[first, second]
    ).values_list("post_id", "model_version_id", "category__key", "confidence")
    said: dict[int, dict[int, Judgement]] = {}
    for post_id, version_id, category, confidence in rows.order_by("-id"):
        said.setdefault(post_id, {})[version_id] = Judgement(category, confidence)
    both = {
        post_id: (told[first.pk], told[second.pk])
        for post_id, told in said.items()
        if len(told) == 2
    }
    return _compare(both)


def judge_newest(first: ModelVersion, second: ModelVersion) -> Comparison:
    """By letting both judge the newest stored posts now; nothing is kept.

    Raises ArtifactError or RegistryError when either cannot be loaded.
    """
    distinct: dict[str, tuple[int, str]] = {}
    newest = Post.objects.current().order_by("-pk").values_list("pk", "text")
    for pk, said in newest[: 2 * SAMPLE]:
        distinct.setdefault(text.digest(said), (pk, said))
    posts = list(distinct.values())[:SAMPLE]
    texts = [said for _, said in posts]
    judged = zip(_judge(first, texts), _judge(second, texts), strict=True)
    return _compare({pk: pair for (pk, _), pair in zip(posts, judged, strict=True)})


def _judge(version: ModelVersion, texts: Sequence[str]) -> list[Judgement]:
    if not texts:
        return []
    classifier = serving.load(version)
    probabilities = classifier.predict_proba(list(texts))
    best = probabilities.argmax(axis=1).tolist()
    return [
        Judgement(classifier.labels[index], float(row[index]))
        for index, row in zip(best, probabilities, strict=True)
    ]


def _compare(both: dict[int, tuple[Judgement, Judgement]]) -> Comparison:
    pairs: dict[tuple[str, str], int] = {}
    for mine, other in both.values():
        key = mine.category, other.category
        pairs[key] = pairs.get(key, 0) + 1
    differing = {pk: pair for pk, pair in both.items() if pair[0].category != pair[1].category}
    newest = sorted(differing, reverse=True)[:SHOWN]
    texts = dict(Post.objects.filter(pk__in=newest).values_list("pk", "text"))
    shown = [Difference(pk, texts[pk], *differing[pk]) for pk in newest if pk in texts]
    return Comparison(len(both), len(differing), shown, pairs)
