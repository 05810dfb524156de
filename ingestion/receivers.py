"""What ingestion does when something needs a human."""

from typing import Any

from ingestion import tasks
from ingestion.services import alerts


def send_out(alert_id: int, message: str, active: bool, **kwargs: Any) -> None:
    for channel in alerts.channels():
        tasks.deliver_alert.delay(alert_id, channel, message, active)
