"""Rows of somebody's own making: which column means what, and how times are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dateutil import parser as dates

from ingestion.exceptions import BadPost

_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.]\d{2,4}")
_DOTTED_TIME = re.compile(r"\b(\d{1,2})\.(\d{2})(?:\.(\d{2}))?$")
_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d+)?")

# Names that files commonly use, most telling first.
COMMON: dict[str, Sequence[str]] = {
    "text": ("text", "full_text", "tweet", "tweet_text", "content", "body", "message", "post"),
    "id": ("id", "id_str", "tweet_id", "post_id", "external_id"),
    "time": ("created_at", "tweet_created", "timestamp", "date", "datetime", "time"),
    "author": ("author_username", "username", "screen_name", "author", "user", "name"),
    "lang": ("lang", "language"),
}


@dataclass(frozen=True)
class Columns:
    """Which column of a file means what; "" takes a common name that the file has.

    `time_format` is strptime's; `day_first` decides dates like 03/04/2025, which are refused
    while it is None.
    """

    text: str = ""
    id: str = ""
    time: str = ""
    author: str = ""
    lang: str = ""
    label: str = ""
    time_format: str = ""
    day_first: bool | None = None

    def named(self) -> list[str]:
        """The columns that were named rather than left to be found."""
        names = (self.text, self.id, self.time, self.author, self.lang, self.label)
        return [name for name in names if name]


def value(item: Mapping[str, Any], column: str, meaning: str) -> str:
    """The named column's text, or that of the first common name that is there."""
    names = (column,) if column else COMMON[meaning]
    for name in names:
        found = item.get(name)
        if isinstance(found, datetime):
            return found.isoformat()
        if isinstance(found, str | int | float) and not isinstance(found, bool):
            return str(found).strip()
    return ""


def derive_id(text: str, written: str, author: str) -> str:
    """A stable id for a row that has none: the same row has the same one in every import."""
    seal = hashlib.sha256("\x1f".join((text, written, author)).encode("utf-8", "surrogatepass"))
    return f"row-{seal.hexdigest()[:32]}"


def read_time(written: str, columns: Columns) -> datetime:
    """A moment in UTC; without a zone it is taken for UTC. Raises BadPost."""
    try:
        if columns.time_format:
            moment = datetime.strptime(written, columns.time_format)
        elif _EPOCH.fullmatch(written):
            seconds = float(written)
            moment = datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        else:
            moment = _guess_time(written, columns.day_first)
    except (ValueError, OverflowError) as error:
        raise BadPost(f"its time {written!r} cannot be read: {error}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _guess_time(written: str, day_first: bool | None) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        pass
    if day_first is None and _DAY_OR_MONTH_FIRST.match(written):
        raise BadPost(f"its time {written!r} may be day or month first: say --day-first or not")
    spelled = _DOTTED_TIME.sub(lambda m: ":".join(part for part in m.groups() if part), written)
    return dates.parse(spelled, dayfirst=bool(day_first))
