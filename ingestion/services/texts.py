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
    now = timezone.now()
    return store([IncomingPost(API, uuid4().hex, text, now) for text in texts])
