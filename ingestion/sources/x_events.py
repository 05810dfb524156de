"""Lines of X's streams as events. Knows the format, not the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ingestion.events import Event, Heartbeat, PostDeleted, malformed
from ingestion.exceptions import BadPost, Closed
from ingestion.sources import x_payload, x_problems

# Matching rules → the streams that they stand for.
StreamsOf = Callable[[Any], frozenset[int]]

# Compliance events that take nothing away for good: the look-up of stored posts decides later.
_PASSING = frozenset({"withheld", "drop", "undrop", "tweet_edit", "post_edit"})


def read(line: bytes, streams_of: StreamsOf) -> Event:
    """What a line says. One that cannot be understood is an event, too, not an end.

    Raises Closed or ConnectionTaken for a farewell.
    """
    if not line.strip():
        return Heartbeat()
    try:
        payload = _loads(line)
    except (ValueError, RecursionError) as error:
        return malformed(f"not JSON: {error}", line)
    if not isinstance(payload, dict):
        return malformed("not an object", line)
    data = payload.get("data")
    if data is None:
        _raise_if_disconnected(payload)
        return malformed("neither a post nor a disconnect", line)
    if not isinstance(data, dict):
        return malformed("`data` is not an object", line)
    if isinstance(data.get("delete"), dict):
        return _deletion(data["delete"], line)
    if _PASSING & data.keys() and "id" not in data:
        return Heartbeat()
    includes = payload.get("includes")
    streams = streams_of(payload.get("matching_rules"))
    try:
        return x_payload.post(data, includes if isinstance(includes, dict) else {}, streams)
    except BadPost as error:
        return malformed(str(error), line)


def _loads(line: bytes) -> Any:
    """The fast parser takes nearly all; it refuses half surrogates, which are only ugly."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _deletion(data: Mapping[str, Any], line: bytes) -> Event:
    post = data.get("tweet") or data.get("post")
    identity = post.get("id") if isinstance(post, dict) else None
    if not identity:
        return malformed("a deletion without an id", line)
    return PostDeleted((str(identity),))


def _raise_if_disconnected(payload: Mapping[str, Any]) -> None:
    """Raise what a farewell line stands for; other errors are no reason to leave."""
    errors = payload.get("errors")
    for error in errors if isinstance(errors, list) else []:
        if not isinstance(error, dict):
            continue
        said = str(error.get("detail") or error.get("title"))[:300]
        if error.get("connection_issue") == "TooManyConnections":
            raise x_problems.ConnectionTaken(f"X ended the connection: {said}")
        if "disconnect_type" in error or str(error.get("type")).endswith("operational-disconnect"):
            raise Closed(f"X ended the connection: {said}")
