"""Mastodon's statuses and events in our words. Knows the format, not the network.

A status is known by its instance's id behind the instance's host, as `mastodon.social/1124…`: that
is what deletions name, and one status is one post on whichever timelines it comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingestion.events import (
    Event,
    IncomingPost,
    PostDeleted,
    Reference,
    malformed,
    version_id,
)
from ingestion.exceptions import BadPost
from ingestion.models import Source
from ingestion.sources import mastodon_sse, mastodon_text

_METRICS = {
    "favourites_count": "like_count",
    "reblogs_count": "repost_count",
    "replies_count": "reply_count",
    "quotes_count": "quote_count",
}
_STATUS_EVENTS = frozenset({"update", "status.update"})
# Of other streams, or of the account: nothing that posts depend on.
_OTHER_EVENTS = frozenset(
    {
        "announcement",
        "announcement.delete",
        "announcement.reaction",
        "conversation",
        "encrypted_message",
        "filters_changed",
        "notification",
        "notifications_merged",
    }
)
# Public timelines hold nothing else; what should come by mistake is not kept.
_OPEN = frozenset({"", "public", "unlisted"})


@dataclass(frozen=True, slots=True)
class Status:
    """A status that was read: its place in the timeline, and what filters judge it by.

    `post` is None where there is nothing to store: no words, or not meant for everybody.
    """

    id: str
    post: IncomingPost | None
    full_text: str = ""
    tags: frozenset[str] = frozenset()
    is_local: bool = False


def read(message: bytes, host: str) -> Iterator[Status | Event]:
    """What one message says: a server-sent event, or the bare JSON of a status."""
    if message.lstrip().startswith(b"{"):
        yield _loaded(message, message, host)
        return
    sent = mastodon_sse.read(message)
    if sent.event in _STATUS_EVENTS:
        yield _loaded(sent.data, message, host)
    elif sent.event == "delete":
        yield _deletion(sent.data, message, host)
    elif sent.event not in _OTHER_EVENTS:
        yield malformed(f"an event of an unknown kind: {sent.event[:40]!r}", message)


def _loaded(data: bytes, message: bytes, host: str) -> Status | Event:
    try:
        return status(json.loads(data), host)
    except BadPost as error:
        return malformed(str(error), message)
    except (ValueError, RecursionError) as error:
        return malformed(f"not JSON: {error}", message)


def _deletion(data: bytes, message: bytes, host: str) -> Event:
    identity = data.decode("utf-8", "replace").strip().strip('"')
    if not _is_id(identity):
        return malformed("a deletion without an id", message)
    return PostDeleted((f"{host}/{identity}",))


def status(item: Any, host: str) -> Status:
    """One status. A boost stands for the post that it boosts. Raises BadPost."""
    if not isinstance(item, Mapping):
        raise BadPost("a status that is not an object")
    identity = _text(item.get("id"))
    if not _is_id(identity):
        raise BadPost("it has no id")
    boosted = item.get("reblog")
    if isinstance(boosted, Mapping):
        item = boosted
    account = item.get("account")
    account = account if isinstance(account, Mapping) else {}
    username = _text(account.get("acct"))
    text = _words(item)
    is_kept = bool(text.visible) and _text(item.get("visibility")) in _OPEN
    return Status(
        id=identity,
        post=_post(item, account, text.visible, host) if is_kept else None,
        full_text=text.full,
        tags=_tags(item),
        is_local=bool(username) and "@" not in username,
    )


def _post(
    item: Mapping[str, Any], account: Mapping[str, Any], text: str, host: str
) -> IncomingPost:
    identity = _text(item.get("id"))
    if not _is_id(identity):
        raise BadPost("it has no id")
    external_id = f"{host}/{identity}"
    history: tuple[str, ...] = ()
    if item.get("edited_at"):
        # The id stays the same: each edit is a version of its own.
        history = (external_id,)
        external_id = version_id(external_id, _time(item["edited_at"], "edited_at"))
    author_id = _text(account.get("id"))
    return IncomingPost(
        source=Source.MASTODON,
        external_id=external_id,
        text=text,
        created_at=_time(item.get("created_at"), "created_at"),
        lang=_text(item.get("language")),
        author_id=f"{host}/{author_id}" if author_id else "",
        author_username=_text(account.get("acct")),
        author_name=_text(account.get("display_name")),
        edit_history=history,
        metrics=_metrics(item),
        references=tuple(_references(item, host)),
        raw=item,
    )


def _words(item: Mapping[str, Any]) -> mastodon_text.Text:
    """The text, behind its content warning where it has one."""
    warning = _text(item.get("spoiler_text")).strip()
    has_quote = isinstance(item.get("quote"), Mapping)
    text = mastodon_text.read(_text(item.get("content")), has_quote=has_quote)
    if not warning:
        return text
    return mastodon_text.Text(
        f"{warning}\n\n{text.visible}".strip(), f"{warning}\n\n{text.full}".strip()
    )


def _text(value: Any) -> str:
    # Mastodon.py turns ids into numbers.
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _is_id(text: str) -> bool:
    """Numbers at Mastodon; others have letters in them. Never long, never several words."""
    return 0 < len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum()


def _time(value: Any, name: str) -> datetime:
    if not isinstance(value, str) or not value:
        raise BadPost(f"it has no {name}")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise BadPost(f"its {name} has no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadPost(f"its {name} {value[:40]!r} is not a time") from error


def _metrics(item: Mapping[str, Any]) -> dict[str, int]:
    return {
        ours: item[theirs]
        for theirs, ours in _METRICS.items()
        if isinstance(item.get(theirs), int) and not isinstance(item[theirs], bool)
    }


def _references(item: Mapping[str, Any], host: str) -> Iterator[Reference]:
    """The posts that this one answers or quotes."""
    replied_to = _text(item.get("in_reply_to_id"))
    if _is_id(replied_to):
        yield Reference("replied_to", f"{host}/{replied_to}")
    quote = item.get("quote")
    if isinstance(quote, Mapping):
        quoted = quote.get("quoted_status")
        identity = (
            quoted.get("id") if isinstance(quoted, Mapping) else quote.get("quoted_status_id")
        )
        if _is_id(_text(identity)):
            yield Reference("quoted", f"{host}/{_text(identity)}")


def _tags(item: Mapping[str, Any]) -> frozenset[str]:
    tags = item.get("tags")
    return frozenset(
        _text(tag.get("name")).lower()
        for tag in (tags if isinstance(tags, list) else [])
        if isinstance(tag, Mapping)
    )
