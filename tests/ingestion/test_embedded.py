"""Worker and beat as threads of this process."""

import pytest
from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from ingestion import embedded
from ingestion.services import store
from modeling.models import ModelVersion, Prediction
from tests.conftest import wait_until
from tests.ingestion.factories import incoming

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(bool(settings.REDIS_URL), reason="the broker is a server here"),
]


def test_a_stored_post_is_classified_by_the_worker(champion: ModelVersion) -> None:
    with embedded.start_worker() as worker:
        store([incoming(), incoming()])
        assert worker.drain(60)
    assert Prediction.objects.count() == 2


def test_beat_runs_what_the_database_schedules(champion: ModelVersion) -> None:
    interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(
        name="sweep", task="modeling.classify_pending", interval=interval, start_time=timezone.now()
    )
    store([incoming()], announce=False)
    with embedded.start_worker(beat=True):
        wait_until(lambda: Prediction.objects.exists(), 60)


def test_it_stops_within_seconds_and_can_start_again() -> None:
    for _ in range(2):
        with embedded.start_worker(beat=True):
            pass
