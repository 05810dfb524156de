"""What ingestion does when something needs a human."""

from typing import Any

from ingestion import tasks
from ingestion.services import alerts


def send_out(alert_id: int, **kwargs: Any) -> None:
    tasks.queue_alerts(alerts.unsent(alert_id))
