"""What can go wrong in ingestion; interfaces translate these into messages and exit codes."""

from __future__ import annotations


class IngestionError(Exception):
    """Base class; the message is one sentence that a user can act on."""


class BadPost(IngestionError, ValueError):
    """A message that cannot become a post; the message says why."""


class UnusableFile(IngestionError):
    """A file that cannot be read as posts at all."""


class BadQuery(IngestionError, ValueError):
    """A query of our own filter language that cannot be read; the message says where and why."""


class NotConfigured(IngestionError):
    """A source lacks credentials or has nothing to follow."""


class QueryTaken(IngestionError):
    """Another active stream of the source has this query already."""


class StreamHeld(IngestionError):
    """Another process streams this source."""


class SourceError(IngestionError):
    """A connection failed or ended. `kind` is a short word for metrics."""

    kind = "error"


class NeedsAttention(SourceError):
    """Retrying cannot help: credentials, entitlement, credit."""

    kind = "refused"


class RateLimited(SourceError):
    """Too many connects. `retry_at` is when the window turns (Unix seconds), when known."""

    kind = "rate_limited"

    def __init__(self, message: str, retry_at: float | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class Unavailable(SourceError):
    """The source has trouble of its own (5xx)."""

    kind = "unavailable"


class NothingFollowed(Unavailable):
    """The source knows nothing to deliver: every stream was refused, perhaps."""

    kind = "no_rules"


class NetworkFault(SourceError):
    """Refused, reset, timed out, cut in the middle of a line."""

    kind = "network"


class Stalled(NetworkFault):
    """Silent for longer than its keep-alive allows."""

    kind = "stalled"


class Closed(SourceError):
    """The source ended the connection in good order."""

    kind = "closed"
