"""What one record of a file says: posts, what is taken back, or nothing for us."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from ingestion.events import AuthorDeleted, IncomingPost, PostDeleted
from ingestion.exceptions import BadPost
from ingestion.models import Source
from ingestion.sources import x_payload
from ingestion.sources.files import jetstream, x_v1
from ingestion.sources.files.columns import Columns, derive_id, read_time, value

# What a spreadsheet makes of a long number: the digits that told posts apart are gone.
_ROUNDED = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")
_SOURCES = frozenset(Source.values)

Removal = PostDeleted | AuthorDeleted


@dataclass(frozen=True, slots=True)
class Refused:
    """One of several posts in an item that cannot be read: why, and it alone, as an item."""

    reason: str
    item: Mapping[str, Any]

    def excerpt(self) -> bytes:
        """It as JSON, to be looked at and read again."""
        # Half a surrogate pair becomes what JSON escapes it with.
        return json.dumps(self.item, ensure_ascii=False).encode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Found:
    """A post, and the id to use when its own turns out to stand for another one.

    X's and Bluesky's own ids never need one.
    """

    post: IncomingPost
    fallback_id: str = ""


Said = Found | Removal | Refused


class Items:
    """Reads the items of one file, whatever shapes it mixes."""

    def __init__(self, columns: Columns, stream_ids: frozenset[int] = frozenset()) -> None:
        self._columns = columns
        self._stream_ids = stream_ids
        self._dump: jetstream.Dump | None = None

    def read(self, item: Mapping[str, Any], text: bytes = b"") -> Iterator[Said]:
        """What an item says; `text` is it as JSON, where it came so.

        Raises BadPost for an item that says nothing; of several posts each stands for itself.
        """
        if self._columns.text and not isinstance(item.get("data"), Mapping | list):
            yield self._flat(item)
        elif jetstream.looks_like_jetstream(item):
            yield from self._message(text or json.dumps(item).encode())
        else:
            yield from self._of_x(item)

    def _message(self, text: bytes) -> Iterator[Found | Removal]:
        if self._dump is None:
            self._dump = jetstream.Dump()
        for event in self._dump.read(text, self._stream_ids):
            yield Found(event) if isinstance(event, IncomingPost) else event

    def _of_x(self, item: Mapping[str, Any]) -> Iterator[Said]:
        data = item.get("data")
        if (removed := x_v1.removal(item) or _removal_v2(data)) is not None:
            yield removed
        elif isinstance(data, list):
            yield from self._page(item)
        elif isinstance(data, Mapping):
            yield Found(x_payload.only_post(item, self._stream_ids))
        elif isinstance(archived := item.get("tweet"), Mapping):
            yield Found(x_v1.post(archived, self._stream_ids))
        elif x_v1.looks_like_v1(item):
            yield Found(x_v1.post(item, self._stream_ids))
        elif x_payload.looks_like_v2(item):
            yield Found(x_payload.post(item, {}, self._stream_ids))
        else:
            yield self._flat(item)

    def _page(self, page: Mapping[str, Any]) -> Iterator[Found | Refused]:
        for number, answer in enumerate(x_payload.alone(page), 1):
            try:
                yield Found(x_payload.only_post(answer, self._stream_ids))
            except BadPost as error:
                yield Refused(f"post {number} of `data`: {error}", answer)

    def _flat(self, item: Mapping[str, Any]) -> Found:
        columns = self._columns
        text = value(item, columns.text, "text")
        written = value(item, columns.time, "time")
        author = value(item, columns.author, "author")
        created_at = read_time(written, columns) if written else timezone.now()
        derived = derive_id(text, written, author)
        external_id = value(item, columns.id, "id")
        if not external_id or _ROUNDED.fullmatch(external_id):
            external_id = derived
        source = str(item.get("source") or "")
        post = IncomingPost(
            source=source if source in _SOURCES else Source.FILE,
            external_id=external_id,
            text=text,
            created_at=created_at,
            lang=value(item, columns.lang, "lang"),
            author_username=author,
            raw=dict(item),
            stream_ids=self._stream_ids,
        )
        return Found(post, derived)


def _removal_v2(data: Any) -> PostDeleted | None:
    """A deletion as X's streams of API v2 tell it."""
    notice = data.get("delete") if isinstance(data, Mapping) else None
    if not isinstance(notice, Mapping):
        return None
    gone = notice.get("tweet") or notice.get("post")
    identity = gone.get("id") if isinstance(gone, Mapping) else None
    if not identity:
        raise BadPost("a deletion without an id")
    return PostDeleted((str(identity),), Source.X)
