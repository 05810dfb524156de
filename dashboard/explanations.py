"""Why a post was judged as it was."""

from __future__ import annotations

from typing import Any

from ingestion.models import Post
from modeling.services.explain import explain_text


def explain_post(post: Post) -> dict[str, Any]:
    """What the serving version says of the post now, and what each of its words does to that.

    Raises NoChampion, ModelUnavailable or EngineOverloaded.
    """
    batch, influences = explain_text(post.text, channel="dashboard")
    (judged,) = batch.items
    return {
        "version": batch.version,
        "category": judged.label,
        "confidence": round(judged.confidence, 3),
        "words": [
            {"start": each.start, "end": each.end, "weight": each.weight} for each in influences
        ],
    }
