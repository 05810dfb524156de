"""Posts in files: JSONL (X v2 objects or flat ones), CSV, TSV and Parquet, gzip too.

Reads a row at a time, so that memory does not grow with the file. A row that cannot become a
post is told with its line number and the reason; the file goes on.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dateutil import parser as dates
from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.exceptions import BadPost, UnusableFile
from ingestion.models import Source
from ingestion.sources import x_payload

STANDARD_INPUT = Path("-")
FORMATS = ("jsonl", "csv", "tsv", "parquet")
# A line longer than this is not a post; without a bound one bad file would fill the memory.
MAX_LINE = 4 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
# What a spreadsheet makes of a long number: the digits that told posts apart are gone.
_ROUNDED = re.compile(r"\d(?:\.\d+)?[eE]\+?\d+")
_DAY_OR_MONTH_FIRST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.]\d{2,4}")
_DOTTED_TIME = re.compile(r"\b(\d{1,2})\.(\d{2})(?:\.(\d{2}))?$")
_UNDECODED = re.compile("[\udc80-\udcff]")
_SOURCES = frozenset(Source.values)
_EPOCH = re.compile(r"\d{10}(?:\d{3})?(?:\.\d+)?")

# Names that files commonly use, most telling first.
_COMMON: dict[str, Sequence[str]] = {
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


@dataclass(frozen=True)
class Row:
    """One row of a file: a post, or the reason why it is none. `offset` is the byte read up to."""

    line: int
    post: IncomingPost | None = None
    label: str = ""
    reason: str = ""
    offset: int = 0
    # Of a flat row: the id to use when its own turns out to stand for another post.
    fallback_id: str = ""


@dataclass
class _Place:
    """Where in the file the reader is."""

    line: int = 0
    raw: IO[bytes] | None = None

    def offset(self) -> int:
        try:
            return self.raw.tell() if self.raw is not None else 0
        except OSError:
            # A pipe has no position.
            return 0


@dataclass
class PostFile:
    """A file of posts, to be read once."""

    path: Path
    columns: Columns = field(default_factory=Columns)
    kind: str = ""
    encoding: str = "utf-8"
    stream_ids: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        """Bytes on disk; 0 for standard input."""
        return 0 if self.path == STANDARD_INPUT else self.path.stat().st_size

    def rows(self) -> Iterator[Row]:
        """Every row, in order. Raises UnusableFile when it cannot be read as posts at all."""
        place = _Place()
        for item in self._items(place):
            if isinstance(item, BadPost):
                yield Row(place.line, reason=str(item), offset=place.offset())
                continue
            yield from self._posts(item, place)

    def _posts(self, item: Mapping[str, Any], place: _Place) -> Iterator[Row]:
        label = str(item.get(self.columns.label) or "").strip() if self.columns.label else ""
        try:
            for post, fallback_id in self._read(item):
                yield Row(place.line, post, label, "", place.offset(), fallback_id)
        except BadPost as error:
            yield Row(place.line, reason=str(error), offset=place.offset())

    def _read(self, item: Mapping[str, Any]) -> Iterator[tuple[IncomingPost, str]]:
        """Posts, each with the id to fall back on; X's own ids never need one."""
        if isinstance(item.get("data"), Mapping | list):
            for post in x_payload.posts(item):
                yield replace(post, stream_ids=self.stream_ids), ""
        elif not self.columns.text and x_payload.looks_like_v2(item):
            yield x_payload.post(item, {}, self.stream_ids), ""
        else:
            yield self._flat(item)

    def _flat(self, item: Mapping[str, Any]) -> tuple[IncomingPost, str]:
        columns = self.columns
        text = _value(item, columns.text, "text")
        written = _value(item, columns.time, "time")
        author = _value(item, columns.author, "author")
        created_at = read_time(written, columns) if written else timezone.now()
        derived = derive_id(text, written, author)
        external_id = _value(item, columns.id, "id")
        if not external_id or _ROUNDED.fullmatch(external_id):
            external_id = derived
        source = str(item.get("source") or "")
        post = IncomingPost(
            source=source if source in _SOURCES else Source.FILE,
            external_id=external_id,
            text=text,
            created_at=created_at,
            lang=_value(item, columns.lang, "lang"),
            author_username=author,
            raw=dict(item),
            stream_ids=self.stream_ids,
        )
        return post, derived

    def _items(self, place: _Place) -> Iterator[Mapping[str, Any] | BadPost]:
        if self._kind() == "parquet":
            yield from self._parquet_items(place)
            return
        with _opened(self.path, place) as binary:
            kind = self._kind() or _guess(binary)
            try:
                if kind == "jsonl":
                    yield from _json_items(binary, place)
                else:
                    yield from self._table_items(binary, _delimiter(binary, kind), place)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UnusableFile(f"{self.path}: the gzip data is damaged: {error}") from error

    def _kind(self) -> str:
        """What the option or the file's name says; "" leaves it to the content."""
        suffix = Path(self.path.name.removesuffix(".gz")).suffix.lstrip(".").lower()
        named = {"ndjson": "jsonl", "json": "jsonl", "pq": "parquet"}.get(suffix, suffix)
        return self.kind or (named if named in FORMATS else "")

    def _encoding(self, binary: IO[bytes]) -> str:
        """The encoding of a table; a byte order mark is no part of its first column."""
        head = binary.peek(2)[:2]  # type: ignore[attr-defined]
        if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        return "utf-8-sig" if self.encoding.lower() in {"utf-8", "utf8"} else self.encoding

    def _table_items(
        self, binary: IO[bytes], delimiter: str, place: _Place
    ) -> Iterator[Mapping[str, Any] | BadPost]:
        # Bytes that are not UTF-8 become surrogates, which tell in which row they were.
        try:
            text = io.TextIOWrapper(
                binary, self._encoding(binary), errors="surrogateescape", newline=""
            )
        except LookupError as error:
            raise UnusableFile(f"--encoding: {error}") from error
        # A file without line ends must not fill the memory.
        lines = iter(lambda: text.readline(MAX_LINE), "")
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            self._check_columns(reader.fieldnames or ())
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    place.line = reader.line_num
                    yield BadPost(f"it is not {delimiter!r}-separated: {error}")
                    continue
                place.line = reader.line_num
                yield _checked(row, len(reader.fieldnames or ()))
        except csv.Error as error:
            raise UnusableFile(f"{self.path}: the header cannot be read: {error}") from error

    def _check_columns(self, names: Iterable[str]) -> None:
        """A wrong option stops the import before the first row, not once a row."""
        known = list(names)
        for column in (
            self.columns.text,
            self.columns.id,
            self.columns.time,
            self.columns.author,
            self.columns.lang,
            self.columns.label,
        ):
            if column and column not in known:
                raise UnusableFile(
                    f"{self.path} has no column {column!r}; it has: {', '.join(known)}"
                )
        if not self.columns.text and not set(_COMMON["text"]) & set(known):
            raise UnusableFile(
                f"{self.path}: which column is the text? Say --text-column; it has: "
                f"{', '.join(known) or 'none'}"
            )

    def _parquet_items(self, place: _Place) -> Iterator[Mapping[str, Any]]:
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.ParquetFile(self.path)
        except (OSError, pyarrow.ArrowException) as error:
            raise UnusableFile(f"{self.path} is not a Parquet file: {error}") from error
        self._check_columns(table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1000):
            for item in batch.to_pylist():
                place.line += 1
                yield item


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


