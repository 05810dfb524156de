"""Storing what sources deliver, and forgetting what they take back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from ingestion import metrics
from ingestion.events import IncomingPost, clean, clean_json
from ingestion.models import Post, PostQuerySet, Stream
from ingestion.signals import posts_ingested, posts_withdrawn

# Rows a statement: below SQLite's limit of parameters, above the cost of a round trip.
CHUNK = 500
# Each failed insert means that another process stored one of the posts in the same instant.
ATTEMPTS = 10


@dataclass
class Stored:
    """What became of a batch: ids of new posts, and of those that were there before."""

    post_ids: list[int] = field(default_factory=list)
    known_ids: list[int] = field(default_factory=list)
    duplicates: int = 0


def store(posts: Sequence[IncomingPost], *, announce: bool = True) -> Stored:
    """Save the posts that are new, in one transaction; link those that are known to more streams.

    Safe to repeat and to run in several processes at once: the constraint decides who is first.
    `posts_ingested` follows the commit unless `announce` is off. A few queries for each 500
    posts, whatever they hold.
    """
    stored = Stored()
    with transaction.atomic():
        streams = _existing_streams(posts)
        for source, chunk in _chunks(posts):
            _store_chunk(source, chunk, streams, stored)
        if announce and stored.post_ids:
            transaction.on_commit(
                partial(posts_ingested.send_robust, sender=Post, post_ids=stored.post_ids)
            )
    stored.duplicates = len(posts) - len(stored.post_ids)
    return stored


def _existing_streams(posts: Sequence[IncomingPost]) -> set[int]:
    """Of the streams that the posts name, those that nobody has deleted in the meantime."""
    named = set().union(*(post.stream_ids for post in posts))
    if not named:
        return set()
    return set(Stream.objects.filter(pk__in=named).values_list("pk", flat=True))


def _chunks(posts: Sequence[IncomingPost]) -> Iterator[tuple[str, list[IncomingPost]]]:
    """One source at a time, oldest first.

    The same order in every process, so that two of them never wait for each other's rows.
    """
    by_source: dict[str, list[IncomingPost]] = defaultdict(list)
    for post in posts:
        by_source[post.source].append(post)
    for source in sorted(by_source):
        ordered = sorted(by_source[source], key=lambda post: (post.created_at, post.external_id))
        for start in range(0, len(ordered), CHUNK):
            yield source, ordered[start : start + CHUNK]


def _store_chunk(
    source: str, posts: Sequence[IncomingPost], streams: set[int], stored: Stored
) -> None:
    unique: dict[str, IncomingPost] = {}
    for post in posts:
        seen = unique.get(post.external_id)
        if seen is not None:
            post = replace(seen, stream_ids=seen.stream_ids | post.stream_ids)
        unique[post.external_id] = post
    known, fresh = _insert(source, unique)
    stored.known_ids += known.values()
    stored.post_ids += (row.pk for row in fresh)
    pks = known | {row.external_id: row.pk for row in fresh}
    through = Post.streams.through
    through.objects.bulk_create(
        (
            through(post_id=pks[key], stream_id=stream)
            for key, post in unique.items()
            for stream in post.stream_ids & streams
        ),
        ignore_conflicts=True,
    )
    _link_edits(source, fresh)
    transaction.on_commit(partial(_count, source, len(fresh), len(posts) - len(fresh)))


def _count(source: str, saved: int, duplicates: int) -> None:
    metrics.POSTS.labels(source, "saved").inc(saved)
    metrics.POSTS.labels(source, "duplicate").inc(duplicates)


def _insert(source: str, unique: dict[str, IncomingPost]) -> tuple[dict[str, int], list[Post]]:
    """Insert what is not there; return what was (external id → primary key) and the new rows."""
    for attempt in range(ATTEMPTS):
        known = dict(
            Post.objects.filter(source=source, external_id__in=unique).values_list(
                "external_id", "pk"
            )
        )
        rows = [_row(post) for key, post in unique.items() if key not in known]
        try:
            with transaction.atomic():
                return known, Post.objects.bulk_create(rows)
        except IntegrityError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _row(post: IncomingPost) -> Post:
    return Post(
        source=post.source,
        external_id=post.external_id,
        text=post.text,
        lang=post.lang,
        author_id=post.author_id,
        author_username=post.author_username,
        author_name=post.author_name,
        created_at=post.created_at,
        conversation_id=post.conversation_id,
        original_id=post.edit_history[0] if post.edit_history else "",
        metrics=dict(post.metrics),
        references=[{"type": ref.kind, "id": clean(ref.external_id)} for ref in post.references],
        raw=clean_json(post.raw) if settings.STORE_RAW_POSTS else None,
    )


def _link_edits(source: str, fresh: Sequence[Post]) -> None:
    """Chain the versions of each post, oldest to newest, in whatever order they arrived."""
    originals = {row.original_id or row.external_id for row in fresh}
    edits = list(Post.objects.edits_of(source, originals))
    if not edits:
        return
    chains: dict[str, list[Post]] = defaultdict(list)
    for edit in edits:
        chains[edit.original_id].append(edit)
    for first in Post.objects.filter(source=source, external_id__in=chains):
        chains[first.external_id].append(first)
    moved: list[Post] = []
    superseded: list[Post] = []
    for chain in chains.values():
        # Ids of versions are numbers that grow.
        chain.sort(key=lambda post: (len(post.external_id), post.external_id))
        for earlier, later in zip(chain, chain[1:], strict=False):
            if later.edited_from_id != earlier.pk:
                later.edited_from = earlier
                moved.append(later)
            if not earlier.is_superseded:
                superseded.append(earlier)
    Post.objects.bulk_update(moved, ["edited_from"], batch_size=CHUNK)
    _supersede(superseded)


def _supersede(posts: Sequence[Post]) -> None:
    """These no longer count: a later version does."""
    ids = _locked(Post.objects.filter(pk__in=[post.pk for post in posts], is_superseded=False))
    if ids:
        Post.objects.filter(pk__in=ids).update(is_superseded=True)
        posts_withdrawn.send(sender=Post, post_ids=ids, counted_ids=ids, reason="edited")


def _locked(posts: PostQuerySet) -> list[int]:
    """Primary keys, in order, held until the transaction ends where the database can do so."""
    if connection.features.has_select_for_update:
        posts = posts.select_for_update(no_key=True)
    return list(posts.order_by("pk").values_list("pk", flat=True))


def forget(source: str, external_ids: Iterable[str]) -> int:
    """Honour a deletion: text, author and raw data of these posts and all their versions go.

    The rows stay, so that a late repetition does not bring the posts back. Returns how many
    posts were forgotten now; safe to repeat.
    """
    of_source = Post.objects.filter(source=source)
    count = 0
    named = sorted(set(external_ids))
    for start in range(0, len(named), CHUNK):
        part = set(named[start : start + CHUNK])
        first_versions = of_source.filter(external_id__in=part).exclude(original_id="")
        roots = part | set(first_versions.values_list("original_id", flat=True))
        count += _erase(
            source,
            of_source.filter(
                Q(external_id__in=roots) | (Q(original_id__in=roots) & ~Q(original_id=""))
            ),
        )
    return count


def forget_author(source: str, author_id: str) -> int:
    """Honour the deletion of an account: everything that it wrote is forgotten.

    Returns how many posts were forgotten now; safe to repeat.
    """
    if not author_id:
        return 0
    return _erase(source, Post.objects.filter(source=source, author_id=author_id))


@transaction.atomic
def _erase(source: str, posts: PostQuerySet) -> int:
    """Take out of these posts what their author took back; roll-ups hear of it."""
    ids = _locked(posts.visible())
    if not ids:
        return 0
    for start in range(0, len(ids), CHUNK):
        part = Post.objects.filter(pk__in=ids[start : start + CHUNK])
        counted = list(part.newest_edits().values_list("pk", flat=True))
        part.update(
            text="",
            author_id="",
            author_username="",
            author_name="",
            raw=None,
            metrics={},
            references=[],
            deleted_at=timezone.now(),
        )
        posts_withdrawn.send(
            sender=Post,
            post_ids=ids[start : start + CHUNK],
            counted_ids=counted,
            reason="deleted",
        )
    transaction.on_commit(partial(metrics.POSTS.labels(source, "deleted").inc, len(ids)))
    return len(ids)
