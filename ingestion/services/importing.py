"""Importing files of posts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from django.db import transaction

from ingestion import metrics
from ingestion.events import IncomingPost, PostDeleted
from ingestion.exceptions import UnusableFile
from ingestion.models import Source, Stream
from ingestion.services.audit import Action, by_command, record
from ingestion.services.posts import Stored, forget, forget_author, store
from ingestion.services.refusals import together, write_all
from ingestion.sources.files import Identities, PostFile, Row

CHUNK = 1000
# Reasons that are kept to be shown; all are counted.
REASONS_KEPT = 1000


@dataclass
class ImportSummary:
    """What became of a file's rows. `rejected` holds the first line numbers and reasons.

    `deleted` counts posts that the file takes back, as a dump does.
    """

    saved: int = 0
    duplicates: int = 0
    deleted: int = 0
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
    with transaction.atomic():
        stream, is_new = Stream.objects.get_or_create(name=name, defaults={"source": Source.FILE})
        if is_new:
            record(Action.ADDED, stream, by_command("import_posts"), before={})
    return stream


def import_file(file: PostFile, summary: ImportSummary) -> Iterator[ImportedChunk]:
    """Store a file's posts chunk by chunk, telling each after its commit; `summary` is kept.

    A row that the database refuses is rejected as one that cannot be read is. Nothing is
    announced: the caller has the posts classified. Raises UnusableFile, after the rows that could
    be read.
    """
    rows = _Rows(file)
    identities = Identities()
    while chunk := list(islice(rows, CHUNK)):
        for row in chunk:
            if row.reason:
                _reject(row, summary)
        yield _stored(identities.told_apart(chunk), summary)
    if rows.error is not None:
        raise rows.error


class _Rows:
    """A file's rows; what ends them early is kept until those before are stored."""

    def __init__(self, file: PostFile) -> None:
        self.error: UnusableFile | None = None
        self._rows = file.rows()

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        try:
            return next(self._rows)
        except UnusableFile as error:
            self.error = error
            raise StopIteration from error


def _stored(rows: Sequence[Row], summary: ImportSummary) -> ImportedChunk:
    def refuse(row: Row, error: Exception) -> None:
        _reject(replace(row, reason=f"it cannot be stored: {error}"), summary)

    good = [row for row in rows if row.post is not None]
    stored = together(write_all(good, _store, refuse))
    summary.saved += len(stored.post_ids)
    summary.duplicates += stored.duplicates
    # After the posts: a dump tells of both, and never takes back what is still to come.
    taken_back = [row for row in rows if row.removal is not None]
    summary.deleted += sum(write_all(taken_back, _forget, refuse))
    labels = [row.label for row in good]
    return ImportedChunk(_posts(good), labels, stored, rows[-1].offset)


def _posts(rows: Sequence[Row]) -> list[IncomingPost]:
    return [row.post for row in rows if row.post is not None]


def _store(rows: Sequence[Row]) -> Stored:
    return store(_posts(rows), announce=False, read_from=Source.FILE)


def _forget(rows: Sequence[Row]) -> int:
    count = 0
    for row in rows:
        removal = row.removal
        if isinstance(removal, PostDeleted):
            count += forget(removal.source or Source.FILE, removal.external_ids)
        elif removal is not None:
            count += forget_author(removal.source or Source.FILE, removal.author_id)
    return count


def _reject(row: Row, summary: ImportSummary) -> None:
    metrics.POSTS.labels(Source.FILE, "malformed").inc()
    summary.rejected_count += 1
    if len(summary.rejected) < REASONS_KEPT:
        summary.rejected.append((row.line, row.reason))
