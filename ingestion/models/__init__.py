"""What people follow (`Stream`), what arrived (`Post`), and how the sources are doing."""

from ingestion.models.alerts import Alert, AlertMessage, AlertQuerySet
from ingestion.models.audit import Audited, AuditEntry
from ingestion.models.collections import RecentSearch, WatchedFile
from ingestion.models.connections import Connection, ConnectionQuerySet
from ingestion.models.gaps import DeadLetter, Gap, GapQuerySet
from ingestion.models.posts import Post, PostQuerySet
from ingestion.models.sources import (
    API,
    ENTRY_POINTS,
    Source,
    brought_sources,
    post_source_choices,
    source_choices,
)
from ingestion.models.streams import Stream, StreamQuerySet
from ingestion.models.usage import DailyUsage, MonthlyUsage, Pruning

__all__ = [
    "API",
    "Alert",
    "AlertMessage",
    "AlertQuerySet",
    "AuditEntry",
    "Audited",
    "Connection",
    "ConnectionQuerySet",
    "DailyUsage",
    "DeadLetter",
    "ENTRY_POINTS",
    "Gap",
    "GapQuerySet",
    "MonthlyUsage",
    "Post",
    "PostQuerySet",
    "RecentSearch",
    "Pruning",
    "Source",
    "Stream",
    "StreamQuerySet",
    "WatchedFile",
    "brought_sources",
    "post_source_choices",
    "source_choices",
]
