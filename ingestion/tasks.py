"""Celery tasks: thin, and safe to run twice."""

from contextlib import suppress
from typing import Any

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown

from ingestion import services
from ingestion.exceptions import NeedsAttention, NotConfigured, SourceError


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


@worker_shutdown.connect
@worker_process_shutdown.connect
def stop_streams(**kwargs: Any) -> None:
    services.stop_streams()
