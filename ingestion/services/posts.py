"""Storing what sources deliver, and forgetting what they take back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from ingestion import metrics
from ingestion.events import IncomingPost
from ingestion.models import Post, PostQuerySet, Stream
from ingestion.services import rows, usage
from ingestion.services.rows import NewPost
from ingestion.signals import posts_ingested, posts_joined, posts_withdrawn

# Rows a statement: below SQLite's limit of parameters, above the cost of a round trip.
CHUNK = 500


@dataclass
class Stored:
    """What became of a batch: ids of new posts, and of those that were there before.

    `counted` posts count as read: the new ones, and known ones that are billed once more.
    """

    post_ids: list[int] = field(default_factory=list)
    known_ids: list[int] = field(default_factory=list)
    duplicates: int = 0
    counted: int = 0


class _Known(NamedTuple):
    """A post that was there before, and when its source last showed it."""

    pk: int
    checked_at: datetime


@dataclass
class _Batch:
    """What is settled once all of a batch is inserted: new rows, by source, the links (post id,
    stream id) of posts that were known, known posts with the moment at which they were shown
    again, and how many posts count as read from each source (under None) and stream."""

    fresh: dict[str, list[NewPost]] = field(default_factory=lambda: defaultdict(list))
    links: set[tuple[int, int]] = field(default_factory=set)
    shown: dict[int, Post] = field(default_factory=dict)
    reads: dict[str, Counter[int | None]] = field(default_factory=lambda: defaultdict(Counter))


def store(
    posts: Sequence[IncomingPost], *, announce: bool = True, read_from: str | None = None
) -> Stored:
    """Save the posts that are new, in one transaction; link those that are known to more streams.

    Safe to repeat and to run in several processes at once: the constraint decides who is first.
    `posts_ingested` follows the commit unless `announce` is off. `read_from` names the source that
    was read, where posts may be another's, as those of files: they count as read from that one,
    and no source has billed them. A few queries for each 500 posts, whatever they hold.
    """
    stored, batch = Stored(), _Batch()
    with transaction.atomic():
        streams = _existing_streams(posts)
        for source, chunk in _chunks(posts):
            _store_chunk(source, chunk, streams, stored, batch, read_from or source)
        _settle(batch)
        for source, reads in sorted(batch.reads.items()):
            usage.count(source, reads)
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
    source: str,
    posts: Sequence[IncomingPost],
    streams: set[int],
    stored: Stored,
    batch: _Batch,
    reader: str,
) -> None:
    unique: dict[str, IncomingPost] = {}
    for post in posts:
        seen = unique.get(post.external_id)
        if seen is not None:
            post = replace(seen, stream_ids=seen.stream_ids | post.stream_ids)
        unique[post.external_id] = post
    _one_at_a_time(source)
    known, fresh = _insert(source, unique)
    known_ids = {key: post.pk for key, post in known.items()}
    stored.known_ids += known_ids.values()
    stored.post_ids += (row.pk for row in fresh)
    batch.fresh[source] += fresh
    batch.links |= _links(known_ids, unique, streams)
    read = {row.external_id: row.pk for row in fresh}
    links = _links(read, unique, streams)
    rows.insert_links(links)
    if usage.is_billed(source):
        if reader == source:
            again = _billed_again(known, unique, batch)
            read |= again
            links |= _links(again, unique, streams)
        else:
            _mark_undelivered(read.values())
    stored.counted += len(read)
    batch.reads[reader].update(stream for _, stream in links)
    batch.reads[reader][None] += len(read)
    transaction.on_commit(partial(_count, source, len(fresh), len(posts) - len(fresh)))


def _one_at_a_time(source: str) -> None:
    """Of one source's posts only one transaction stores at a time.

    Two that each stored a version of the same post would not see the other's, and both versions
    would count. SQLite has one writer at a time anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"store:{source}"])


def _billed_again(
    known: dict[str, _Known], posts: dict[str, IncomingPost], batch: _Batch
) -> dict[str, int]:
    """Known posts (external id → primary key) that cost once more: each does on every day (UTC) on
    which it is delivered."""
    now = timezone.now()
    again: dict[str, int] = {}
    for key, (pk, shown_at) in known.items():
        read_at = posts[key].received_at or now
        if pk not in batch.shown and shown_at.date() < read_at.date():
            batch.shown[pk] = Post(pk=pk, checked_at=read_at)
            again[key] = pk
    return again


