"""Asking a source whether stored posts still stand, where it does not tell of itself.

A post read again on the day (UTC) on which it was read costs nothing more, so posts that the source
delivered today are asked for freely; older and imported ones within a daily allowance, as each
costs as much as a new one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet, Sum
from django.utils import timezone

from ingestion.models import DailyUsage, Post
from ingestion.services import spend, usage
from ingestion.services.posts import forget
from ingestion.sources import LiveSource, LooksUp

BATCH = 100
# A post is not asked for again sooner than this.
REST = timedelta(hours=1)
REST_OF_OLDER = timedelta(days=1)


def look_up_deletions(source: LiveSource) -> int:
    """Ask for the next hundred posts of each kind; return how many were forgotten.

    Raises SourceError.
    """
    if not isinstance(source, LooksUp):
        return 0
    now = timezone.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # What was imported today has not been shown today.
    today = {"received_at__gte": midnight, "checked_at__gte": midnight}
    count = _ask(source, _waiting(source.name, now - REST).filter(**today), now)
    older = _waiting(source.name, now - REST_OF_OLDER)
    allowed = min(BATCH, _allowance(source.name, now))
    if allowed > 0:
        count += _ask(source, older, now, limit=allowed, is_counted=True)
    return count


def _waiting(source: str, before: datetime) -> QuerySet[Post]:
    """The longest unasked first."""
    return (
        Post.objects.visible().filter(source=source, checked_at__lt=before).order_by("checked_at")
    )


def _allowance(source: str, now: datetime) -> int:
    """Older posts that may still be asked for today."""
    if not spend.may_read(source):
        return 0
    today = DailyUsage.objects.filter(source=source, day=now.date(), stream=None)
    asked = today.aggregate(total=Sum("looked_up"))["total"] or 0
    return max(0, settings.TWITTER_DELETION_CHECKS_PER_DAY - int(asked))


def _ask(
    source: LooksUp,
    posts: QuerySet[Post],
    now: datetime,
    *,
    limit: int = BATCH,
    is_counted: bool = False,
) -> int:
    asked = dict(posts.values_list("external_id", "pk")[:limit])
    if not asked:
        return 0
    gone = source.gone(list(asked))
    # Whoever can look posts up is a source, and has a name.
    name = source.name  # type: ignore[attr-defined]
    Post.objects.filter(pk__in=asked.values()).update(checked_at=now)
    if is_counted:
        # What is gone is not delivered, and not billed.
        usage.count_looked_up(name, len(asked) - len(gone))
    return forget(name, gone) if gone else 0
