from django.apps import AppConfig


class SentimentSiteConfig(AppConfig):
    """The composition root: whole-program commands (`bootstrap`, `demo`) live here."""

    name = "sentiment_site"
