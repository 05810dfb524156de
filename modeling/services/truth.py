"""What labels say, once they have come, of the accuracy that reports estimated without them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from django.db.models import Q
from django.utils import timezone

from modeling.ml.estimate import Correction, wilson
from modeling.models import LabelScheme, QualityReport
from modeling.services.review import honest_labels, unlearned_labels

# Labels come late; reports older than this keep the truth that they have.
HORIZON = timedelta(days=30)
MAXIMUM_LABELS = 50_000
# From so many posts drawn at random on, the truth is of those alone.
MINIMUM_RANDOM = 30

RANDOM, CHOSEN = "random", "chosen"
_ENTRIES = {"true", "true_low", "true_high", "labelled", "estimated_on_labelled", "drawn"}


class _Label(NamedTuple):
    version_id: int
    created_at: datetime
    confidence: float
    is_right: bool
    is_random: bool


_moment = attrgetter("created_at")


def fill_in_truth(scheme: LabelScheme) -> int:
    """Hold the estimates of late reports against the labels that came in; how many changed.

    The truth is of posts drawn at random where a window has enough of them (`drawn` is random),
    else of all that people labelled (chosen): mostly what a model is unsure of, so that it may be
    right less often there. Beside it stands what was expected of the very same posts. Posts that a
    version learned from are left out; where no label is left, no truth is told any more.
    """
    reports = scheme.reports.filter(window_end__gte=timezone.now() - HORIZON)
    oldest = reports.order_by("window_start").first()
    if oldest is None:
        return 0
    labels, is_all = _labels(scheme, oldest.window_start)
    changed = []
    for report in reports.exclude(accuracy={}).only(
        "accuracy", "window_start", "window_end", "model_version_id"
    ):
        first = bisect_left(labels, report.window_start, key=_moment)
        last = bisect_right(labels, report.window_end, key=_moment)
        told = [
            label for label in labels[first:last] if label.version_id == report.model_version_id
        ]
        if not told and not is_all:
            # Its labels may be among those that were too many to look at.
            continue
        rest = {name: value for name, value in report.accuracy.items() if name not in _ENTRIES}
        accuracy = rest | _truth(told, rest.get("correction", {}))
        if accuracy != report.accuracy:
            report.accuracy = accuracy
            changed.append(report)
    QualityReport.objects.bulk_update(changed, ["accuracy"], batch_size=200)
    return len(changed)


def _labels(scheme: LabelScheme, since: datetime) -> tuple[list[_Label], bool]:
    """Of each labelled post that was judged since then, the oldest judgement first; whether they
    are all."""
    lately = Q(post__predictions__created_at__gte=since)
    votes = list(
        unlearned_labels(scheme, lately)
        .order_by("-id")
        .values_list(
            "post_id",
            "category_id",
            "post__predictions__category_id",
            "judge",
            "post__predictions__created_at",
            "post__predictions__confidence",
        )[:MAXIMUM_LABELS]
    )
    newest = honest_labels(scheme, lately).order_by("-pk")
    random = set(newest.values_list("post_id", flat=True)[:MAXIMUM_LABELS])
    by_post: dict[int, Counter[int]] = {}
    predicted: dict[int, tuple[int, int, datetime, float]] = {}
    for post_id, category_id, given, version_id, created_at, confidence in votes:
        by_post.setdefault(post_id, Counter())[category_id] += 1
        predicted[post_id] = (given, version_id, created_at, confidence)
    labels = []
    for post_id, counted in by_post.items():
        ranked = counted.most_common(2)
        if len(ranked) == 1 or ranked[0][1] > ranked[1][1]:
            given, version_id, created_at, confidence = predicted[post_id]
            is_right, is_random = given == ranked[0][0], post_id in random
            labels.append(_Label(version_id, created_at, confidence, is_right, is_random))
    return sorted(labels, key=_moment), len(votes) < MAXIMUM_LABELS


def _truth(told: Sequence[_Label], correction: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """`correction` is the report's; without it, as in old reports, confidence is the estimate."""
    if not told:
        return {}
    random = [label for label in told if label.is_random]
    is_random = len(random) >= MINIMUM_RANDOM
    judged = random if is_random else told
    right = sum(label.is_right for label in judged)
    low, high = wilson(right, len(judged))
    expected = Correction(**correction).chances(np.array([label.confidence for label in judged]))
    return {
        "true": round(right / len(judged), 4),
        "true_low": round(low, 4),
        "true_high": round(high, 4),
        "labelled": len(judged),
        "estimated_on_labelled": round(float(expected.mean()), 4),
        "drawn": RANDOM if is_random else CHOSEN,
    }
