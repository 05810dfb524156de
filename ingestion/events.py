"""What a source says, in one vocabulary for all sources."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any

from ingestion.exceptions import BadPost
from ingestion.language_tags import normalised

# X allows 25,000 characters; what is longer is cut, not refused.
MAX_TEXT = 30_000
MAX_NAME = 255

# PostgreSQL stores no NUL, and half of a surrogate pair has no UTF-8.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without NUL; a lone surrogate becomes U+FFFD."""
    if _UNSTORABLE.search(text) is None:
        return text
    return _UNSTORABLE.sub(lambda match: "" if match[0] == "\x00" else "\ufffd", text)


def clean_json(value: Any) -> Any:
    """A JSON value whose strings, keys included, can be stored."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    # JSON has no NaN, whatever Python's parser takes for it.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _clean_fields(event: Any, *names: str) -> None:
    """Mend texts of an event, which is frozen otherwise."""
    for name in names:
        object.__setattr__(event, name, clean(getattr(event, name)))


def _in_utc(moment: datetime) -> datetime:
    """Raises BadPost for what no calendar, or no database, holds."""
    if moment.tzinfo is None:
        raise BadPost("its time has no time zone")
    try:
        moment = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise BadPost(f"its time {moment.isoformat()} is beyond the calendar's ends") from error
    # The end of its day, and its time elsewhere, must be times, too.
    if not MINYEAR < moment.year < MAXYEAR:
        raise BadPost(f"its time {moment.isoformat()} is beyond the calendar's ends")
    return moment


@dataclass(frozen=True, slots=True)
class Reference:
    """A post that another one points at; `kind` is replied_to, quoted or reposted."""

    kind: str
    external_id: str


def version_id(external_id: str, edited_at: datetime) -> str:
    """The id of an edited version where the vendor's id stays the same.

    Later versions sort after earlier ones. Its `edit_history` begins with `external_id`, so that
    a deletion of the post takes all its versions.
    """
    return f"{external_id}@{edited_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"


@dataclass(frozen=True, slots=True)
class IncomingPost:
    """A post as its source delivered it, ready to be stored.

    `edit_history` names earlier ids of the same post, oldest first; where a vendor keeps the id
    through an edit, `version_id` makes one. `references` are the posts that it answers, quotes or
    reposts. Text that no database takes is mended, overlong text cut; `lang` becomes a
    tag as pt-br, or "" where it is none, `created_at` a time in UTC. Raises BadPost when there is
    no usable id, text or time.
    """

    source: str
    external_id: str
    text: str
    created_at: datetime
    lang: str = ""
    author_id: str = ""
    author_username: str = ""
    author_name: str = ""
    conversation_id: str = ""
    edit_history: tuple[str, ...] = ()
    metrics: Mapping[str, int] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    raw: Mapping[str, Any] | None = None
    stream_ids: frozenset[int] = frozenset()
    # When it reached us; storing may come later. None means now.
    received_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lang", normalised(self.lang))
        if not self._is_storable():
            self._mend()
        if not self.external_id:
            raise BadPost("it has no id")
        if len(self.external_id) > MAX_NAME:
            raise BadPost(f"its id is longer than {MAX_NAME} characters")
        if not self.text or self.text.isspace():
            raise BadPost("it has no text")
        object.__setattr__(self, "created_at", _in_utc(self.created_at))

    def _is_storable(self) -> bool:
        """Whether nothing has to be mended or cut; nearly always, so it is one look at all."""
        short = (
            self.external_id
            + self.author_id
            + self.author_username
            + self.author_name
            + self.conversation_id
        )
        return (
            len(short) <= MAX_NAME
            and len(self.text) <= MAX_TEXT
            and not self.edit_history
            and _UNSTORABLE.search(short) is None
            and _UNSTORABLE.search(self.text) is None
        )

    def _mend(self) -> None:
        put = object.__setattr__
        put(self, "external_id", clean(self.external_id))
        put(self, "text", clean(self.text)[:MAX_TEXT])
        put(self, "edit_history", tuple(clean(key)[:MAX_NAME] for key in self.edit_history))
        for name in ("author_id", "author_username", "author_name", "conversation_id"):
            put(self, name, clean(getattr(self, name))[:MAX_NAME])


@dataclass(frozen=True, slots=True)
class PostDeleted:
    """The source asks that these posts, in all their versions, be forgotten.

    `source` is whose ids they are, "" the connection's own: a dump may be of another source. Ids
    are mended as those of posts are.
    """

    external_ids: tuple[str, ...]
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "external_ids", tuple(map(clean, self.external_ids)))


@dataclass(frozen=True, slots=True)
class AuthorDeleted:
    """The source asks that everything of this author be forgotten; `source` as above."""

    author_id: str
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "author_id", clean(self.author_id)[:MAX_NAME])


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands; events follow.

    `replays` tells that what was missed comes first, of itself; CaughtUp then says when it is
    over. Otherwise the gap is left to `backfill`, where the source has it.
    """

    replays: bool = False


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What was missed has been delivered: `how` in a few words, `note` what is still missing."""

    how: str
    is_complete: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        _clean_fields(self, "how", "note")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing new, but the source is alive."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that could not be understood; the stream goes on.

    `excerpt` is its beginning, `size` the bytes of the whole.
    """

    reason: str
    excerpt: bytes = b""
    size: int = 0

    def __post_init__(self) -> None:
        _clean_fields(self, "reason")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything up to `cursor` has been delivered: where to go on after a break."""

    cursor: str

    def __post_init__(self) -> None:
        _clean_fields(self, "cursor")


Event = (
    IncomingPost
    | PostDeleted
    | AuthorDeleted
    | Connected
    | CaughtUp
    | Heartbeat
    | Malformed
    | Checkpoint
)

# Of a message that is no post, so much is kept.
EXCERPT = 2048


def malformed(reason: str, message: bytes) -> Malformed:
    """The event for a message that cannot be understood."""
    return Malformed(reason, message[:EXCERPT], len(message))
