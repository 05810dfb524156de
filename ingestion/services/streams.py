"""What is followed: keeping a source's rules in step with the active streams."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion import sources
from ingestion.exceptions import NotConfigured, QueryTaken, SourceError
from ingestion.models import Stream
from ingestion.services import audit
from ingestion.services.audit import AT_A_SHELL, Action, Actor
from ingestion.sources import Followed, LiveSource, Validates

logger = logging.getLogger(__name__)

MAX_QUERY = 1024


@transaction.atomic
def follow_query(source: str, query: str, *, by: Actor = AT_A_SHELL) -> Stream:
    """The active stream of this query, made or woken up when there is none."""
    query = " ".join(query.split())
    if not query:
        raise NotConfigured("the query is empty")
    if len(query) > MAX_QUERY:
        raise NotConfigured(f"the query is longer than {MAX_QUERY} characters")
    same = Stream.objects.of_source(source).filter(query=query)
    stream = same.active().first() or same.first()
    if stream is None:
        name = query[:80]
        if Stream.objects.filter(name=name).exists():
            name = f"{name} ({timezone.now():%Y-%m-%d %H:%M:%S})"
        return save_stream(Stream(name=name, source=source, query=query), by=by)
    if not stream.is_active:
        stream.is_active = True
        save_stream(stream, by=by, fields=["is_active"])
    return stream


@transaction.atomic
def save_stream(stream: Stream, *, by: Actor, fields: Iterable[str] | None = None) -> Stream:
    """Save a new or changed stream, `fields` of it or all, and write down who changed what.

    Whoever has read the row a while ago names the fields that they change: a pause or a hold that
    came meanwhile stays.
    """
    stored = Stream.objects.select_for_update().filter(pk=stream.pk).first() if stream.pk else None
    stream.save(update_fields=None if fields is None else [*fields, "updated_at"])
    if fields is not None:
        stream.refresh_from_db()
    audit.record(Action.CHANGED if stored else Action.ADDED, stream, by, before=audit.facts(stored))
    return stream


@transaction.atomic
def delete_streams(streams: Iterable[Stream], *, by: Actor) -> None:
    """Delete streams, and write down who did; their posts stay."""
    for stream in streams:
        audit.record(Action.DELETED, stream, by, before=audit.facts(stream))
        stream.delete()


def switch_streams(
    stream_ids: Iterable[int], *, is_active: bool, by: Actor
) -> tuple[int, set[str]]:
    """Pause or resume streams; return how many, and the sources to bring in step.

    Raises QueryTaken, changing nothing, when two would follow the same query.
    """
    streams = Stream.objects.filter(pk__in=list(stream_ids))
    sources_changed = set(streams.values_list("source", flat=True))
    try:
        with transaction.atomic():
            changed = list(streams.select_for_update().exclude(is_active=is_active))
            count = streams.update(is_active=is_active, updated_at=timezone.now())
            for stream in changed:
                before = audit.facts(stream)
                stream.is_active = is_active
                audit.record(Action.CHANGED, stream, by, before=before)
    except IntegrityError as error:
        raise QueryTaken(
            "Two of these streams, or one and an active one, have the same query."
        ) from error
    return count, sources_changed


@dataclass(frozen=True)
class Verdict:
    """What a source says of a stream before it is followed: `reason` is "" when nothing is wrong.

    `note` says why it could not be asked, where it could not.
    """

    reason: str = ""
    note: str = ""


def judge_stream(stream: Stream) -> Verdict:
    """Ask the stream's source whether it would take its query. Never raises: who saves goes on."""
    try:
        source = sources.create(stream.source)
        if isinstance(source, Validates):
            return Verdict(source.validate(stream))
    except (NotConfigured, SourceError) as error:
        return Verdict(note=f"The query was not checked: {error}")
    return Verdict()


def sync_streams(source: LiveSource | str) -> Followed:
    """Make the source follow exactly the followed streams; what it refuses is shown on them.

    Raises SourceError when the source cannot be asked, NotConfigured without credentials.
    """
    if isinstance(source, str):
        source = sources.create(source)
    streams = list(Stream.objects.followed().of_source(source.name))
    followed = source.follow(streams)
    with transaction.atomic():
        for stream in streams:
            rule_id = followed.rule_ids.get(stream.pk, "")
            error = followed.refused.get(stream.pk, "")
            if (stream.rule_id, stream.last_error) != (rule_id, error):
                Stream.objects.filter(pk=stream.pk).update(rule_id=rule_id, last_error=error)
        paused = Stream.objects.of_source(source.name).exclude(pk__in=[s.pk for s in streams])
        paused.exclude(rule_id="", last_error="").update(rule_id="", last_error="")
    for pk, reason in followed.refused.items():
        logger.warning("stream %d is not followed: %s", pk, reason)
    if followed.foreign:
        logger.warning(
            "%s has %d rules that this project did not make; they are left alone: %s",
            source.name,
            len(followed.foreign),
            "; ".join(followed.foreign[:5]),
        )
    return followed
