"""What readers of formats hand over: one record after the other, not yet a post."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from ingestion.exceptions import BadPost

# A record longer than this is not a post; without a bound one bad file would fill the memory.
MAX_LINE = 4 * 1024 * 1024
EXCERPT = 64 * 1024

Value = bytes | Mapping[str, Any] | BadPost


@dataclass(frozen=True, slots=True)
class Record:
    """One record: JSON still to be read, named fields, or why it is neither.

    `start` and `end` are its place among the unpacked bytes; 0 where a format has no such place.
    `is_cut` tells that the file ends where the record does: more of it may be to come.
    """

    line: int
    value: Value
    start: int = 0
    end: int = 0
    is_cut: bool = False
    raw: bytes = b""

    def excerpt(self) -> bytes:
        """The record as bytes, to be looked at and read again."""
        if isinstance(self.value, bytes):
            return self.value
        if isinstance(self.value, Mapping):
            return json.dumps(dict(self.value), ensure_ascii=False, default=str).encode(
                "utf-8", "surrogateescape"
            )
        return self.raw


@dataclass
class Place:
    """Where in the file the reader is."""

    line: int = 0
    # Unpacked bytes, and whether they are the file's own.
    consumed: int = 0
    is_packed: bool = False
    raw: IO[bytes] | None = None

    def offset(self) -> int:
        """Bytes of the file that have been read."""
        try:
            return self.raw.tell() if self.raw is not None else 0
        except (OSError, ValueError):
            # A pipe has no position, a closed file none any more.
            return 0


def decode(text: bytes) -> Mapping[str, Any]:
    """The JSON object of a record. Raises BadPost."""
    try:
        item = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadPost(f"it is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise BadPost(f"it is not JSON: {error}") from error
    if not isinstance(item, dict):
        raise BadPost("it is not a JSON object")
    return item
