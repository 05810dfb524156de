"""Posts and their links as rows, written past the ORM, which would take four times as long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from ingestion.events import IncomingPost, clean, clean_json
from ingestion.models import Post


class NewPost(NamedTuple):
    """A row that was just inserted."""

    pk: int
    external_id: str
    original_id: str


# What a delivered post fills; all other columns of the table may be NULL.
COLUMNS = (
    "source",
    "external_id",
    "text",
    "lang",
    "author_id",
    "author_username",
    "author_name",
    "created_at",
    "received_at",
    "checked_at",
    "conversation_id",
    "original_id",
    "is_superseded",
    "references",
    "metrics",
    "raw",
)
_TABLE = Post._meta.db_table
_LINKS = Post.streams.through._meta.db_table
# Quoted, because `references` is a word of SQL.
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_INTO = f"INSERT INTO {_TABLE} ({_NAMES})"
_UNLESS_THERE = "ON CONFLICT (source, external_id) DO NOTHING"


def insert_posts(source: str, posts: Mapping[str, IncomingPost]) -> list[NewPost]:
    """Insert those of one source's posts that are not there, and return them.

    Within a transaction that nobody else stores the source's posts beside.
    """
    adapt = _ADAPT_MOMENT.get(connection.vendor, _same)
    rows = [_row(post, adapt) for post in posts.values()]
    ids = _insert_on_postgresql(rows) if _is_postgresql() else _insert_on_sqlite(rows)
    return [
        NewPost(pk, key, history[0] if (history := posts[key].edit_history) else "")
        for pk, key in ids
    ]


def insert_links(links: Iterable[tuple[int, int]]) -> None:
    """Link posts to streams: pairs of (post id, stream id); those that are there stay."""
    rows = sorted(links)
    into = f"INSERT INTO {_LINKS} (post_id, stream_id)"
    if _is_postgresql():
        _execute_values(f"{into} VALUES %s ON CONFLICT DO NOTHING", rows)
    else:
        _execute_many(f"{into} VALUES (%s, %s) ON CONFLICT DO NOTHING", rows)


def _row(post: IncomingPost, adapt: Callable[[datetime], Any]) -> tuple[Any, ...]:
    received_at = adapt(post.received_at or timezone.now())
    raw = clean_json(post.raw) if settings.STORE_RAW_POSTS else None
    return (
        post.source,
        post.external_id,
        post.text,
        post.lang,
        post.author_id,
        post.author_username,
        post.author_name,
        adapt(post.created_at),
        received_at,
        received_at,
        post.conversation_id,
        post.edit_history[0] if post.edit_history else "",
        False,
        _references(post) if post.references else "[]",
        json.dumps(dict(post.metrics)) if post.metrics else "{}",
        None if raw is None else json.dumps(raw),
    )


def _references(post: IncomingPost) -> str:
    return json.dumps([{"type": ref.kind, "id": clean(ref.external_id)} for ref in post.references])


def _same(moment: datetime) -> Any:
    return moment


# As Django writes it, without its many questions.
_ADAPT_MOMENT: dict[str, Callable[[datetime], Any]] = {
    "sqlite": lambda moment: str(moment.astimezone(UTC))[:-6]
}


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _insert_on_sqlite(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, str]]:
    last = Post.objects.aggregate(last=Max("pk"))["last"] or 0
    marks = ", ".join(["%s"] * len(COLUMNS))
    _execute_many(f"{_INTO} VALUES ({marks}) {_UNLESS_THERE}", rows)
    # There is one writer: what is newer is ours.
    return list(Post.objects.filter(pk__gt=last).order_by("pk").values_list("pk", "external_id"))


def _insert_on_postgresql(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, str]]:
    return _execute_values(f"{_INTO} VALUES %s {_UNLESS_THERE} RETURNING id, external_id", rows)


def _execute_many(sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(sql, rows)


def _execute_values(sql: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """One statement for all rows; psycopg's executemany sends one a row."""
    from psycopg2.extras import execute_values

    if not rows:
        return []
    with connection.cursor() as cursor:
        found = execute_values(
            cursor.cursor, sql, rows, page_size=len(rows), fetch="RETURNING" in sql
        )
    return list(found or ())
