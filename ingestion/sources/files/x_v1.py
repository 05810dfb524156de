"""X's older objects, of API v1.1 and of the archives that X hands out, as posts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ingestion.events import IncomingPost, PostDeleted, Reference
from ingestion.exceptions import BadPost
from ingestion.models import Source

_TELLING = ("user", "entities", "extended_tweet", "retweeted_status")
_TIME = "%a %b %d %H:%M:%S %z %Y"
# Our names for the counts are those of API v2.
_METRICS = {
    "retweet_count": "repost_count",
    "favorite_count": "like_count",
    "reply_count": "reply_count",
    "quote_count": "quote_count",
}


def looks_like_v1(item: Mapping[str, Any]) -> bool:
    """Whether a bare object is a v1.1 tweet rather than a flat row of somebody's making."""
    return "id_str" in item and any(isinstance(item.get(key), Mapping) for key in _TELLING)


def removal(item: Mapping[str, Any]) -> PostDeleted | None:
    """What is taken back: a notice of the stream, or a tweet that its author has deleted."""
    notice = _part(_part(item, "delete"), "status")
    archived = _part(item, "tweet")
    gone = notice or (archived if archived.get("deleted_at") else {})
    if identity := _text(gone.get("id_str")) or _text(gone.get("id")):
        return PostDeleted((identity,), Source.X)
    return None


def post(item: Mapping[str, Any], stream_ids: frozenset[int] = frozenset()) -> IncomingPost:
    """One tweet. Raises BadPost."""
    user = _part(item, "user")
    external_id = _text(item.get("id_str")) or _text(item.get("id"))
    return IncomingPost(
        source=Source.X,
        external_id=external_id,
        text=_full_text(item),
        created_at=_time(item.get("created_at")),
        lang=_text(item.get("lang")),
        author_id=_text(user.get("id_str")),
        author_username=_text(user.get("screen_name")),
        author_name=_text(user.get("name")),
        edit_history=tuple(_history(item, external_id)),
        metrics=dict(_metrics(item)),
        references=tuple(_references(item)),
        raw=item,
        stream_ids=stream_ids,
    )


def _part(item: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = item.get(key)
    return part if isinstance(part, Mapping) else {}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _own_text(item: Mapping[str, Any]) -> str:
    """The full text: of a long tweet `text` holds only the beginning."""
    extended = _text(_part(item, "extended_tweet").get("full_text"))
    return extended or _text(item.get("full_text")) or _text(item.get("text"))


def _full_text(item: Mapping[str, Any]) -> str:
    """A retweet carries its original cut short behind `RT @name:`; the whole is inside."""
    text, original = _own_text(item), _own_text(_part(item, "retweeted_status"))
    prefix, colon, _ = text.partition(": ")
    if original and colon and text.startswith("RT @"):
        return f"{prefix}: {original}"
    return text


def _references(item: Mapping[str, Any]) -> Iterator[Reference]:
    answered = _text(item.get("in_reply_to_status_id_str"))
    quoted = _text(item.get("quoted_status_id_str"))
    retweeted = _text(_part(item, "retweeted_status").get("id_str"))
    for kind, identity in (
        ("replied_to", answered),
        ("quoted", quoted),
        ("reposted", retweeted),
    ):
        if identity:
            yield Reference(kind, identity)


def _history(item: Mapping[str, Any], own: str) -> Iterator[str]:
    """Earlier ids of an edited tweet, in the archive's spelling or the API's."""
    info = _part(item, "edit_info")
    control = _part(info, "initial") or _part(_part(info, "edit"), "editControlInitial")
    listed = control.get("editTweetIds") or _part(item, "edit_controls").get("edit_tweet_ids")
    for identity in listed if isinstance(listed, list) else []:
        if _text(identity) == own:
            return
        if _text(identity):
            yield _text(identity)


def _metrics(item: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, name in _METRICS.items():
        count = _text(item.get(key))
        # Longer than any count, and than Python reads.
        if count.isascii() and count.isdecimal() and len(count) < 19:
            yield name, int(count)


def _time(value: Any) -> datetime:
    written = _text(value)
    if not written:
        raise BadPost("it has no created_at")
    try:
        return datetime.strptime(written, _TIME)
    except ValueError as error:
        raise BadPost(f"its created_at {written[:40]!r} is not a time of X") from error