def _mark_undelivered(post_ids: Iterable[int]) -> None:
    """The source has not shown these new posts today: to ask for them, or read them, costs."""
    yesterday = timezone.now() - timedelta(days=1)
    Post.objects.filter(pk__in=list(post_ids)).update(checked_at=yesterday)


def _links(
    pks: dict[str, int], posts: dict[str, IncomingPost], streams: set[int]
) -> set[tuple[int, int]]:
    return {(pk, stream) for key, pk in pks.items() for stream in posts[key].stream_ids & streams}


def _count(source: str, saved: int, duplicates: int) -> None:
    metrics.POSTS.labels(source, "saved").inc(saved)
    metrics.POSTS.labels(source, "duplicate").inc(duplicates)


def _insert(
    source: str, unique: dict[str, IncomingPost]
) -> tuple[dict[str, _Known], list[NewPost]]:
    """Insert what is not there; return what was, by external id, and the new rows."""
    fresh = rows.insert_posts(source, unique)
    if len(fresh) == len(unique):
        return {}, fresh
    there = unique.keys() - {row.external_id for row in fresh}
    known = Post.objects.filter(source=source, external_id__in=there)
    found = known.values_list("external_id", "pk", "checked_at")
    return {key: _Known(pk, checked_at) for key, pk, checked_at in found}, fresh


def _settle(batch: _Batch) -> None:
    """Link known posts to further streams, note which were shown again, and let edits take the
    place of what they edit.

    Every post concerned is held before the first signal goes out: whoever classifies holds posts
    before roll-ups too, so that nobody waits for the other in a circle.
    """
    changes = [_chained(source, fresh) for source, fresh in sorted(batch.fresh.items())]
    moved = [post for change in changes for post in change.moved]
    superseded = {post.pk for change in changes for post in change.superseded}
    missing = _missing(batch.links)
    linked = {post for post, _ in missing}
    hold({post.pk for post in moved} | superseded | linked | set(batch.shown))
    Post.objects.bulk_update(moved, ["edited_from"], batch_size=CHUNK)
    Post.objects.bulk_update(batch.shown.values(), ["checked_at"], batch_size=CHUNK)
    _supersede(sorted(superseded))
    _join(missing)
    for source, change in zip(sorted(batch.fresh), changes, strict=True):
        if change.orphaned:
            _erase(source, Post.objects.filter(pk__in=change.orphaned))


@dataclass
class _Chained:
    """What new versions change: whose predecessor is another one now, which posts a later version
    replaces, and which new ones belong to a post that is deleted."""

    moved: list[Post] = field(default_factory=list)
    superseded: list[Post] = field(default_factory=list)
    orphaned: list[int] = field(default_factory=list)


def _chained(source: str, fresh: Sequence[NewPost]) -> _Chained:
    """Chain the versions of each post, oldest to newest, in whatever order they arrived."""
    change = _Chained()
    new = {row.pk for row in fresh}
    for start in range(0, len(fresh), CHUNK):
        part = fresh[start : start + CHUNK]
        for chain in _chains(source, {row.original_id or row.external_id for row in part}):
            for earlier, later in zip(chain, chain[1:], strict=False):
                if later.edited_from_id != earlier.pk:
                    later.edited_from = earlier
                    change.moved.append(later)
                if not earlier.is_superseded:
                    change.superseded.append(earlier)
            if any(post.deleted_at for post in chain):
                change.orphaned += [post.pk for post in chain if post.pk in new]
    return change


def _chains(source: str, originals: set[str]) -> Iterable[list[Post]]:
    """All stored versions, oldest first, of each of these posts that has been edited."""
    chains: dict[str, list[Post]] = defaultdict(list)
    for edit in Post.objects.edits_of(source, originals):
        chains[edit.original_id].append(edit)
    if chains:
        for first in Post.objects.filter(source=source, external_id__in=chains):
            chains[first.external_id].append(first)
    for chain in chains.values():
        # Ids of versions are numbers that grow, or grow longer.
        chain.sort(key=lambda post: (len(post.external_id), post.external_id))
    return chains.values()


