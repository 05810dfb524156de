"""Jetstream's messages, of both versions, in one vocabulary. Knows the format, not the network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.events import IncomingPost, Reference, version_id
from ingestion.exceptions import BadPost
from ingestion.language_tags import primary
from ingestion.models import Source

COLLECTION = "app.bsky.feed.post"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The year 2100: what is later is no time, and must not become the cursor.
_LAST_TIME = 4_102_444_800_000_000
_TID = re.compile("[2-7a-j][2-7a-z]{12}")
_TID_DIGITS = {digit: value for value, digit in enumerate("234567abcdefghijklmnopqrstuvwxyz")}
_OPERATIONS = frozenset({"create", "update", "delete"})

# How a server begins a post. Fields of the record come later, so that no author can forge these.
_V1_HEAD = re.compile(rb'\{"did":"[^"]*","time_us":(\d{1,16}),')
_V2_HEAD = re.compile(
    rb'\{"\$type":"message","payload":\{"\$type":"[^"#]*#commit","seq":(\d{1,15}),"did":"[^"]*",'
    rb'"time":"([^"]*)"(?:,"witnessedAt":"([^"]*)")?,'
)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where in the stream a message stands: microseconds since 1970, and version 2's number."""

    time_us: int
    seq: int = 0

    @property
    def time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.time_us)


@dataclass(frozen=True, slots=True)
class Commit:
    """A post was created, updated or deleted."""

    at: Moment
    did: str
    rkey: str
    operation: str
    rev: str
    record: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def uri(self) -> str:
        return f"at://{self.did}/{COLLECTION}/{self.rkey}"


@dataclass(frozen=True, slots=True)
class Account:
    """An account came, went or was shut; `status` says why it is not active."""

    at: Moment
    did: str
    is_active: bool
    status: str


@dataclass(frozen=True, slots=True)
class Identity:
    """An account has this name now; "" when it was lost."""

    at: Moment
    did: str
    handle: str


@dataclass(frozen=True, slots=True)
class Other:
    """Something that concerns us not; it still tells the time."""

    at: Moment | None


@dataclass(frozen=True, slots=True)
class Info:
    """A notice about the stream itself."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the connection ends now."""

    name: str
    message: str


Message = Commit | Account | Identity | Other | Info | Failure


def glance(message: bytes) -> Moment | None:
    """Where a post stands, without reading it whole; None when only reading can tell."""
    if match := _V1_HEAD.match(message):
        return Moment(int(match[1]))
    if match := _V2_HEAD.match(message):
        try:
            return Moment(_micros((match[3] or match[2]).decode()), int(match[1]))
        except ValueError:
            return None
    return None


