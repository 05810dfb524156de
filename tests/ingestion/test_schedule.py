"""Beat's schedule when the clock is wrong for a while."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from ingestion.schedule import Scheduler

pytestmark = pytest.mark.django_db(transaction=True)


class Recording(Scheduler):
    """Notes what is due, where the real one sends it to the broker."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        super().__init__(app=current_app._get_current_object(), lazy=True)
        # It would write to the database at the interpreter's end, when there is none.
        self._finalize.cancel()

    def setup_schedule(self) -> None:
        """Only what the test has put into the database."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.sent.append(entry.name)

    def run_for(self, seconds: int, clock: Any) -> list[str]:
        """What was due while so many seconds passed."""
        self.sent.clear()
        for _ in range(seconds):
            while self.tick() == 0:
                pass
            clock.shift(1)
        return sorted(self.sent)


@pytest.fixture
def tasks() -> None:
    interval = IntervalSchedule.objects.create(every=10, period=IntervalSchedule.SECONDS)
    for name in ("first", "second"):
        PeriodicTask.objects.create(name=name, task=f"tests.{name}", interval=interval)


def test_a_clock_that_was_an_hour_ahead_pauses_nothing(tasks: None) -> None:
    begin = timezone.now()
    with time_machine.travel(begin, tick=False) as clock:
        scheduler = Recording()
        assert scheduler.run_for(25, clock) == ["first", "first", "second", "second"]
        clock.move_to(begin + timedelta(hours=1))
        assert scheduler.run_for(25, clock).count("second") >= 2
        clock.move_to(begin + timedelta(seconds=60))
        assert set(scheduler.run_for(15, clock)) == {"first", "second"}


def test_what_a_clock_ahead_has_written_does_not_pause_the_next_scheduler(tasks: None) -> None:
    PeriodicTask.objects.update(last_run_at=timezone.now() + timedelta(hours=1))
    with time_machine.travel(timezone.now(), tick=False) as clock:
        assert Recording().run_for(15, clock) == ["first", "second"]
