from django.apps import AppConfig


class IngestionConfig(AppConfig):
    """Streams posts from sources into the database."""

    name = "ingestion"

    def ready(self) -> None:
        from ingestion import checks  # noqa: F401 - registers itself