def read(message: bytes) -> Message:
    """What a message says, whichever version sent it. Raises BadPost."""
    try:
        payload = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise BadPost(f"not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise BadPost("not an object")
    kind = payload.get("$type")
    if kind == "error":
        return Failure(_text(payload.get("error")), _text(payload.get("message")))
    if kind != "message":
        return _read_v1(payload)
    inner = payload.get("payload")
    if not isinstance(inner, dict):
        raise BadPost("a message without a payload")
    return _read_v2(inner)


def _read_v1(payload: Mapping[str, Any]) -> Message:
    kind = payload.get("kind")
    time_us = payload.get("time_us")
    at = Moment(time_us) if isinstance(time_us, int) and _is_time(time_us) else None
    if kind not in ("commit", "account", "identity"):
        return Other(at)
    if at is None:
        raise BadPost("it has no time_us")
    return _dispatch(kind, at, payload, _part(payload, kind))


def _read_v2(payload: Mapping[str, Any]) -> Message:
    kind = _text(payload.get("$type")).rpartition("#")[2]
    if kind == "info":
        return Info(_text(payload.get("name")), _text(payload.get("message")))
    at = _moment(payload)
    if kind not in ("commit", "account", "identity"):
        return Other(at)
    if at is None:
        raise BadPost("it has no seq or no time")
    return _dispatch(kind, at, payload, payload if kind == "commit" else _part(payload, kind))


def _dispatch(
    kind: str, at: Moment, payload: Mapping[str, Any], part: Mapping[str, Any]
) -> Message:
    did = _text(payload.get("did"))
    if not did.startswith("did:"):
        raise BadPost("it has no did")
    if kind == "account":
        return Account(at, did, part.get("active") is not False, _text(part.get("status")))
    if kind == "identity":
        return Identity(at, did, _text(part.get("handle")))
    return _commit(at, did, part, payload)


def _commit(at: Moment, did: str, part: Mapping[str, Any], raw: Mapping[str, Any]) -> Message:
    operation = _text(part.get("operation"))
    if part.get("collection") != COLLECTION or operation not in _OPERATIONS:
        return Other(at)
    rkey = _text(part.get("rkey"))
    if not rkey:
        raise BadPost("it has no rkey")
    record = part.get("record")
    if not isinstance(record, dict):
        if operation != "delete":
            raise BadPost("it has no record")
        record = {}
    return Commit(at, did, rkey, operation, _text(part.get("rev")), record, raw)


def text_of(record: Mapping[str, Any]) -> str:
    """What the post says; "" where only a picture was posted. Raises BadPost."""
    text = record.get("text", "")
    if not isinstance(text, str):
        raise BadPost("its text is not a string")
    return text


def languages_of(record: Mapping[str, Any]) -> list[str]:
    """Primary subtags of the languages that the author's app has declared, in order."""
    langs = record.get("langs")
    if not isinstance(langs, list):
        return []
    return [tag for lang in langs if isinstance(lang, str) and (tag := primary(lang))]


def post(commit: Commit, *, username: str, stream_ids: frozenset[int]) -> IncomingPost:
    """The post of a create or an update. Raises BadPost."""
    record = commit.record
    is_edit = commit.operation == "update"
    return IncomingPost(
        source=Source.BLUESKY,
        external_id=version_id(commit.uri, _edited_at(commit)) if is_edit else commit.uri,
        text=text_of(record),
        created_at=_created_at(record, commit.at.time),
        lang=next(iter(languages_of(record)), ""),
        author_id=commit.did,
        author_username=username,
        conversation_id=_conversation(record) or commit.uri,
        edit_history=(commit.uri,) if is_edit else (),
        references=tuple(_references(record)),
        raw=commit.raw,
        stream_ids=stream_ids,
    )


def _edited_at(commit: Commit) -> datetime:
    """When the repository took the edit in: the same whichever host tells of it."""
    if not _TID.fullmatch(commit.rev):
        return commit.at.time
    number = 0
    for digit in commit.rev:
        number = number * 32 + _TID_DIGITS[digit]
    # The last ten bits tell clocks apart.
    return Moment(min(number >> 10, _LAST_TIME)).time


def _created_at(record: Mapping[str, Any], seen_at: datetime) -> datetime:
    """When the author's app says it was written; when it was seen, if that cannot be true."""
    try:
        created_at = datetime.fromisoformat(record.get("createdAt") or "")
        if created_at.tzinfo is None:
            created_at = created_at.replace(tzinfo=UTC)
        created_at = created_at.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return seen_at
    return created_at if _EPOCH < created_at < seen_at else seen_at


def _conversation(record: Mapping[str, Any]) -> str:
    return _uri(_item(record, "reply", "root"))


def _references(record: Mapping[str, Any]) -> Iterator[Reference]:
    """The post that it answers and the one that it quotes; feeds and lists are neither."""
    if parent := _uri(_item(record, "reply", "parent")):
        yield Reference("replied_to", parent)
    quoted = _uri(_item(record, "embed", "record")) or _uri(
        _item(record, "embed", "record", "record")
    )
    if f"/{COLLECTION}/" in quoted:
        yield Reference("quoted", quoted)


def _item(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _uri(value: Any) -> str:
    uri = _text(value.get("uri")) if isinstance(value, dict) else ""
    return uri if uri.startswith("at://") else ""


def _part(payload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    part = payload.get(kind)
    if not isinstance(part, dict):
        raise BadPost(f"it has no {kind}")
    return part


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_time(micros: int) -> bool:
    # A boolean is an int, too.
    return type(micros) is int and 0 <= micros <= _LAST_TIME


def _moment(payload: Mapping[str, Any]) -> Moment | None:
    seq = payload.get("seq")
    if type(seq) is not int or seq < 0:
        return None
    try:
        # `time` may have been altered; what a cursor means is when the host saw the event.
        return Moment(_micros(_text(payload.get("witnessedAt") or payload.get("time"))), seq)
    except ValueError:
        return None


def _micros(time: str) -> int:
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if not _is_time(micros):
        raise ValueError(f"{time} is out of range")
    return micros
