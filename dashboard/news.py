"""Following the predictions as they are written."""

from __future__ import annotations

import time

from dashboard import selectors
from dashboard.events import CountEvent, PostEvent

# An id that was jumped over is looked for so long: its transaction may commit later than one
# that began after it.
GRACE_SECONDS = 10.0
MAXIMUM_MISSING = 4000


class News:
    """What was judged since the last look: each prediction once, whatever order they commit in."""

    def __init__(self) -> None:
        self._last_id = selectors.latest_prediction_id()
        # Id → when it was jumped over; a challenger's predictions pass through here too.
        self._missing: dict[int, float] = {}

    def read(self) -> tuple[list[CountEvent], list[PostEvent]]:
        """Counts and newest posts of what appeared. Bounded: the rest comes with the next call."""
        ids, counts, posts = selectors.news_since(self._last_id, self._missing)
        self._note(ids)
        return counts, posts

    def _note(self, ids: list[int]) -> None:
        now = time.monotonic()
        newest = max([self._last_id, *ids])
        first = max(self._last_id + 1, newest - MAXIMUM_MISSING)
        jumped = dict.fromkeys(range(first, newest), now)
        waiting = {**self._missing, **jumped}
        for seen in ids:
            waiting.pop(seen, None)
        young = [(i, since) for i, since in waiting.items() if now - since < GRACE_SECONDS]
        self._missing = dict(young[-MAXIMUM_MISSING:])
        self._last_id = newest
