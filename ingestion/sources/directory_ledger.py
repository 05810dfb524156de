"""How far each watched file has been read: what is stored, and what is on its way.

The cursor holds every file in work, and those that ended since it was last seen to be stored. It
is the truth: it is stored only after the rows before it, so that whatever dies, the next
connection reads on from rows that are safe. `WatchedFile` follows what has been stored, as the
source's `Connection` row shows, and never runs ahead: a file that is finished there may be left
out of the cursor. `Resume.cursor` would not do as proof, because after a mere reconnection its
rows may still wait in the buffer.
"""

from __future__ import annotations

import json
import logging
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime
from typing import Any

from django.utils import timezone

from ingestion.models import Connection, WatchedFile

logger = logging.getLogger(__name__)

# Files in work, and finished but not seen to be stored: so large may the cursor grow.
MAX_FILES = 100
# Files that ended lately are remembered as well: they may grow, and are read on then.
KEPT = 100
MAX_ERROR = 200


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of a file from another."""

    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a version of a file has been read: `rows`, which end in `line` at the byte `end`.

    `seal` is of a plain file's beginning up to there, which may be read on when it has grown;
    `is_cut` tells that the last row goes on behind `end`, without a line's end.
    """

    size: int
    modified_ns: int
    rows: int = 0
    rejected: int = 0
    line: int = 0
    end: int = 0
    seal: str = ""
    is_cut: bool = False
    is_done: bool = False
    error: str = ""

    @property
    def version(self) -> Version:
        return Version(self.size, self.modified_ns)


Files = dict[int, Progress]


@dataclass
class Cursor:
    """Progress by the primary key of `WatchedFile`; `sent` counts events, ever more.

    `kept` are files that are seen to be stored to their end.
    """

    sent: int = 0
    files: Files = field(default_factory=dict)
    kept: Files = field(default_factory=dict)

    def text(self) -> str:
        data = {"sent": self.sent, "files": _packed(self.files), "kept": _packed(self.kept)}
        return json.dumps(data, separators=(",", ":"))


def _packed(files: Files) -> dict[str, list[Any]]:
    return {
        str(pk): [int(value) if isinstance(value, bool) else value for value in astuple(progress)]
        for pk, progress in files.items()
    }


def parse(text: str) -> Cursor | None:
    """The cursor of a text; None when it is none."""
    try:
        data = json.loads(text)
        return Cursor(int(data["sent"]), _unpacked(data["files"]), _unpacked(data["kept"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _unpacked(files: Any) -> Files:
    return {int(pk): _progress(*values) for pk, values in files.items()}


def _progress(*values: Any) -> Progress:
    size, modified_ns, rows, rejected, line, end, seal, is_cut, is_done, error = values
    return Progress(
        int(size),
        int(modified_ns),
        int(rows),
        int(rejected),
        int(line),
        int(end),
        str(seal),
        bool(is_cut),
        bool(is_done),
        str(error),
    )


class Ledger:
    """The progress of one connection."""

    def __init__(self, source: str, cursor: str) -> None:
        self._source = source
        self._mine = parse(cursor) or Cursor()
        self._settled: dict[int, Progress] = {}
        self._stored_sent: int | None = None
        if cursor and parse(cursor) is None:
            logger.warning(
                "the cursor of %s cannot be read: unfinished files are read again, which adds "
                "nothing twice",
                source,
            )

    @property
    def cursor(self) -> str:
        return self._mine.text()

    @property
    def is_full(self) -> bool:
        """Whether no further file may be begun now."""
        return len(self._mine.files) >= MAX_FILES

    @property
    def has_open_ends(self) -> bool:
        """Whether something was read that is not seen to be stored."""
        return bool(self._mine.files)

    @property
    def ahead(self) -> int:
        """How many events are on their way to the database."""
        return 0 if self._stored_sent is None else max(0, self._mine.sent - self._stored_sent)

    def get(self, pk: int) -> Progress | None:
        return self._mine.files.get(pk) or self._mine.kept.get(pk)

    def put(self, pk: int, progress: Progress, events: int) -> None:
        """So far a file has been read, with so many more events."""
        self._mine.files[pk] = replace(progress, error=progress.error[:MAX_ERROR])
        self._mine.kept.pop(pk, None)
        self._mine.sent += events

    def drop(self, pk: int) -> None:
        """Forget how far a file has been read: it is to be read from its beginning."""
        self._mine.files.pop(pk, None)
        self._mine.kept.pop(pk, None)

    def make_room(self, open_files: set[int]) -> None:
        """Drop files that nobody reads now, as of paused streams, where there are too many."""
        idle = [pk for pk, each in self._mine.files.items() if not each.is_done]
        for pk in idle:
            if self.is_full and pk not in open_files:
                self.drop(pk)

    def settle(self) -> bool:
        """Take over into `WatchedFile` what has been stored; what is finished there may go.

        Returns whether the cursor has become shorter.
        """
        stored = self._stored()
        if stored is None:
            return False
        before = len(self._mine.files)
        now = timezone.now()
        for pk, progress in stored.files.items():
            if self._settled.get(pk) != progress and not _write(pk, progress, now):
                self.drop(pk)
            elif progress.is_done and self._mine.files.get(pk) == progress:
                self._keep(pk, progress)
        self._settled = stored.files
        return len(self._mine.files) < before

    def _keep(self, pk: int, progress: Progress) -> None:
        """The file is finished. Only what has a seal can be read on, and need be remembered."""
        self.drop(pk)
        if progress.seal:
            self._mine.kept[pk] = progress
        while len(self._mine.kept) > KEPT:
            del self._mine.kept[next(iter(self._mine.kept))]

    def _stored(self) -> Cursor | None:
        """What the source's row shows; None where nobody stores."""
        text = (
            Connection.objects.filter(source=self._source).values_list("cursor", flat=True).first()
        )
        if text is None:
            return None
        stored = parse(text) if text else Cursor()
        self._stored_sent = None if stored is None else stored.sent
        return stored


def _write(pk: int, progress: Progress, now: datetime) -> bool:
    """Show a file's progress; False when its row is gone."""
    return bool(
        WatchedFile.objects.filter(pk=pk).update(
            size=progress.size,
            modified_ns=progress.modified_ns,
            rows=progress.rows,
            rejected=progress.rejected,
            error=progress.error,
            finished_at=now if progress.is_done else None,
            updated_at=now,
        )
    )
