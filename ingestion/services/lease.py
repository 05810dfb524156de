"""The lease that lets one process stream a source at a time."""

from __future__ import annotations

import os
import socket
from typing import Any
from uuid import uuid4

from django.utils import timezone

from ingestion.models import Connection

LEASE = Connection.LEASE
RENEW_SECONDS = 3.0


class Lease:
    """One process's claim to a source's `Connection`, by conditional UPDATE."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.owner = f"{socket.gethostname()[:64]}:{os.getpid()}:{uuid4().hex[:8]}"

    def acquire(self) -> Connection | None:
        """The connection's row when nobody else holds it; then it is ours.

        Its status is still what the last holder left: how it ended.
        """
        now = timezone.now()
        Connection.objects.get_or_create(source=self.source)
        taken = (
            Connection.objects.filter(source=self.source)
            .free(now)
            .update(
                lease_owner=self.owner,
                lease_expires_at=now + LEASE,
                next_attempt_at=None,
                updated_at=now,
            )
        )
        return Connection.objects.get(source=self.source) if taken else None

    def renew(self, **changes: Any) -> bool:
        """Hold on, and write `changes` to the row; False when another process has taken over."""
        now = timezone.now()
        return self._update(lease_expires_at=now + LEASE, updated_at=now, **changes)

    def release(self, **changes: Any) -> bool:
        """Let the next one have it at once."""
        return self._update(
            lease_owner="",
            lease_expires_at=None,
            next_attempt_at=None,
            updated_at=timezone.now(),
            **changes,
        )

    def _update(self, **changes: Any) -> bool:
        mine = Connection.objects.filter(source=self.source, lease_owner=self.owner)
        return mine.update(**changes) == 1
