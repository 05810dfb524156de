"""Retention: posts that are too old to keep, removed for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from ingestion.models import DeadLetter, Post, Pruning
from modeling.models import Annotation

# Posts a transaction: with all that belongs to them, still a moment's work.
CHUNK = 1000


@dataclass
class Pruned:
    """How many rows were removed, and how many posts stay because somebody labelled them."""

    posts: int = 0
    dead_letters: int = 0
    labelled: int = 0


def prune(
    before: datetime,
    *,
    labelled_too: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Pruned:
    """Remove posts that arrived before a moment, with their predictions, and dead letters as old.

    Labelled posts stay, as models learn from them and are judged by them, unless `labelled_too`.
    Charts keep their numbers, and `Pruning` tells of which time posts are gone. Oldest first, so
    that it can be stopped and gone on with; `dry_run` only counts; `progress` is told how many
    posts went.
    """
    old = Post.objects.filter(received_at__lt=before)
    labelled = Exists(Annotation.objects.filter(post=OuterRef("pk")))
    letters = DeadLetter.objects.filter(received_at__lt=before)
    going = old if labelled_too else old.exclude(labelled)
    pruned = Pruned(labelled=0 if labelled_too else old.filter(labelled).count())
    if dry_run:
        pruned.posts, pruned.dead_letters = going.count(), letters.count()
        return pruned
    note = Pruning()
    while True:
        with transaction.atomic():
            # Held in this order by whoever classifies, too; what somebody holds now waits.
            chunk = list(
                going.select_for_update(skip_locked=True, of=("self",))
                .order_by("pk")
                .values_list("pk", "created_at")[:CHUNK]
            )
            if not chunk:
                break
            Post.objects.filter(pk__in=[pk for pk, _ in chunk]).delete()
            _write_down(note, [created_at for _, created_at in chunk])
        pruned.posts += len(chunk)
        if progress is not None:
            progress(len(chunk))
    pruned.dead_letters, _ = letters.delete()
    return pruned


def _write_down(note: Pruning, written: list[datetime]) -> None:
    """In the transaction that removes them, so that a process that dies in between says so, too."""
    note.posts += len(written)
    note.oldest = min([*written, *filter(None, [note.oldest])])
    note.newest = max([*written, *filter(None, [note.newest])])
    note.save()
