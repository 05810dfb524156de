"""Texts that programs ask about, kept as posts where that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.models import API
from ingestion.services.posts import Stored, store


def keep_texts(texts: Sequence[str]) -> Stored:
    """Store each text as a post of the source `api`, said now; it is classified as any other."""
    now, request = timezone.now(), uuid4().hex
    # Posts of one moment are stored in the order of their ids.
    return store(
        [
            IncomingPost(API, f"{request}-{number:06d}", text, now)
            for number, text in enumerate(texts)
        ]
    )
