"""How a run of a source fares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ingestion.models import Connection


@dataclass
class Tally:
    """Counts are of this run alone."""

    source: str
    status: str = Connection.Status.CONNECTING
    received: int = 0
    saved: int = 0
    duplicates: int = 0
    malformed: int = 0
    deleted: int = 0
    reconnects: int = 0
    # Waiting in the write-ahead file.
    spilled_bytes: int = 0
    seconds: float = 0.0
    # From the newest post's creation to its being stored.
    delay_seconds: float | None = None
    last_error: str = ""
    ended_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