def _supersede(post_ids: Sequence[int]) -> None:
    """These no longer count: a later version does. They are held."""
    for start in range(0, len(post_ids), CHUNK):
        part = Post.objects.filter(pk__in=post_ids[start : start + CHUNK], is_superseded=False)
        held = list(part.order_by("pk").values_list("pk", "deleted_at"))
        if not held:
            continue
        part.update(is_superseded=True)
        posts_withdrawn.send(
            sender=Post,
            post_ids=[pk for pk, _ in held],
            counted_ids=[pk for pk, deleted_at in held if deleted_at is None],
            reason="edited",
        )


def _missing(links: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the links that are not there."""
    missing = set(links)
    posts = sorted({post for post, _ in missing})
    for start in range(0, len(posts), CHUNK):
        there = Post.streams.through.objects.filter(post_id__in=posts[start : start + CHUNK])
        missing -= set(there.values_list("post_id", "stream_id"))
    return missing


def _join(links: set[tuple[int, int]]) -> None:
    """Link known posts to further streams. They are held, so that each link is told once."""
    joined = _missing(links)
    if joined:
        rows.insert_links(joined)
        posts_joined.send(sender=Post, links=sorted(joined))


def hold(post_ids: Iterable[int]) -> None:
    """Hold these posts until the transaction ends, so that they neither stop nor begin to count.

    Always in the order of their ids: two that hold posts wait for each other, never in a circle.
    SQLite has one writer at a time, and needs no holding.
    """
    if not connection.features.has_select_for_update:
        return
    ids = sorted(set(post_ids))
    for start in range(0, len(ids), CHUNK):
        _locked(Post.objects.filter(pk__in=ids[start : start + CHUNK]))


def _locked(posts: PostQuerySet) -> list[int]:
    """Primary keys, in order, held until the transaction ends where the database can do so."""
    if connection.features.has_select_for_update:
        posts = posts.select_for_update(no_key=True)
    return list(posts.order_by("pk").values_list("pk", flat=True))


def forget(source: str, external_ids: Iterable[str]) -> int:
    """Honour a deletion: text, author and raw data of these posts and all their versions go.

    The rows stay, so that a late repetition or edit does not bring the posts back. Returns how
    many posts were forgotten now; safe to repeat.
    """
    named = sorted(set(external_ids))
    return sum(
        _forget_part(source, set(named[start : start + CHUNK]))
        for start in range(0, len(named), CHUNK)
    )


@transaction.atomic
def _forget_part(source: str, named: set[str]) -> int:
    _one_at_a_time(source)
    of_source = Post.objects.filter(source=source)
    edits = of_source.filter(external_id__in=named).exclude(original_id="")
    roots = named | set(edits.values_list("original_id", flat=True))
    versions = Q(external_id__in=roots) | (Q(original_id__in=roots) & ~Q(original_id=""))
    return _erase(source, of_source.filter(versions))


def forget_author(source: str, author_id: str) -> int:
    """Honour the deletion of an account: everything that it wrote is forgotten.

    Returns how many posts were forgotten now; safe to repeat, as after an interruption: each
    part commits by itself.
    """
    if not author_id:
        return 0
    theirs = Post.objects.visible().filter(source=source, author_id=author_id)
    ids = list(theirs.order_by("pk").values_list("pk", flat=True))
    return sum(
        _erase(source, Post.objects.filter(pk__in=ids[start : start + CHUNK]))
        for start in range(0, len(ids), CHUNK)
    )


@transaction.atomic
def _erase(source: str, posts: PostQuerySet) -> int:
    """Take out of these posts what their author took back; roll-ups hear of it."""
    ids = _locked(posts.visible())
    if not ids:
        return 0
    erased = Post.objects.filter(pk__in=ids)
    counted = list(erased.newest_edits().values_list("pk", flat=True))
    erased.update(
        text="",
        author_id="",
        author_username="",
        author_name="",
        raw=None,
        metrics={},
        references=[],
        deleted_at=timezone.now(),
    )
    posts_withdrawn.send(sender=Post, post_ids=ids, counted_ids=counted, reason="deleted")
    transaction.on_commit(partial(metrics.POSTS.labels(source, "deleted").inc, len(ids)))
    return len(ids)
