"""What the websocket says. Each message has a `type`; times are ISO 8601 in UTC."""

from typing import Any, Literal, TypedDict


class PostEvent(TypedDict):
    """A post with its sentiment, as lists show it."""

    id: int
    text: str
    author: str
    source: str
    lang: str
    created_at: str
    category: str
    confidence: float
    streams: list[int]


class TermEvent(TypedDict):
    """A word that sets a sentiment apart: in `count` posts, with z-score `z`."""

    word: str
    count: int
    z: float


class CountEvent(TypedDict):
    """Posts of one minute, category and stream (None: every post once); below zero where posts
    were withdrawn."""

    minute: str
    stream: int | None
    category: str
    count: int


class ModelEvent(TypedDict):
    """What serves; `since` when, and why it was promoted, where the ledger says so."""

    type: Literal["model"]
    version: str | None
    base_model: str
    macro_recall: float | None
    since: str | None
    reason: str


class GapEvent(TypedDict):
    """An outage of a source; without an end it goes on. `completeness` is the share of its posts
    that was got back, 0 to 1, None where nobody can say."""

    id: int
    source: str
    name: str
    started_at: str
    ended_at: str | None
    cause: str
    detail: str
    state: str
    filled_by: str
    recovered: int
    completeness: float | None
    note: str


class SourceEvent(TypedDict):
    """How a source fares. `words` say its status, `reason` why it is so; `rate` is posts a
    minute; `used` posts of this month, against a `budget` where there is one."""

    source: str
    name: str
    status: str
    words: str
    reason: str
    next_attempt_at: str | None
    last_event_at: str | None
    rate: int
    used: int | None
    budget: int | None
    waiting_bytes: int
    held: list[str]


class StandingAlert(TypedDict):
    """Something that needs a human for as long as it is told. `key` stays the same meanwhile."""

    key: str
    kind: str
    message: str


class TrainingEvent(TypedDict):
    """How a training run fares; sent by itself at most once a second."""

    type: Literal["training"]
    run: int
    status: str
    # 0 to 1.
    progress: float
    message: str
    loss: float | None
    seconds_left: float | None
    # The version that came of it, once it is registered.
    version: int | None
    # Why it was rejected or has failed.
    reason: str


class Snapshot(TypedDict):
    """Everything that a page needs to start, once after connecting."""

    type: Literal["snapshot"]
    sequence: int
    view: dict[str, Any]
    posts: list[PostEvent]
    gaps: list[GapEvent]
    sources: list[SourceEvent]
    alerts: list[StandingAlert]
    # The run that is queued, running or interrupted.
    training: TrainingEvent | None
    model: ModelEvent
    rate: float
    lag_seconds: float | None


class Tick(TypedDict):
    """What happened since the last tick, at most four times a second."""

    type: Literal["tick"]
    sequence: int
    counts: list[CountEvent]
    posts: list[PostEvent]
    # Ids of posts that were deleted or edited: they leave the list.
    withdrawn: list[int]
    # Gaps that are new or changed, of all sources and times.
    gaps: list[GapEvent]
    # As they are now; None when nothing has changed.
    sources: list[SourceEvent] | None
    alerts: list[StandingAlert] | None
    rate: float
    lag_seconds: float | None


class Alert(TypedDict):
    """Something needs a human, or (not active) no longer does."""

    type: Literal["alert"]
    kind: str
    message: str
    active: bool
