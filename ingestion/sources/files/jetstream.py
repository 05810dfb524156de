"""Dumps of Bluesky's Jetstream: its messages, one a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ingestion.events import AuthorDeleted, IncomingPost, PostDeleted
from ingestion.models import Source


def looks_like_jetstream(item: Mapping[str, Any]) -> bool:
    """Whether an object is a message of Jetstream, of either version."""
    if "did" in item and "time_us" in item:
        return isinstance(item.get("kind"), str)
    inner = item.get("payload")
    return item.get("$type") in ("message", "error") and (
        isinstance(inner, Mapping) or item.get("$type") == "error"
    )


class Dump:
    """Reads the messages of one file, which build on each other."""

    def __init__(self) -> None:
        # Few files are dumps: the others do without Bluesky's modules.
        from ingestion.sources import bluesky_payload
        from ingestion.sources.bluesky_events import Interpreter

        self._parse = bluesky_payload.read
        self._interpreter = Interpreter()

    def read(
        self, message: bytes, stream_ids: frozenset[int]
    ) -> Iterator[IncomingPost | PostDeleted | AuthorDeleted]:
        """Posts and what is taken back; likes, follows and the like are neither. Raises BadPost."""
        for event in self._interpreter.events(self._parse(message), None):
            if isinstance(event, IncomingPost):
                yield replace(event, stream_ids=stream_ids)
            else:
                yield replace(event, source=Source.BLUESKY)
