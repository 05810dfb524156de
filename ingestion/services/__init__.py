"""What ingestion does; commands, tasks, the admin and the apps above call these."""

from ingestion.services.posts import Stored, forget, store

__all__ = ["Stored", "forget", "store"]
