"""What the labelling page is told, as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import gettext

from ingestion.models import Post
from modeling.models import Annotation, Assignment, LabelScheme, Prediction, TrainingRun
from modeling.services import queue, review
from modeling.services.agreement import agreement
from modeling.services.retrain import label_progress


def items(assignments: Sequence[Assignment], scheme: LabelScheme) -> list[dict[str, Any]]:
    """Posts to label. The model's opinion is left out where it must not be seen."""
    open_to = [one.post_id for one in assignments if not one.is_blind]
    opinions = {
        post_id: {"category": key, "confidence": round(confidence, 4)}
        for post_id, key, confidence in Prediction.objects.serving()
        .filter(scheme=scheme, post__in=open_to)
        .values_list("post_id", "category__key", "confidence")
    }
    return [
        {
            "id": one.pk,
            **_post(one.post),
            "why": queue.why_in_words(one),
            "is_blind": one.is_blind,
            "suggestion": opinions.get(one.post_id),
        }
        for one in assignments
    ]


def history(annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """One's own newest labels."""
    return [
        {
            "id": None,
            **_post(one.post),
            "why": gettext("You have labelled it before."),
            "is_blind": True,
            "suggestion": None,
            "category": one.category.key,
            "origin": one.origin,
        }
        for one in annotations
    ]


def _post(post: Post) -> dict[str, Any]:
    return {
        "post": post.pk,
        "text": post.text,
        "lang": post.lang,
        "author": post.author_username or post.author_name,
        "source": post.get_source_display(),
        "created_at": post.created_at.isoformat(),
    }


def standing(annotator: User, scheme: LabelScheme) -> dict[str, Any]:
    """How far it is to the next training, how well people agree, and what one has done."""
    agreed = agreement(scheme)
    progress = label_progress(scheme)
    run = scheme.runs.filter(status__in=TrainingRun.ACTIVE).first()
    return {
        "mine": review.counts_of(annotator, scheme),
        "labels": {"new": progress["value"], "needed": progress["threshold"]},
        "run": run
        and {
            "id": run.pk,
            "status": run.status,
            "progress": run.progress,
            "url": reverse("model-run", args=[run.pk]),
        },
        "agreement": {
            "measure": agreed.measure,
            "value": None if agreed.value is None else round(agreed.value, 3),
            "posts": agreed.posts,
            "people": agreed.people,
        },
    }
