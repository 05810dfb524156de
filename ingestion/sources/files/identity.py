"""Rows whose id stands for another post already: each is told apart, so that none is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ingestion.models import Post
from ingestion.sources.files.file import Row

Key = tuple[str, str]
# Rows that are read, but not stored yet, are remembered: more than can be on their way.
REMEMBERED = 20_000


class Identities:
    """What each id stands for, as far as it is stored or was read lately."""

    def __init__(self) -> None:
        self._texts: dict[Key, str] = {}

    def told_apart(self, rows: Sequence[Row]) -> list[Row]:
        """The rows; one whose id stands for another post gets an id of its own.

        Otherwise it would be taken for a duplicate, and lost.
        """
        stored = _stored_texts(rows)
        told = [self._told_apart(row, stored) for row in rows]
        while len(self._texts) > REMEMBERED:
            del self._texts[next(iter(self._texts))]
        return told

    def _told_apart(self, row: Row, stored: dict[Key, str]) -> Row:
        if (post := row.post) is None or not row.fallback_id:
            return row
        key = (post.source, post.external_id)
        taken = stored[key] if key in stored else self._texts.setdefault(key, post.text)
        # A post without text was deleted at its source, and must not come back.
        if not taken or taken == post.text:
            return row
        return replace(row, post=replace(post, external_id=row.fallback_id))


def _stored_texts(rows: Sequence[Row]) -> dict[Key, str]:
    ids: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.post is not None and row.fallback_id:
            ids[row.post.source].append(row.post.external_id)
    return {
        (source, external_id): text
        for source, wanted in ids.items()
        for external_id, text in Post.objects.filter(
            source=source, external_id__in=wanted
        ).values_list("external_id", "text")
    }
