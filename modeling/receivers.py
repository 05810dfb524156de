"""What modeling does when ingestion has news."""

from typing import Any

from modeling import tasks
from modeling.services import annotate, provenance


def classify_new_posts(post_ids: list[int], **kwargs: Any) -> None:
    tasks.classify_posts.delay(post_ids)


def note_forgotten_posts(post_ids: list[int], reason: str, **kwargs: Any) -> None:
    if reason == "deleted":
        provenance.note_forgotten(post_ids)
        annotate.forget_notes(post_ids)
