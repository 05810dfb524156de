from django.apps import AppConfig


class IngestionConfig(AppConfig):
    """Streams posts from sources into the database."""

    name = "ingestion"

    def ready(self) -> None:
        from ingestion import (
            checks,  # noqa: F401 - registers itself
            receivers,
        )
        from ingestion.signals import alert_raised

        alert_raised.connect(receivers.send_out)
