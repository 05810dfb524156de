"""Files of labelled posts: CSV or JSONL, gzip too."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import IO

from django.utils import timezone

from ingestion import services as ingestion
from ingestion.events import IncomingPost, clean
from ingestion.exceptions import BadPost
from ingestion.models import Post, Source
from modeling.exceptions import ModelingError
from modeling.ml import text as text_module
from modeling.models import LabelScheme
from modeling.services.annotate import annotate_many

CHUNK = 500


class LabelFileError(ModelingError):
    """A file that cannot be read as labelled posts; the message names the line."""


@dataclass(frozen=True)
class LabelledRow:
    """One labelled text of a file. `source` and `external_id` are empty for unknown posts."""

    line: int
    text: str
    label: str
    source: str = ""
    external_id: str = ""


def keep(path: Path, folder: Path, host: str = "") -> Path:
    """A copy of the file in `folder`, made by the first call: whoever goes on reads the same,
    wherever the file has gone and whatever was written into it.

    Raises LabelFileError where neither can be read; `host` says who had the file.
    """
    copy = folder / path.name
    if copy.is_file():
        return copy
    temporary = folder / f"writing-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy(path, temporary)
        temporary.rename(copy)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        had = f"; {host} had it" if host else ""
        raise LabelFileError(
            f"{path}, which the run learns from, cannot be read on {socket.gethostname()}{had}: "
            f"{error.strerror or error}. Put it there, train where it is, or train without it "
            "(`manage.py train`)"
        ) from error
    return copy


def read(
    path: Path,
    text_column: str,
    label_column: str,
    labels: Sequence[str],
    *,
    shown: Path | None = None,
) -> list[LabelledRow]:
    """Every row of the file. Raises LabelFileError for the first bad one, FileNotFoundError.

    Errors name `shown`, where that is given: the file that people know, of which `path` is a copy.
    """
    rows = []
    file, path = path, shown or path
    for line, row in _records(file, path):
        missing = [column for column in (text_column, label_column) if column not in row]
        if missing:
            raise LabelFileError(
                f"{path}, line {line}: no column {', '.join(missing)}; "
                f"the file has: {', '.join(map(str, row))}"
            )
        text, label = str(row[text_column] or "").strip(), str(row[label_column] or "").strip()
        if label not in labels:
            raise LabelFileError(
                f"{path}, line {line}: {label!r} is not a label of the scheme ({', '.join(labels)})"
            )
        if not text:
            raise LabelFileError(f"{path}, line {line}: the text is empty")
        rows.append(
            LabelledRow(line, text, label, str(row.get("source") or ""), str(row.get("id") or ""))
        )
    if not rows:
        raise LabelFileError(f"{path} holds no rows")
    return rows


COLUMNS = ("source", "id", "text", "label", "annotator", "origin", "created_at")


def as_jsonl(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Lines of a file that `read` reads, of `annotate.labelled_rows`."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def as_csv(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """The same as CSV, a header first."""
    for row in chain([dict(zip(COLUMNS, COLUMNS, strict=True))], rows):
        line = StringIO()
        csv.DictWriter(line, COLUMNS).writerow(row)
        yield line.getvalue()


def import_rows(
    scheme: LabelScheme, rows: Iterable[LabelledRow], *, progress: Callable[[int], object]
) -> tuple[int, int]:
    """Save the texts as posts (those of the file source that are not there) and their labels.

    Returns how many posts were new and how many labels changed. Safe to repeat. Raises
    LabelFileError for a row that cannot become a post; the chunks before it are saved.
    """
    saved = changed = 0
    chunk: list[LabelledRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            new, labels = _import_chunk(scheme, chunk)
            saved, changed = saved + new, changed + labels
            progress(len(chunk))
            chunk = []
    if chunk:
        new, labels = _import_chunk(scheme, chunk)
        saved, changed = saved + new, changed + labels
        progress(len(chunk))
    return saved, changed


def _import_chunk(scheme: LabelScheme, rows: list[LabelledRow]) -> tuple[int, int]:
    now = timezone.now()
    posts = [_incoming(row, now) for row in rows]
    keys = [(post.source, post.external_id) for post in posts]
    stored = ingestion.store(posts)
    found = {
        (source, external_id): pk
        for pk, source, external_id in Post.objects.filter(
            external_id__in=[external_id for _, external_id in keys]
        ).values_list("pk", "source", "external_id")
    }
    labels = {found[key]: row.label for row, key in zip(rows, keys, strict=True)}
    return len(stored.post_ids), annotate_many(scheme, labels)


def _incoming(row: LabelledRow, now: datetime) -> IncomingPost:
    source, external_id = identity(row)
    try:
        return IncomingPost(source=source, external_id=external_id, text=row.text, created_at=now)
    except BadPost as error:
        raise LabelFileError(f"line {row.line}: {error}") from error


def identity(row: LabelledRow) -> tuple[str, str]:
    """Source and external id of the post that a row is, or becomes once it is imported."""
    if row.external_id and row.source in Source.values:
        return row.source, clean(row.external_id)
    return Source.FILE, clean(row.external_id) or f"text:{text_module.digest(row.text)}"


def known_posts(rows: Iterable[LabelledRow]) -> dict[tuple[str, str], tuple[int, bool]]:
    """Of the posts that rows name and that are here, by `identity`: primary key, and whether the
    post is deleted. One query for each 500 of a source."""
    named: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        source, external_id = identity(row)
        named[source].add(external_id)
    found = {}
    for source, ids in sorted(named.items()):
        ordered = sorted(ids)
        for start in range(0, len(ordered), CHUNK):
            part = Post.objects.filter(
                source=source, external_id__in=ordered[start : start + CHUNK]
            )
            for pk, external_id, deleted_at in part.values_list("pk", "external_id", "deleted_at"):
                found[source, external_id] = pk, deleted_at is not None
    return found


def _records(path: Path, shown: Path) -> Iterator[tuple[int, dict[str, object]]]:
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    name = path.name.removesuffix(".gz")
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            if name.endswith((".jsonl", ".ndjson", ".json")):
                yield from _json_records(shown, file)
            else:
                delimiter = "\t" if name.endswith(".tsv") else ","
                reader = csv.DictReader(file, delimiter=delimiter)
                for row in reader:
                    yield reader.line_num, dict(row)
    except UnicodeDecodeError as error:
        raise LabelFileError(f"{shown} is not UTF-8: {error}") from error
    except (csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise LabelFileError(f"{shown} cannot be read: {error}") from error


def _json_records(shown: Path, file: IO[str]) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LabelFileError(f"{shown}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise LabelFileError(f"{shown}, line {number}: not a JSON object")
        yield number, row
