"""A file of posts, read a record at a time, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.events import IncomingPost
from ingestion.exceptions import BadPost, UnusableFile
from ingestion.sources.files import json_array, json_lines, tables
from ingestion.sources.files.columns import Columns
from ingestion.sources.files.formats import LINES, sniff
from ingestion.sources.files.items import Found, Items, Refused, Removal, Said
from ingestion.sources.files.packed import STANDARD_INPUT, opened
from ingestion.sources.files.records import Place, Record, Value, decode

_HEAD = 4096


@dataclass(frozen=True)
class Row:
    """One row of a file: a post, something taken back, or the reason why it is neither.

    None of the three where a dump tells of what is no post. `offset` is the byte read up to.
    """

    line: int
    post: IncomingPost | None = None
    label: str = ""
    reason: str = ""
    offset: int = 0
    # Of a flat row: the id to use when its own turns out to stand for another post.
    fallback_id: str = ""
    removal: Removal | None = None
    # Of a row that is refused: its beginning.
    excerpt: bytes = b""


@dataclass
class PostFile:
    """A file of posts, to be read once."""

    path: Path
    columns: Columns = field(default_factory=Columns)
    kind: str = ""
    encoding: str = "utf-8"
    stream_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self._items = Items(self.columns, self.stream_ids)
        self._place = Place()

    @property
    def size(self) -> int:
        """Bytes on disk; 0 for standard input."""
        return 0 if self.path == STANDARD_INPUT else self.path.stat().st_size

    def grows(self) -> bool:
        """Whether the file is of plain lines, to which more may be appended.

        Raises UnusableFile.
        """
        place = Place()
        with opened(self.path, place) as binary:
            return not place.is_packed and self._format(binary.peek(_HEAD)[:_HEAD]) in LINES

    def rows(self) -> Iterator[Row]:
        """Every row, in order. Raises UnusableFile when it cannot be read as posts at all."""
        for record in self.records():
            yield from self.read(record)

    def records(self, line: int = 0, end: int = 0) -> Iterator[Record]:
        """Every record, unread: passing one over costs little. Raises UnusableFile.

        With `end`, only those that begin there or later, in a file that `grows`; `line` is the
        number of the line that ends there.
        """
        with opened(self.path, self._place) as binary:
            kind = self._format(binary.peek(_HEAD)[:_HEAD])
            if kind == "json":
                yield from json_array.records(binary, self.path)
            elif kind == "jsonl":
                yield from json_lines.records(binary, line, end)
            elif kind == "parquet":
                yield from self._parquet_records()
            else:
                yield from tables.csv_records(
                    binary, self.path, self.columns, kind, self.encoding, line, end
                )

    def read(self, record: Record) -> Iterator[Row]:
        """The rows of a record: several where one line holds a page of posts."""
        line, offset = record.line, self._place.offset()
        try:
            for found in self._found(record.value):
                if isinstance(found, Found):
                    label = self._label(record.value)
                    yield Row(line, found.post, label, "", offset, found.fallback_id)
                elif isinstance(found, Refused):
                    yield Row(line, reason=found.reason, offset=offset, excerpt=found.excerpt())
                else:
                    yield Row(line, offset=offset, removal=found)
        except BadPost as error:
            yield Row(line, reason=str(error), offset=offset, excerpt=record.excerpt())

    def _found(self, value: Value) -> Iterator[Said]:
        if isinstance(value, BadPost):
            raise value
        if isinstance(value, bytes):
            return self._items.read(decode(value), value)
        return self._items.read(value)

    def _label(self, value: Value) -> str:
        column = self.columns.label
        if not column or isinstance(value, BadPost):
            return ""
        item = decode(value) if isinstance(value, bytes) else value
        return str(item.get(column) or "").strip()

    def _format(self, head: bytes) -> str:
        return self.kind or sniff(head, self.path.name)

    def _parquet_records(self) -> Iterator[Record]:
        if self._place.is_packed or self.path == STANDARD_INPUT:
            raise UnusableFile(
                f"{self.path} is Parquet, which is read as a plain file only: unpack it first"
            )
        return tables.parquet_records(self.path, self.columns)


def read_message(message: bytes) -> Iterator[Said]:
    """What one JSON row says, outside its file. Raises BadPost as `Items.read`."""
    return Items(Columns()).read(decode(message), message)
