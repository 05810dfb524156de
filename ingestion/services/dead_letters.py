"""Messages that could not be understood: kept to be looked at, and replayed after a fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.utils import timezone

from ingestion import sources
from ingestion.events import AuthorDeleted, IncomingPost, Malformed, PostDeleted
from ingestion.exceptions import NotConfigured
from ingestion.models import DeadLetter
from ingestion.services.posts import forget, forget_author, store
from ingestion.sources import LiveSource

# A source gone mad must not fill the disk: the oldest give way, the counters know of all.
KEPT_A_SOURCE = 10_000


def keep(source: str, letters: Sequence[Malformed]) -> None:
    """Put messages aside; of each its first 2 KiB."""
    if not letters:
        return
    made = DeadLetter.objects.bulk_create(
        DeadLetter(
            source=source,
            reason=letter.reason[:500],
            excerpt=letter.excerpt,
            size=max(letter.size, len(letter.excerpt)),
        )
        for letter in letters[-KEPT_A_SOURCE:]
    )
    # Looked at now and then, as counting costs.
    if any(letter.pk % 500 == 0 for letter in made) or len(made) > 500:
        _trim(source)


def _trim(source: str) -> None:
    kept = DeadLetter.objects.filter(source=source).order_by("-id")
    last = kept.values_list("pk", flat=True)[KEPT_A_SOURCE - 1 : KEPT_A_SOURCE].first()
    if last is not None:
        DeadLetter.objects.filter(source=source, pk__lt=last).delete()


def replay(letter_ids: Iterable[int]) -> dict[int, str]:
    """Have messages read again, as if they came now; what became of each, by primary key.

    Safe to repeat: a post that is stored already stays one.
    """
    outcomes: dict[int, str] = {}
    made: dict[str, LiveSource | str] = {}
    for letter in DeadLetter.objects.filter(pk__in=list(letter_ids)).order_by("id"):
        if letter.source not in made:
            made[letter.source] = _source(letter.source)
        letter.outcome = _replay(letter, made[letter.source])[:500]
        letter.replayed_at = timezone.now()
        letter.save(update_fields=["outcome", "replayed_at"])
        outcomes[letter.pk] = letter.outcome
    return outcomes


def _source(name: str) -> LiveSource | str:
    try:
        return sources.create(name)
    except NotConfigured as error:
        return str(error)


def _replay(letter: DeadLetter, source: LiveSource | str) -> str:
    if isinstance(source, str):
        return f"not replayed: {source}"
    if not letter.is_whole:
        return f"not replayed: only the first {len(letter.excerpt):,} of {letter.size:,} are kept"
    saved = known = gone = 0
    reasons: list[str] = []
    for event in source.parse(bytes(letter.excerpt)):
        if isinstance(event, Malformed):
            # Of a page of posts the others are.
            reasons.append(f"still not understood: {event.reason}")
        elif isinstance(event, IncomingPost):
            stored = store([event], read_from=source.name)
            saved += len(stored.post_ids)
            known += stored.duplicates
        elif isinstance(event, PostDeleted):
            gone += forget(event.source or source.name, event.external_ids)
        elif isinstance(event, AuthorDeleted):
            gone += forget_author(event.source or source.name, event.author_id)
    if saved or known or gone or not reasons:
        reasons.insert(0, f"{saved} saved, {known} known before, {gone} forgotten")
    return "; ".join(reasons)
