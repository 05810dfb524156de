"""What streams ask of Mastodon: timelines to read, and a filter for what is read there.

`public`, `public:local`, `#tag`, or several of them with spaces or OR between; behind a `|`
follows a filter in the language of `ingestion.queries`: `public | cats OR dogs`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ingestion import queries
from ingestion.events import IncomingPost
from ingestion.exceptions import BadQuery
from ingestion.language_tags import normalised, primary
from ingestion.models import Stream
from ingestion.queries import Query
from ingestion.sources.mastodon_payload import Status

PUBLIC = "public"
LOCAL = "public:local"
# Each is a connection and a thread.
MAX_TIMELINES = 32
MAX_TAG = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What one stream wants: posts of these timelines that its filter lets through."""

    stream_id: int
    timelines: frozenset[str]
    filter: Query
    languages: frozenset[str]

    def wants(self, status: Status) -> bool:
        post = status.post
        if post is None or not self._speaks(post.lang):
            return False
        return self.filter.matches(
            text=status.full_text,
            author=post.author_username,
            lang=post.lang,
            author_id=post.author_id,
        )

    def _speaks(self, lang: str) -> bool:
        return not self.languages or (
            lang != "" and not self.languages.isdisjoint((lang, primary(lang)))
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What all streams ask for together, and why some are refused."""

    asked: tuple[Asked, ...] = ()
    refused: tuple[tuple[int, str], ...] = ()

    @property
    def timelines(self) -> frozenset[str]:
        return frozenset().union(*(asked.timelines for asked in self.asked))

    def of_timeline(self, status: Status, timeline: str) -> IncomingPost | None:
        """The post for the streams that read this timeline; None when none of them wants it."""
        return self._post(status, (asked for asked in self.asked if timeline in asked.timelines))

    def of_anywhere(self, status: Status) -> IncomingPost | None:
        """The post for the streams on whose timelines it must have been.

        Without any stream nothing says that it is not wanted.
        """
        if not self.asked:
            return status.post
        places = {PUBLIC, *(f"#{tag}" for tag in status.tags)}
        if status.is_local:
            places.add(LOCAL)
        return self._post(status, (asked for asked in self.asked if places & asked.timelines))

    def _post(self, status: Status, among: Iterable[Asked]) -> IncomingPost | None:
        if status.post is None:
            return None
        wanted_by = frozenset(asked.stream_id for asked in among if asked.wants(status))
        return replace(status.post, stream_ids=wanted_by) if wanted_by else None


def plan(streams: Sequence[Stream]) -> Plan:
    """What to read for these streams; what cannot be read is refused with its reason."""
    asked: list[Asked] = []
    refused: dict[int, str] = {}
    timelines: set[str] = set()
    for stream in streams:
        try:
            wish = _asked(stream)
            if len(timelines | wish.timelines) > MAX_TIMELINES:
                raise BadQuery(f"more than {MAX_TIMELINES} timelines cannot be read at once")
        except BadQuery as error:
            refused[stream.pk] = str(error)
        else:
            timelines |= wish.timelines
            asked.append(wish)
    return Plan(tuple(asked), tuple(refused.items()))


def _asked(stream: Stream) -> Asked:
    timelines, condition = parse(stream.query)
    languages = stream.languages if isinstance(stream.languages, list) else []
    return Asked(
        stream.pk, timelines, condition, frozenset(normalised(str(code)) for code in languages)
    )


def parse(text: str) -> tuple[frozenset[str], Query]:
    """The timelines and the filter of a query. Raises BadQuery."""
    places, _, condition = text.partition("|")
    names = frozenset(_timeline(word) for word in places.split() if word != "OR")
    if not names:
        raise BadQuery("name a timeline first: public, public:local or a #hashtag")
    try:
        return names, queries.parse(condition.strip())
    except BadQuery as error:
        raise BadQuery(f"behind the |, {error}") from error


def _timeline(word: str) -> str:
    name = unicodedata.normalize("NFKC", word).lower()
    if name in {PUBLIC, LOCAL}:
        return name
    if name.startswith("#") and len(name) <= MAX_TAG and _is_tag(name[1:]):
        return name
    raise BadQuery(
        f"{word[:40]!r} is no timeline: name public, public:local or a #hashtag; words to look for "
        "go behind a |, as in: public | cats"
    )


def _is_tag(name: str) -> bool:
    """Letters with their marks, digits, underscores and middle dots; not digits alone."""
    is_made_of_these = all(
        unicodedata.category(char)[0] in "LMN" or char in "_·・\u200c" for char in name
    )
    return is_made_of_these and re.search(r"[^\d_·・\u200c]", name) is not None