def _value(item: Mapping[str, Any], column: str, meaning: str) -> str:
    """The named column's text, or that of the first common name that is there."""
    names = (column,) if column else _COMMON[meaning]
    for name in names:
        value = item.get(name)
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
    return ""


def _checked(row: dict[Any, Any], width: int) -> Mapping[str, Any] | BadPost:
    if None in row:
        return BadPost(f"it has more than {width} fields: is a comma or quote not escaped?")
    for value in row.values():
        # Most are ASCII, which costs nothing to see.
        if value and not value.isascii() and _UNDECODED.search(value):
            return BadPost("it is not UTF-8: say --encoding")
    return row


def _opened(path: Path, place: _Place) -> IO[bytes]:
    """The file's bytes, unpacked when they are gzip. Raises UnusableFile."""
    try:
        place.raw = sys.stdin.buffer if path == STANDARD_INPUT else path.open("rb")
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error
    buffered = io.BufferedReader(place.raw, 1 << 16)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == _GZIP_MAGIC:
        return io.BufferedReader(gzip.GzipFile(fileobj=buffered), 1 << 16)
    return buffered


def _guess(binary: IO[bytes]) -> str:
    """JSONL when the first visible character opens an object, else CSV."""
    head = binary.peek(4096).lstrip(b"\xef\xbb\xbf \t\r\n")  # type: ignore[attr-defined]
    return "jsonl" if head.startswith(b"{") else "csv"


def _delimiter(binary: IO[bytes], kind: str) -> str:
    """Of a table: tabs where its name says so, else what its header holds most of."""
    if kind == "tsv":
        return "\t"
    header = binary.peek(4096).splitlines()[:1]  # type: ignore[attr-defined]
    bare = b"".join(b"".join(header).split(b'"')[::2])
    return max((b",", b";", b"\t", b"|"), key=bare.count).decode()


def _json_items(binary: IO[bytes], place: _Place) -> Iterator[Mapping[str, Any] | BadPost]:
    while line := binary.readline(MAX_LINE):
        place.line += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            _skip_line(binary)
            yield BadPost(f"it is longer than {MAX_LINE >> 20} MiB")
            continue
        if not line.strip():
            continue
        try:
            item = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            yield BadPost(f"it is not UTF-8 at byte {error.start}")
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadPost(f"it is not JSON: {error}")
        else:
            yield item if isinstance(item, dict) else BadPost("it is not a JSON object")


def _skip_line(binary: IO[bytes]) -> None:
    while (rest := binary.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
