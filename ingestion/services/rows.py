"""Posts and their links as rows, written past the ORM, which would take four times as long."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple

import orjson
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


# What a delivered post fills, and PostgreSQL's types; all other columns may be NULL.
COLUMNS = {
    "source": "text",
    "external_id": "text",
    "text": "text",
    "lang": "text",
    "author_id": "text",
    "author_username": "text",
    "author_name": "text",
    "created_at": "timestamptz",
    "received_at": "timestamptz",
    "checked_at": "timestamptz",
    "conversation_id": "text",
    "original_id": "text",
    "is_superseded": "boolean",
    "references": "jsonb",
    "metrics": "jsonb",
    "raw": "jsonb",
}
_TABLE = Post._meta.db_table
_LINKS = Post.streams.through._meta.db_table
# Quoted, because `references` is a word of SQL.
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_INTO = f"INSERT INTO {_TABLE} ({_NAMES})"
_TYPED = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
# Below SQLite's limit of 32,766 parameters.
LINKS_A_STATEMENT = 10_000
_UNLESS_THERE = "ON CONFLICT (source, external_id) DO NOTHING"


def insert_posts(source: str, posts: Mapping[str, IncomingPost]) -> list[NewPost]:
    """Insert those of one source's posts that are not there, and return them.

    Within a transaction that nobody else stores the source's posts beside.
    """
    adapt = _ADAPT_MOMENT.get(connection.vendor, _same)
    now = adapt(timezone.now())
    rows = [_row(post, adapt, now) for post in posts.values()]
    ids = _insert_on_postgresql(rows) if _is_postgresql() else _insert_on_sqlite(rows)
    return [
        NewPost(pk, key, history[0] if (history := posts[key].edit_history) else "")
        for pk, key in ids
    ]


def insert_links(links: Iterable[tuple[int, int]]) -> None:
    """Link posts to streams: pairs of (post id, stream id); those that are there stay."""
    rows = sorted(links)
    into = f"INSERT INTO {_LINKS} (post_id, stream_id)"
    if not rows:
        return
    if _is_postgresql():
        columns = [f"{{{','.join(map(str, column))}}}" for column in zip(*rows, strict=True)]
        pairs = "SELECT * FROM unnest(%s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"
        _execute_on_postgresql(f"{into} {pairs}", columns)
        return
    for start in range(0, len(rows), LINKS_A_STATEMENT):
        part = rows[start : start + LINKS_A_STATEMENT]
        _execute_on_sqlite(into, part, "ON CONFLICT DO NOTHING")


def _row(post: IncomingPost, adapt: Callable[[datetime], Any], now: Any) -> tuple[Any, ...]:
    received_at = now if post.received_at is None else adapt(post.received_at)
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
        _json(dict(post.metrics)) if post.metrics else "{}",
        None if raw is None else _json(raw, default=str),
    )


def _references(post: IncomingPost) -> str:
    return _json([{"type": ref.kind, "id": clean(ref.external_id)} for ref in post.references])


def _json(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """As JSON; `default` is for what JSON does not know, as the decimals of a table."""
    try:
        return orjson.dumps(value, default=default).decode()
    except TypeError:
        # What it is too strict for: half surrogates, integers beyond 64 bit.
        return json.dumps(clean_json(value), default=default)


def _same(moment: datetime) -> Any:
    return moment


# As Django writes it, without its many questions.
_ADAPT_MOMENT: dict[str, Callable[[datetime], Any]] = {
    "sqlite": lambda moment: str(moment.astimezone(UTC))[:-6],
    "postgresql": datetime.isoformat,
}


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _insert_on_sqlite(rows: Sequence[tuple[Any, ...]]) -> Iterable[tuple[int, str]]:
    """There is one writer, and its ids follow one another."""
    before = Post.objects.aggregate(last=Max("pk"))["last"] or 0
    count, last = _execute_on_sqlite(_INTO, rows, _UNLESS_THERE)
    if count == len(rows):
        return zip(range(last - count + 1, last + 1), (row[1] for row in rows), strict=True)
    fresh = Post.objects.filter(pk__gt=before).order_by("pk")
    return list(fresh.values_list("pk", "external_id"))


def _insert_on_postgresql(rows: Sequence[tuple[Any, ...]]) -> list[tuple[int, str]]:
    """One document for all rows: PostgreSQL reads it twice as fast as a list of values."""
    document = orjson.dumps([dict(zip(COLUMNS, _embedded(row), strict=True)) for row in rows])
    # Constants of this module are formatted in, and nothing that was read.
    sql = (
        f"{_INTO} SELECT * FROM json_to_recordset(%s) AS posts ({_TYPED}) "  # noqa: S608
        f"{_UNLESS_THERE} RETURNING id, external_id"
    )
    return _execute_on_postgresql(sql, [document.decode()])


def _embedded(row: tuple[Any, ...]) -> list[Any]:
    """The row with its JSON as JSON, not as text."""
    *plain, references, metrics, raw = row
    return [
        *plain,
        orjson.Fragment(references),
        orjson.Fragment(metrics),
        raw and orjson.Fragment(raw),
    ]


def _execute_on_sqlite(
    into: str, rows: Sequence[tuple[Any, ...]], on_conflict: str
) -> tuple[int, int]:
    """One statement for all rows; return how many were inserted, and the last one's id.

    sqlite3 lets other threads run at each statement, and waits for them: once for each row would
    cost more than the rows. Django would look for %s in all of it, and write ? instead.
    """
    marks = f"({', '.join('?' * len(rows[0]))})"
    sql = f"{into} VALUES {', '.join([marks] * len(rows))} {on_conflict}"
    # Past Django's cursor its errors would come as sqlite3's own, and nobody waits out those.
    with connection.cursor() as cursor, connection.wrap_database_errors:
        inner = cursor.cursor
        sqlite3.Cursor.execute(inner, sql, tuple(chain.from_iterable(rows)))
        return inner.rowcount, inner.lastrowid or 0


def _execute_on_postgresql(sql: str, parameters: Sequence[Any]) -> list[Any]:
    """Past Django's cursor, which would keep the long statements where DEBUG is on."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []
