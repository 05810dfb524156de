from django.apps import AppConfig


class ModelingConfig(AppConfig):
    """Classifies posts, and trains, judges and serves the models that do it."""

    name = "modeling"
