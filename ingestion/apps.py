from django.apps import AppConfig


class IngestionConfig(AppConfig):
    """Streams posts from sources into the database."""

    name = "ingestion"
