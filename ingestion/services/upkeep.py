"""What a streamed source needs beside its stream: budgets, gaps, deletions. One thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError, connections

from ingestion.exceptions import SourceError
from ingestion.services import spend
from ingestion.services.deletions import look_up_deletions
from ingestion.services.gaps import fill_gaps
from ingestion.sources import LiveSource, ReportsUsage

logger = logging.getLogger(__name__)

TURN_SECONDS = 1.0
GOVERN_SECONDS = 5.0
FILL_SECONDS = 5.0
LOOK_UP_SECONDS = 60.0
USAGE_SECONDS = 900.0


@dataclass
class _Duty:
    """Something to do every so often; after a failure not at once again."""

    act: Callable[[], object]
    seconds: float
    due: float = 0.0

    def run_if_due(self, now: float) -> None:
        if now < self.due:
            return
        self.due = now + self.seconds
        try:
            self.act()
        except (SourceError, DatabaseError) as error:
            logger.warning("%s; trying again in %.0f s", error, max(self.seconds, 60))
            self.due = now + max(self.seconds, 60)
            connections.close_all()
        except Exception:
            # The stream must go on, whatever is wrong here.
            logger.exception("an unforeseen failure beside the stream")
            self.due = now + 300


class Upkeep:
    """Does a source's duties while its stream runs."""

    def __init__(self, source: LiveSource, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the governor held a stream or let it go."""
        self._source = source
        self._on_change = on_change
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._govern = _Duty(self._do_govern, GOVERN_SECONDS)
        self._duties = [
            _Duty(lambda: fill_gaps(source), FILL_SECONDS),
            _Duty(lambda: look_up_deletions(source), LOOK_UP_SECONDS, LOOK_UP_SECONDS),
        ]
        if source.is_paid:
            self._duties.append(self._govern)
        if isinstance(source, ReportsUsage):
            self._duties.append(
                _Duty(lambda: spend.check_usage(source, source.name), USAGE_SECONDS, 0)
            )
        self._thread = threading.Thread(target=self._run, name=f"{source.name}-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _do_govern(self) -> None:
        if spend.govern(self._source.name):
            self._on_change()

    def govern_now(self) -> None:
        """Much was read at once: look at the budget now."""
        self._govern.due = 0.0
        self._hurry.set()

    def stop(self, seconds: float) -> None:
        """Let what runs come to its end, for a while; it is safe to be cut."""
        self._stop.set()
        self._hurry.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for duty in self._duties:
                    if not self._stop.is_set():
                        duty.run_if_due(time.monotonic())
                self._hurry.wait(TURN_SECONDS)
                self._hurry.clear()
        finally:
            connections.close_all()
