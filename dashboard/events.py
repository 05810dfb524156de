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


class CountEvent(TypedDict):
    """Posts of one minute, category and stream (None: every post once); below zero where posts
    were withdrawn."""

    minute: str
    stream: int | None
    category: str
    count: int


class ModelEvent(TypedDict):
    """What serves."""

    type: Literal["model"]
    version: str | None
    base_model: str
    macro_recall: float | None


class Snapshot(TypedDict):
    """Everything that a page needs to start, once after connecting."""

    type: Literal["snapshot"]
    sequence: int
    view: dict[str, Any]
    posts: list[PostEvent]
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
    rate: float
    lag_seconds: float | None


class Alert(TypedDict):
    """Something needs a human, or (not active) no longer does."""

    type: Literal["alert"]
    kind: str
    message: str
    active: bool
