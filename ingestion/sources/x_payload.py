"""X API v2 objects, in both of X's spellings, as posts. Knows the format, not the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ingestion.events import IncomingPost, Reference
from ingestion.exceptions import BadPost
from ingestion.models import Source

# X renames its schema unevenly (August 2026): either spelling may come, in any mixture.
_HISTORY = ("edit_history_tweet_ids", "edit_history_post_ids")
_NOTE = ("note_tweet", "note_post")
_REFERENCES = ("referenced_tweets", "referenced_posts")
_REFERRING = frozenset(_REFERENCES)
_REPOSTED = "reposted"
_KINDS = {"retweeted": _REPOSTED, "reposted": _REPOSTED}
_METRICS = {"retweet_count": "repost_count"}

# What to ask for; without these only id, text and history come.
FIELDS = (
    "author_id,conversation_id,created_at,edit_history_tweet_ids,lang,note_tweet,public_metrics,"
    "referenced_tweets"
)
EXPANSIONS = "author_id,referenced_tweets.id"
USER_FIELDS = "name,username"


def looks_like_v2(item: Mapping[str, Any]) -> bool:
    """Whether a bare object is a v2 post rather than a flat row of somebody's making."""
    telling = (*_HISTORY, *_NOTE, "author_id", "public_metrics", "referenced_tweets")
    return "id" in item and "text" in item and any(key in item for key in telling)


def alone(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each post of a v2 answer, whose `data` is one object or a list, as an answer of its own.

    With it comes what it refers to, as far as it was included.
    """
    data = payload.get("data")
    includes = payload.get("includes")
    includes = includes if isinstance(includes, Mapping) else {}
    for item in data if isinstance(data, list) else [data]:
        known = _included(item, includes) if isinstance(item, Mapping) else {}
        yield {"data": item, "includes": known} if known else {"data": item}


def only_post(payload: Mapping[str, Any], stream_ids: frozenset[int] = frozenset()) -> IncomingPost:
    """The post of a v2 answer that holds one. Raises BadPost."""
    item, includes = payload.get("data"), payload.get("includes")
    if not isinstance(item, Mapping):
        raise BadPost("`data` is not an object")
    return post(item, includes if isinstance(includes, Mapping) else {}, stream_ids)


def _included(item: Mapping[str, Any], includes: Mapping[str, Any]) -> dict[str, Any]:
    """Of what came with a page, the author of one post and the posts that it refers to."""
    wanted = {"users": [_text(item.get("author_id"))]}
    wanted |= dict.fromkeys(("tweets", "posts"), [each.external_id for each in _references(item)])
    found = {
        kind: [known for key in keys if (known := _find(includes.get(kind), key))]
        for kind, keys in wanted.items()
    }
    return {kind: items for kind, items in found.items() if items}


def post(
    item: Mapping[str, Any], includes: Mapping[str, Any], stream_ids: frozenset[int] = frozenset()
) -> IncomingPost:
    """One v2 post with the objects that it refers to. Raises BadPost."""
    author_id = _text(item.get("author_id"))
    author = _find(includes.get("users"), author_id)
    external_id = _text(item.get("id"))
    return IncomingPost(
        source=Source.X,
        external_id=external_id,
        text=_full_text(item, includes),
        created_at=_time(item.get("created_at")),
        lang=_text(item.get("lang")),
        author_id=author_id,
        author_username=_text(author.get("username")),
        author_name=_text(author.get("name")),
        conversation_id=_text(item.get("conversation_id")),
        edit_history=_earlier(item, external_id),
        metrics=_metrics(item.get("public_metrics")),
        references=tuple(_references(item)) if _REFERRING & item.keys() else (),
        raw=item,
        stream_ids=stream_ids,
    )


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    # Ids come as strings; a file may hold them as numbers.
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _first(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if value := item.get(key):
            return value
    return None


def _earlier(item: Mapping[str, Any], external_id: str) -> tuple[str, ...]:
    """Earlier versions' ids, oldest first; most posts name only themselves."""
    history = _first(item, _HISTORY)
    if not isinstance(history, list) or history == [external_id]:
        return ()
    versions = map(_text, history)
    return tuple(version for version in versions if version and version != external_id)


def _own_text(item: Mapping[str, Any]) -> str:
    """The full text: of a long post `text` holds only the beginning."""
    note = _first(item, _NOTE)
    if isinstance(note, Mapping) and isinstance(note.get("text"), str):
        return str(note["text"])
    return _text(item.get("text"))


def _full_text(item: Mapping[str, Any], includes: Mapping[str, Any]) -> str:
    """A plain repost carries its original cut short behind `RT @name:`; the whole is included."""
    text = _own_text(item)
    if not text.startswith("RT @"):
        return text
    for reference in _references(item):
        if reference.kind == _REPOSTED:
            originals = [*_items(includes.get("tweets")), *_items(includes.get("posts"))]
            original = _own_text(_find(originals, reference.external_id))
            prefix, colon, _ = text.partition(": ")
            if original and colon:
                return f"{prefix}: {original}"
    return text


def _references(item: Mapping[str, Any]) -> Iterator[Reference]:
    """The posts that this one answers, quotes or reposts, in our words for it."""
    for reference in _items(_first(item, _REFERENCES)):
        if isinstance(reference, Mapping) and (identity := _text(reference.get("id"))):
            kind = _text(reference.get("type"))
            yield Reference(_KINDS.get(kind, kind), identity)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _find(items: Any, identity: str) -> Mapping[str, Any]:
    for item in _items(items):
        if isinstance(item, Mapping) and identity and _text(item.get("id")) == identity:
            return item
    return {}


def _metrics(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        return {}
    return {
        _METRICS.get(key, str(key)): count
        for key, count in value.items()
        if isinstance(count, int) and not isinstance(count, bool)
    }


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or not value:
        raise BadPost("it has no created_at")
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise BadPost(f"its created_at {value[:40]!r} is not a time") from error
