"""Celery tasks: thin, and safe to run twice."""

from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown

from ingestion import services
from ingestion.exceptions import NeedsAttention, NotConfigured, SourceError
from ingestion.services import alerts


@shared_task(name="ingestion.ensure_streams")
def ensure_streams() -> list[str]:
    return services.ensure_streams()


@shared_task(
    name="ingestion.sync_streams",
    autoretry_for=(SourceError,),
    dont_autoretry_for=(NeedsAttention,),
    retry_backoff=True,
    max_retries=5,
)
def sync_streams(source: str) -> None:
    # Without credentials there is nothing to sync with.
    with suppress(NotConfigured):
        services.sync_streams(source)


# One task a channel: what arrived by one is not sent again because the other one failed.
@shared_task(
    name="ingestion.send_alert",
    autoretry_for=(SourceError, OSError),
    dont_autoretry_for=(NeedsAttention,),
    retry_backoff=2,
    retry_backoff_max=300,
    max_retries=6,
)
def send_alert(message_id: int) -> None:
    alerts.send(message_id)


@shared_task(name="ingestion.send_alerts")
def send_alerts() -> int:
    """Queue what was left behind."""
    return queue_alerts(alerts.unsent())


def queue_alerts(message_ids: list[int]) -> int:
    """Raises kombu's OperationalError while the broker is away: the sweep comes back to them."""
    for message_id in message_ids:
        send_alert.delay(message_id)
        alerts.queued(message_id)
    return len(message_ids)


@worker_shutdown.connect
@worker_process_shutdown.connect
def stop_streams(**kwargs: Any) -> None:
    services.stop_streams()
