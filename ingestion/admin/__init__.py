"""What people follow, what arrived, and how the sources are doing."""

from ingestion.admin import alerts, audit, gaps, streams, usage
from ingestion.admin.base import ReadOnly
from ingestion.admin.posts import EXCERPT, PostAdmin

__all__ = ["EXCERPT", "PostAdmin", "ReadOnly", "alerts", "audit", "gaps", "streams", "usage"]
