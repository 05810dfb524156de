"""Trying a query on stored posts before anybody pays for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from ingestion import queries
from ingestion.models import Post

TRIED = 10_000
SINCE = timedelta(days=7)
EXAMPLES = 10


@dataclass(frozen=True)
class Trial:
    """How many of the newest stored posts a query matches.

    `unsupported` are operators that only the vendor can judge: they were taken to match.
    """

    tried: int
    matched: int
    examples: list[str]
    unsupported: list[str]

    @property
    def share(self) -> float:
        return self.matched / self.tried if self.tried else 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"share": round(self.share, 4)}


def try_query(query: str, *, languages: Sequence[str] = (), source: str = "") -> Trial:
    """Judge the newest 10,000 posts of the last week by `query`, in our filter language.

    Of one source, or of all. Raises BadQuery. One query of the database.
    """
    judge = queries.parse(query)
    posts = Post.objects.current().since(timezone.now() - SINCE).order_by("-created_at", "-id")
    if source:
        posts = posts.filter(source=source)
    tried = matched = 0
    examples: list[str] = []
    fields = ("text", "author_username", "lang", "author_id")
    for text, author, lang, author_id in posts.values_list(*fields)[:TRIED]:
        tried += 1
        if languages and lang not in languages:
            continue
        if judge.matches(text=text, author=author, lang=lang, author_id=author_id):
            matched += 1
            if len(examples) < EXAMPLES:
                examples.append(text)
    return Trial(tried, matched, examples, list(judge.unsupported))
