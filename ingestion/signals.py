"""Nudges that ingestion sends upwards."""

from django.dispatch import Signal

# Posts were committed. Argument: `post_ids`, a list of int in insertion order.
posts_ingested = Signal()
