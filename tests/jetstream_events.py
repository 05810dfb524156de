"""What happens on the stand-in's network, as both versions of Jetstream tell of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

POSTS = "app.bsky.feed.post"
ALICE = "did:plc:aliceaaaaaaaaaaaaaaaaaaa"
BOB = "did:plc:bobbbbbbbbbbbbbbbbbbbbbb"
# Cursors from here on are times.
FIRST_TIME = 10**15

_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Happening:
    """One event, whichever version asks for it."""

    time_us: int
    seq: int
    did: str
    kind: str
    body: Mapping[str, Any]

    def message(self, version: int) -> bytes:
        if version == 1:
            head = {"did": self.did, "time_us": self.time_us, "kind": self.kind}
            return as_json(head | {self.kind: self.body})
        moment = rfc3339(self.time_us)
        head = {
            "$type": f"network.bsky.jetstream.subscribeEvents#{self.kind}",
            "seq": self.seq,
            "did": self.did,
            "time": moment,
            "witnessedAt": moment,
        }
        body = self.body if self.kind == "commit" else {self.kind: self.body}
        return as_json({"$type": "message", "payload": head | dict(body)})


def tid(time_us: int) -> str:
    """A record key or revision made at this time."""
    number = time_us << 10
    return "".join(_TID_DIGITS[(number >> shift) & 31] for shift in range(60, -1, -5))


def post_record(time_us: int, text: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    record = {"$type": POSTS, "createdAt": rfc3339(time_us), "langs": ["en"], "text": text}
    return {key: value for key, value in (record | dict(fields)).items() if value is not None}


def commit_body(
    time_us: int, rkey: str, operation: str, record: dict[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "rev": tid(time_us),
        "operation": operation,
        "collection": POSTS,
        "rkey": rkey,
    }
    if record is not None:
        body |= {"record": record, "cid": "bafyreidc6sydkkbchcyg62v77wbhzvb2mvytlmsychqgwf2xoj"}
    return body


def info(name: str, message: str) -> bytes:
    kind = "network.bsky.jetstream.subscribeEvents#info"
    return as_json(
        {"$type": "message", "payload": {"$type": kind, "name": name, "message": message}}
    )


def as_json(value: Any) -> bytes:
    """As Go writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode(errors="surrogatepass")


def rfc3339(time_us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
