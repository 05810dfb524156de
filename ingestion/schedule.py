"""Beat's schedule, kept in the database, and not stopped by a clock that was wrong."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

# A clock that is set back by less than this is one that is being kept right.
NOTICED_SECONDS = 2.0


class Entry(ModelEntry):
    """A periodic task. One that seems to have run in the future ran by a clock that was ahead:
    waiting until that moment would pause it for as long."""

    last_run_at: datetime

    def is_due(self) -> Any:
        now = self._default_now()
        if self.last_run_at > now:
            self.last_run_at = self.model.last_run_at = now
        return super().is_due()


class Scheduler(DatabaseScheduler):
    """Orders its tasks anew when the clock goes back."""

    Entry = Entry
    _latest = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        now = time.time()
        if now < self._latest - NOTICED_SECONDS:
            # The heap holds moments of the clock that was ahead.
            self._heap = None
        self._latest = now
        return float(super().tick(*args, **kwargs))
