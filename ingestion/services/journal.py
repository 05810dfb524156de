"""Events as lines of a file, and back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    Heartbeat,
    IncomingPost,
    Malformed,
    PostDeleted,
    Reference,
    clean,
    malformed,
)
from ingestion.exceptions import BadPost


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended; the next attempt is at `retry_at`. `kind` is the error's."""

    kind: str
    message: str
    retry_at: datetime

    def __post_init__(self) -> None:
        # Sources quote what they were told.
        object.__setattr__(self, "message", clean(self.message))


@dataclass(frozen=True, slots=True)
class Idle:
    """There is nothing to follow, so nothing can be missed."""


@dataclass(frozen=True, slots=True)
class Began:
    """A process began to read; what it followed until then is missing. `cause` says since why."""

    cause: str
    message: str


News = Event | Lost | Idle | Began


@dataclass(frozen=True, slots=True)
class Item:
    """What the reader hands over, and when it came (Unix seconds)."""

    at: float
    event: News

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


def encode(item: Item) -> bytes:
    """One line, sealed: a line that a crash cut short is told from a whole one."""
    event = item.event
    kind = type(event).__name__
    body = _WRITERS.get(kind, asdict)(event)
    # A table's raw rows hold more than JSON knows.
    text = json.dumps([item.at, kind, body], ensure_ascii=False, separators=(",", ":"), default=str)
    line = text.encode("utf-8", "surrogatepass")
    return b"%08x %s\n" % (zlib.crc32(line), line)


def decode(line: bytes) -> Item | None:
    """The item of a line; None when the line is not whole."""
    seal, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or seal != b"%08x" % zlib.crc32(body):
        return None
    at, kind, values = json.loads(body.decode("utf-8", "surrogatepass"))
    try:
        return Item(at, _READERS[kind](values))
    except BadPost as error:
        # It was good enough for an earlier release.
        return Item(at, malformed(f"it waited on file: {error}", body))


def _write_post(post: Any) -> dict[str, Any]:
    # Not asdict: it would copy `raw` to the last leaf.
    values = {field.name: getattr(post, field.name) for field in fields(IncomingPost)}
    return values | {
        "created_at": post.created_at.isoformat(),
        "references": [[ref.kind, ref.external_id] for ref in post.references],
        "metrics": dict(post.metrics),
        "stream_ids": sorted(post.stream_ids),
        "received_at": None,
    }


def _read_post(values: dict[str, Any]) -> IncomingPost:
    return IncomingPost(
        **values
        | {
            "created_at": datetime.fromisoformat(values["created_at"]),
            "references": tuple(Reference(*pair) for pair in values["references"]),
            "edit_history": tuple(values["edit_history"]),
            "stream_ids": frozenset(values["stream_ids"]),
        }
    )


def _write_malformed(event: Any) -> dict[str, Any]:
    return {"reason": event.reason, "excerpt": event.excerpt.hex(), "size": event.size}


def _write_lost(event: Any) -> dict[str, Any]:
    return asdict(event) | {"retry_at": event.retry_at.isoformat()}


_WRITERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "IncomingPost": _write_post,
    "Malformed": _write_malformed,
    "Lost": _write_lost,
}
_READERS: dict[str, Callable[[dict[str, Any]], News]] = {
    "IncomingPost": _read_post,
    "PostDeleted": lambda values: PostDeleted(tuple(values["external_ids"]), values["source"]),
    "AuthorDeleted": lambda values: AuthorDeleted(**values),
    "Connected": lambda values: Connected(**values),
    "CaughtUp": lambda values: CaughtUp(**values),
    "Heartbeat": lambda values: Heartbeat(),
    "Malformed": lambda values: Malformed(
        values["reason"], bytes.fromhex(values["excerpt"]), values["size"]
    ),
    "Checkpoint": lambda values: Checkpoint(**values),
    "Lost": lambda values: Lost(
        values["kind"], values["message"], datetime.fromisoformat(values["retry_at"])
    ),
    "Idle": lambda values: Idle(),
    "Began": lambda values: Began(**values),
}
