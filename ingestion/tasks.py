"""Celery tasks: thin, and safe to run twice."""

from contextlib import suppress
from smtplib import SMTPException
from typing import Any

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown

from ingestion import services
from ingestion.exceptions import NeedsAttention, NotConfigured, SourceError
from ingestion.models import Alert
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
    name="ingestion.deliver_alert",
    autoretry_for=(SourceError, SMTPException, OSError),
    dont_autoretry_for=(NeedsAttention,),
    retry_backoff=2,
    retry_backoff_max=300,
    max_retries=6,
)
def deliver_alert(alert_id: int, channel: str, message: str, active: bool) -> None:
    # An alert that was pruned meanwhile is no news any more.
    if (alert := Alert.objects.filter(pk=alert_id).first()) is not None:
        alerts.deliver(alert, channel, message, active=active)


@worker_shutdown.connect
@worker_process_shutdown.connect
def stop_streams(**kwargs: Any) -> None:
    services.stop_streams()
