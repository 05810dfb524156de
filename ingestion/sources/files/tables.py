"""Tables: CSV and TSV, a row at a time, and Parquet, a batch at a time."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ingestion.exceptions import BadPost, UnusableFile
from ingestion.sources.files.columns import COMMON, Columns
from ingestion.sources.files.records import EXCERPT, MAX_LINE, Record, Value

_UNDECODED = re.compile("[\udc80-\udcff]")
_BATCH = 1000


def check_columns(names: Sequence[str], columns: Columns, path: Path) -> None:
    """A wrong option stops the import before the first row, not once a row."""
    for column in columns.named():
        if column not in names:
            raise UnusableFile(f"{path} has no column {column!r}; it has: {', '.join(names)}")
    if not columns.text and not set(COMMON["text"]) & set(names):
        raise UnusableFile(
            f"{path}: which column is the text? Say --text-column; it has: "
            f"{', '.join(names) or 'none'}"
        )


def csv_records(
    binary: io.BufferedReader,
    path: Path,
    columns: Columns,
    kind: str,
    encoding: str,
    line: int = 0,
    end: int = 0,
) -> Iterator[Record]:
    """Every row below the header; with `end`, below the `line` that ends at this byte.

    Raises UnusableFile.
    """
    delimiter = _delimiter(binary, kind)
    lines = _Lines(binary, encoding)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        check_columns(list(reader.fieldnames or ()), columns, path)
    except csv.Error as error:
        raise UnusableFile(f"{path}: the header cannot be read: {error}") from error
    width = len(reader.fieldnames or ())
    passed = 0
    if end:
        passed = line - reader.line_num
        lines.seek(end)
    while True:
        start = lines.begin()
        try:
            value = _checked(next(reader), width)
        except StopIteration:
            return
        except csv.Error as error:
            value = BadPost(f"it is not {delimiter!r}-separated: {error}")
        raw = lines.raw() if isinstance(value, BadPost) else b""
        yield Record(passed + reader.line_num, value, start, lines.end, not lines.is_ended, raw)


class _Lines:
    """A table's lines for the csv module, and where they are among the bytes."""

    def __init__(self, binary: io.BufferedReader, encoding: str) -> None:
        head = binary.peek(3)[:3]
        is_utf8 = encoding.lower() in {"utf-8", "utf8", "utf-8-sig"}
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            encoding, is_utf8 = "utf-16", False
        elif is_utf8:
            # A byte order mark is no part of the first column.
            encoding = "utf-8-sig"
        try:
            # Bytes that are not UTF-8 become surrogates, which tell in which row they were.
            self._text = io.TextIOWrapper(binary, encoding, errors="surrogateescape", newline="")
        except LookupError as error:
            raise UnusableFile(f"--encoding: {error}") from error
        self.end = len(codecs.BOM_UTF8) if is_utf8 and head == codecs.BOM_UTF8 else 0
        self.is_ended = True
        self._is_utf8 = is_utf8
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        # A file without line ends must not fill the memory.
        line = self._text.readline(MAX_LINE)
        if not line:
            # In the middle of a row it is a cut, between two it is the end.
            self.is_ended = not self._taken and self.is_ended
            raise StopIteration
        if self._is_utf8:
            self.end += len(line) if line.isascii() else len(_bytes(line))
        self.is_ended = line.endswith(("\n", "\r"))
        self._taken.append(line)
        return line

    def seek(self, end: int) -> None:
        """Go on at a byte where a row of a plain UTF-8 file begins."""
        binary = self._text.detach()
        binary.seek(end)
        self._text = io.TextIOWrapper(binary, "utf-8", errors="surrogateescape", newline="")
        self.end = end

    def begin(self) -> int:
        """A new row begins: where."""
        self._taken.clear()
        return self.end

    def raw(self) -> bytes:
        """The beginning of the row as it was written."""
        return _bytes("".join(line[:EXCERPT] for line in self._taken[:100]))[:EXCERPT]


def _bytes(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")


def _checked(row: dict[Any, Any], width: int) -> Value:
    if None in row:
        return BadPost(f"it has more than {width} fields: is a comma or quote not escaped?")
    for field in row.values():
        # Most are ASCII, which costs nothing to see.
        if field and not field.isascii() and _UNDECODED.search(field):
            return BadPost("it is not UTF-8: say --encoding")
    return row


def _delimiter(binary: io.BufferedReader, kind: str) -> str:
    """Of a table: tabs where its name says so, else what its header holds most of."""
    if kind == "tsv":
        return "\t"
    header = binary.peek(4096).splitlines()[:1]
    bare = b"".join(b"".join(header).split(b'"')[::2])
    return max((b",", b";", b"\t", b"|"), key=bare.count).decode()


def parquet_records(path: Path, columns: Columns) -> Iterator[Record]:
    """Every row. Raises UnusableFile."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            check_columns(table.schema_arrow.names, columns, path)
            line = 0
            for batch in table.iter_batches(batch_size=_BATCH):
                for item in batch.to_pylist():
                    line += 1
                    yield Record(line, item)
    except (OSError, pyarrow.ArrowException) as error:
        raise UnusableFile(f"{path} is not a whole Parquet file: {error}") from error
