"""Importing files of posts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from ingestion import metrics
from ingestion.events import IncomingPost
from ingestion.models import Post, Source, Stream
from ingestion.services.posts import Stored, store
from ingestion.sources.files import PostFile, Row

CHUNK = 1000
# Reasons that are kept to be shown; all are counted.
REASONS_KEPT = 1000


@dataclass
class ImportSummary:
    """What became of a file's rows. `rejected` holds the first line numbers and reasons."""

    saved: int = 0
    duplicates: int = 0
    rejected_count: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ImportedChunk:
    """Rows that were just committed: their posts and labels, side by side, and what was stored."""

    posts: list[IncomingPost]
    labels: list[str]
    stored: Stored
    offset: int


def file_stream(name: str) -> Stream:
    """The stream that an import belongs to, made when there is none of this name."""
    return Stream.objects.get_or_create(name=name, defaults={"source": Source.FILE})[0]


def import_file(file: PostFile, summary: ImportSummary) -> Iterator[ImportedChunk]:
    """Store a file's posts chunk by chunk, telling each after its commit; `summary` is kept.

    Nothing is announced: the caller has the posts classified. Raises UnusableFile.
    """
    rows = file.rows()
    while chunk := list(islice(rows, CHUNK)):
        for row in chunk:
            if row.post is None:
                _reject(row, summary)
        good = _told_apart(chunk)
        stored = store([post for post, _ in good], announce=False)
        summary.saved += len(stored.post_ids)
        summary.duplicates += stored.duplicates
        yield ImportedChunk(
            [post for post, _ in good], [label for _, label in good], stored, chunk[-1].offset
        )


def _told_apart(rows: Sequence[Row]) -> list[tuple[IncomingPost, str]]:
    """Posts and labels; a row whose id stands for another post gets an id of its own.

    Otherwise it would be taken for a duplicate, and lost.
    """
    texts = _stored_texts(rows)
    good: list[tuple[IncomingPost, str]] = []
    for row in rows:
        if (post := row.post) is None:
            continue
        taken = texts.setdefault((post.source, post.external_id), post.text)
        # A post without text was deleted at its source, and must not come back.
        if row.fallback_id and taken and taken != post.text:
            post = replace(post, external_id=row.fallback_id)
        good.append((post, row.label))
    return good


def _stored_texts(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
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


def _reject(row: Row, summary: ImportSummary) -> None:
    metrics.POSTS.labels(Source.FILE, "malformed").inc()
    summary.rejected_count += 1
    if len(summary.rejected) < REASONS_KEPT:
        summary.rejected.append((row.line, row.reason))
