from django.apps import AppConfig


class ModelingConfig(AppConfig):
    """Classifies posts, and trains, judges and serves the models that do it."""

    name = "modeling"

    def ready(self) -> None:
        from ingestion.signals import posts_ingested, posts_withdrawn
        from modeling import checks, receivers  # noqa: F401  (checks register themselves)

        posts_ingested.connect(receivers.classify_new_posts)
        posts_withdrawn.connect(receivers.note_forgotten_posts)
