"""Following what is written: new judgements, and posts that stop counting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from django.utils import timezone

from dashboard import selectors
from dashboard.events import CountEvent, PostEvent
from dashboard.models import Withdrawal
from modeling.models import Prediction

# An id that was jumped over is looked for so long: its transaction may commit later than one
# that began after it.
GRACE_SECONDS = 10.0
MAXIMUM_MISSING = 4000
KEEP_WITHDRAWALS = timedelta(hours=1)


class Happened(NamedTuple):
    """What changed: counts (of withdrawn posts negative), newest posts, ids of withdrawn ones."""

    counts: list[CountEvent]
    posts: list[PostEvent]
    withdrawn: list[int]


class News:
    """What was judged or withdrawn since the last look: each once, whatever order they commit in.

    A post that is judged and withdrawn between two looks adds and takes off the same.
    """

    def __init__(self) -> None:
        self._judged = Follower(selectors.latest_id(Prediction))
        self._withdrawn = Follower(selectors.latest_id(Withdrawal))

    def read(self) -> Happened:
        """What appeared. Bounded: the rest comes with the next call."""
        ids, counts, posts = selectors.news_since(self._judged.last_id, self._judged.missing)
        self._judged.note(ids)
        # After the judgements: of a post that was withdrawn, the judgement has been told.
        ids, gone, withdrawn = selectors.withdrawn_since(
            self._withdrawn.last_id, self._withdrawn.missing
        )
        self._withdrawn.note(ids)
        return Happened(counts + gone, posts, withdrawn)


class Follower:
    """How far a table has been read by its ids, and which were jumped over."""

    def __init__(self, last_id: int) -> None:
        self.last_id = last_id
        # Id → when it was jumped over; a challenger's predictions pass through here too.
        self.missing: dict[int, float] = {}

    def note(self, ids: Sequence[int]) -> None:
        """These were read."""
        now = time.monotonic()
        newest = max([self.last_id, *ids])
        first = max(self.last_id + 1, newest - MAXIMUM_MISSING)
        waiting = {**self.missing, **dict.fromkeys(range(first, newest), now)}
        for seen in ids:
            waiting.pop(seen, None)
        young = [(i, since) for i, since in waiting.items() if now - since < GRACE_SECONDS]
        self.missing = dict(young[-MAXIMUM_MISSING:])
        self.last_id = newest


def note_withdrawn(post_ids: Sequence[int]) -> None:
    """Let open pages of every process know, once this transaction commits."""
    judged = Prediction.objects.serving().filter(post_id__in=post_ids)
    gone = sorted(set(judged.values_list("post_id", flat=True)))
    if not gone:
        return
    Withdrawal.objects.bulk_create(Withdrawal(post_id=post_id) for post_id in gone)
    Withdrawal.objects.filter(created_at__lt=timezone.now() - KEEP_WITHDRAWALS).delete()
