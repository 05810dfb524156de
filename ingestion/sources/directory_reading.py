"""Reading one file of a watched directory, from where it was left."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ingestion.exceptions import UnusableFile
from ingestion.sources.directory_ledger import Progress, Version
from ingestion.sources.files import PostFile, Record, Row, UnreadableFile

logger = logging.getLogger(__name__)

# A turn: so many rows, or so many seconds of passing over what was read before.
ROWS = 500
SECONDS = 1.0
_SEALED = 4096


@dataclass
class Turn:
    """What one turn at a file brought. `is_over` ends the file, `retry` only for now."""

    rows: list[Row] = field(default_factory=list)
    is_over: bool = False
    retry: str = ""


def version_of(status: os.stat_result) -> Version:
    return Version(status.st_size, status.st_mtime_ns)


class Reading:
    """An open file. Goes on after the rows that were read before, if it still begins with them.

    `is_growing` says that somebody still writes: a row that is not ended yet is left for later.
    Raises OSError.
    """

    def __init__(
        self, path: Path, pk: int, stream: int, before: Progress | None, *, is_growing: bool
    ) -> None:
        self.path = path
        self.pk = pk
        self._is_growing = is_growing
        self._file = PostFile(path, stream_ids=frozenset({stream}))
        # Of the content that is opened now, whatever takes its name later.
        self._handle = os.open(path, os.O_RDONLY)
        try:
            self._has_lines = self._grows()
            version = version_of(os.fstat(self._handle))
            self.progress = self._resume(before, version)
        except OSError:
            os.close(self._handle)
            raise
        self._read_to = self.progress.end
        # In lines one can go straight to the place; elsewhere records are passed over.
        seeks = self._has_lines and self.progress.end > 0
        self._skip = 0 if seeks else self.progress.rows
        self._records: Iterator[Record] = self._file.records(
            self.progress.line if seeks else 0, self.progress.end if seeks else 0
        )

    def _grows(self) -> bool:
        try:
            return self._file.grows()
        except UnusableFile:
            return False

    def _resume(self, before: Progress | None, now: Version) -> Progress:
        """Where to go on: where it was left, unless this is another content."""
        fresh = Progress(now.size, now.modified_ns)
        if before is None:
            return fresh
        if before.version == now:
            return replace(before, is_done=False, error="")
        if now.size > before.size and before.seal and before.seal == self._seal(before.end):
            # A last row that was cut off is read again, whole.
            return replace(
                before,
                size=now.size,
                modified_ns=now.modified_ns,
                rows=before.rows - before.is_cut,
                is_cut=False,
                is_done=False,
                error="",
            )
        return fresh

    def _seal(self, end: int) -> str:
        """What tells this beginning of the file, up to a byte, from that of others."""
        head = os.pread(self._handle, min(_SEALED, end), 0)
        tail = os.pread(self._handle, min(_SEALED, end), max(0, end - _SEALED))
        return hashlib.sha256(b"%d\n" % end + head + tail).hexdigest()[:16]

    def close(self) -> None:
        if self._handle >= 0:
            # A generator, typed as what it yields.
            self._records.close()  # type: ignore[attr-defined]
            os.close(self._handle)
            self._handle = -1

    def turn(self) -> Turn:
        """Read on for a while; `progress` then includes what was read."""
        turn = Turn()
        try:
            self._read(turn)
            self._seal_progress()
        except UnreadableFile as error:
            turn.retry = str(error)
        except OSError as error:
            turn.retry = f"{self.path} cannot be read: {error.strerror or error}"
        except UnusableFile as error:
            logger.warning("%s", error)
            self._end(turn, self.progress.version, str(error))
        return turn

    def _read(self, turn: Turn) -> None:
        deadline = time.monotonic() + SECONDS
        for record in self._records:
            if self._skip:
                self._skip -= 1
            elif record.is_cut and self._is_growing:
                # Its size is not the file's, so that the rest is looked for.
                self._end(turn, Version(self._read_to, self.progress.modified_ns))
                return
            else:
                self._take(record, turn)
            if len(turn.rows) >= ROWS or time.monotonic() > deadline:
                return
        self._end(turn, self._version_read())

    def _take(self, record: Record, turn: Turn) -> None:
        rows = list(self._file.read(record))
        turn.rows += rows
        self._read_to = max(self._read_to, record.end)
        self.progress = replace(
            self.progress,
            rows=self.progress.rows + 1,
            rejected=self.progress.rejected + sum(1 for row in rows if row.reason),
            end=record.start if record.is_cut else record.end,
            line=self.progress.line if record.is_cut else record.line,
            is_cut=record.is_cut,
        )

    def _end(self, turn: Turn, version: Version, error: str = "") -> None:
        turn.is_over = True
        self.progress = replace(
            self.progress,
            size=version.size,
            modified_ns=version.modified_ns,
            is_done=True,
            error=error,
        )

    def _version_read(self) -> Version:
        """What has been read to its end: a file of lines may have grown in the meantime.

        What was appended after that makes its size another one, so that it is read on.
        """
        now = version_of(os.fstat(self._handle))
        if now.size <= self.progress.size or not self._has_lines:
            return self.progress.version
        return Version(max(self._read_to, self.progress.size), now.modified_ns)

    def _seal_progress(self) -> None:
        if self._has_lines and self.progress.end:
            self.progress = replace(self.progress, seal=self._seal(self.progress.end))
