"""Trying a query on stored posts before anybody pays for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from ingestion import queries
from ingestion.exceptions import BadQuery
from ingestion.models import Post, PostQuerySet, Source
from ingestion.queries import Query
from ingestion.services import usage

TRIED = 10_000
SINCE = timedelta(days=7)
EXAMPLES = 20
# Fewer posts of the source itself than this tell too little: those of all sources are taken.
ENOUGH = 100
# A rate is told of no less time than this.
SHORTEST = timedelta(hours=1)
MONTH_DAYS = 30
_CODE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_FIELDS = ("text", "author_username", "lang", "author_id", "created_at")


@dataclass(frozen=True)
class Trial:
    """How many of the newest stored posts a query matches.

    `unsupported` are operators that only the vendor can judge: they were taken to match. `of` is
    whose posts were judged, "" those of all sources. Of the source's own posts, `posts_per_day`
    and `cost_month_usd` (30 days) say what the query brings at least: what no stream asked for is
    not stored. Otherwise they are None.
    """

    tried: int
    matched: int
    examples: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    of: str = ""
    posts_per_day: float | None = None
    cost_month_usd: float | None = None

    @property
    def share(self) -> float:
        return self.matched / self.tried if self.tried else 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"share": round(self.share, 4)}


def try_query(
    query: str, *, languages: Sequence[str] = (), source: str = "", limit: int = EXAMPLES
) -> Trial:
    """Judge the newest 10,000 posts of the last week by what a stream of `source` would ask for.

    Without a source the query is one of our own filter language. At most `limit` examples, never
    more than 20. Raises BadQuery. Two queries of the database.
    """
    now = timezone.now()
    judge = queries.parse(_condition(source, query))
    speaks = queries.parse(" OR ".join(f"lang:{_code(code)}" for code in languages))
    of, rows = _newest(source, now)
    found = [row for row in rows if _matches(judge, row) and _matches(speaks, row)]
    rate = _per_day(len(found), rows, now) if of and rows else None
    return Trial(
        tried=len(rows),
        matched=len(found),
        examples=[row[0] for row in found[: min(limit, EXAMPLES)]],
        unsupported=list(judge.unsupported),
        of=of,
        posts_per_day=rate,
        cost_month_usd=None if rate is None else round(rate * MONTH_DAYS * usage.price(source), 2),
    )


_Row = tuple[str, str, str, str, datetime]


def _matches(query: Query, row: _Row) -> bool:
    text, author, lang, author_id, _ = row
    return query.matches(text=text, author=author, lang=lang, author_id=author_id)


def _newest(source: str, now: datetime) -> tuple[str, list[_Row]]:
    """Posts to judge: the source's own where there are enough, and whose they are."""
    posts = Post.objects.current().since(now - SINCE).order_by("-created_at", "-id")
    if source:
        own = _rows(posts.filter(source=source))
        if len(own) >= ENOUGH:
            return source, own
    return "", _rows(posts)


def _rows(posts: PostQuerySet) -> list[_Row]:
    return list(posts.values_list(*_FIELDS)[:TRIED])


def _per_day(matched: int, rows: Sequence[_Row], now: datetime) -> float:
    """What came a day in the time that the rows span, newest first."""
    return round(matched / (max(now - rows[-1][-1], SHORTEST) / timedelta(days=1)), 1)


def _condition(source: str, query: str) -> str:
    """What a stream of the source wants of a post's text, in our filter language."""
    if source == Source.MASTODON:
        return _of_timelines(query)
    if source in (Source.RSS, Source.FILE):
        raise BadQuery(
            f"a stream of {Source(source).label} takes all that it names: there is nothing to try"
        )
    return query


def _of_timelines(query: str) -> str:
    """`#cats #dogs | food` reads two timelines, and keeps what the filter behind the | lets by."""
    places, _, condition = query.partition("|")
    words = [word for word in places.split() if word != "OR"]
    tags = [word for word in words if word.startswith("#")]
    if not words:
        raise BadQuery("name a timeline first: public, public:local or a #hashtag")
    if len(tags) < len(words):
        return condition
    return " ".join(f"({part})" for part in (" OR ".join(tags), condition) if part.strip())


def _code(code: str) -> str:
    if not _CODE.fullmatch(code):
        raise BadQuery(f"{code[:20]!r} is no language code: write en or pt-BR")
    return code
