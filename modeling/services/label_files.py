"""Files of labelled posts: CSV or JSONL, gzip too."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import socket
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

from django.utils import timezone

from ingestion import services as ingestion
from ingestion.events import MAX_TEXT, IncomingPost, clean
from ingestion.exceptions import BadPost
from ingestion.models import Post, Source
from ingestion.models.sources import post_source_choices
from modeling.downloads import plain_cell
from modeling.exceptions import ModelingError
from modeling.ml import text as text_module
from modeling.models import Annotation, LabelScheme
from modeling.services.annotate import annotate_many, majority

CHUNK = 500


class LabelFileError(ModelingError):
    """A file that cannot be read as labelled posts; the message names the line."""


# Source and external id of a post.
Identity = tuple[str, str]


@dataclass(frozen=True)
class LabelledRow:
    """One labelled text of a file. `source` and `external_id` are empty for unknown posts.

    `origin` is that of the label, where the file is one of our own.
    """

    line: int
    text: str
    label: str
    source: str = ""
    external_id: str = ""
    origin: str = Annotation.Origin.IMPORT


class Imported(NamedTuple):
    """How many posts were new, how many labels changed, and how many posts got none because their
    rows tie."""

    saved: int
    changed: int
    tied: int

    def __str__(self) -> str:
        told = f"{self.saved} posts saved, {self.changed} labels changed"
        if self.tied:
            told += f"; rows that contradict each other give {self.tied} posts no label"
        return told


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
        source, external_id = str(row.get("source") or ""), str(row.get("id") or "")
        origin = _origin(row, f"{path}, line {line}")
        rows.append(LabelledRow(line, text, label, source, external_id, origin))
    if not rows:
        raise LabelFileError(f"{path} holds no rows")
    return rows


COLUMNS = ("source", "id", "text", "label", "annotator", "origin", "created_at")


def _origin(row: Mapping[str, object], place: str) -> str:
    """Of a label in a file of our own; whatever another file calls so is another thing."""
    given = str(row.get("origin") or "") if set(row) == set(COLUMNS) else ""
    if given and given not in Annotation.Origin.values:
        known = ", ".join(Annotation.Origin.values)
        raise LabelFileError(f"{place}: the origin {given!r} is none of {known}")
    return given or Annotation.Origin.IMPORT


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
    scheme: LabelScheme, rows: Sequence[LabelledRow], *, progress: Callable[[int], object]
) -> Imported:
    """Save the texts as posts (those of the file source that are not there) and their labels.

    Rows of one post are votes, as in a training; where they tie, its label stays as it was. Safe
    to repeat. Raises LabelFileError for a row that cannot become a post; the chunks before it are
    saved.
    """
    named = identities(rows)
    votes: dict[Identity, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row, identity in zip(rows, named, strict=True):
        votes[identity][row.origin, row.label] += 1
    labels = {identity: majority(counted) for identity, counted in votes.items()}
    pairs = list(zip(rows, named, strict=True))
    saved = changed = 0
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        new, labelled = _import_chunk(scheme, part, labels)
        saved, changed = saved + new, changed + labelled
        progress(len(part))
    return Imported(saved, changed, sum(not label for label in labels.values()))


def _import_chunk(
    scheme: LabelScheme,
    rows: Sequence[tuple[LabelledRow, Identity]],
    labels: Mapping[Identity, str],
) -> tuple[int, int]:
    now = timezone.now()
    posts = [_incoming(row, identity, now) for row, identity in rows]
    stored = ingestion.store(posts, read_from=Source.FILE)
    found = {
        (source, external_id): pk
        for pk, source, external_id in Post.objects.filter(
            external_id__in=[external_id for _, (_, external_id) in rows]
        ).values_list("pk", "source", "external_id")
    }
    given = {found[identity]: label for _, identity in rows if (label := labels[identity])}
    return len(stored.post_ids), annotate_many(scheme, given)


def _incoming(row: LabelledRow, identity: Identity, now: datetime) -> IncomingPost:
    source, external_id = identity
    try:
        return IncomingPost(source=source, external_id=external_id, text=row.text, created_at=now)
    except BadPost as error:
        raise LabelFileError(f"line {row.line}: {error}") from error


def identities(rows: Sequence[LabelledRow]) -> list[Identity]:
    """Of the post that each row is, or becomes once it is imported; in the order of the rows.

    A row that names a source is that source's post, whatever its text. Any other file may use the
    same ids for other posts: such an id holds only for the text that it came with first, here or
    in this file, and a row with another text goes by its text, as one without an id does.
    """
    sources = {name for name, _ in post_source_choices()}
    ids = {clean(row.external_id) for row in rows if row.source not in sources}
    texts = _stored_texts(sorted(ids - {""}))
    named = []
    for row in rows:
        external_id, row_text = clean(row.external_id), clean(row.text)[:MAX_TEXT]
        if external_id and row.source in sources:
            named.append((row.source, external_id))
        elif external_id and _read_alike(row_text, texts.setdefault(external_id, row_text)):
            named.append((str(Source.FILE), external_id))
        else:
            named.append((str(Source.FILE), f"text:{text_module.digest(row.text)}"))
    return named


def _read_alike(text: str, other: str) -> bool:
    # Most are the same to the letter, and a digest takes time.
    return text == other or text_module.digest(text) == text_module.digest(other)


def _stored_texts(ids: Sequence[str]) -> dict[str, str]:
    """External id → text of the file source's posts; one that was deleted has none."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), CHUNK):
        part = Post.objects.filter(source=Source.FILE, external_id__in=ids[start : start + CHUNK])
        found.update(part.values_list("external_id", "text"))
    return found


def known_posts(rows: Sequence[LabelledRow]) -> list[tuple[int, bool] | None]:
    """The post that each row is, in the order of the rows: its primary key, and whether it is
    deleted; None where it is not here. A query or two for each 500 of a source."""
    named = identities(rows)
    by_source: dict[str, set[str]] = defaultdict(set)
    for source, external_id in named:
        by_source[source].add(external_id)
    found: dict[Identity, tuple[int, bool]] = {}
    for source, ids in sorted(by_source.items()):
        ordered = sorted(ids)
        for start in range(0, len(ordered), CHUNK):
            part = Post.objects.filter(
                source=source, external_id__in=ordered[start : start + CHUNK]
            )
            for pk, external_id, deleted_at in part.values_list("pk", "external_id", "deleted_at"):
                found[source, external_id] = pk, deleted_at is not None
    return [found.get(identity) for identity in named]


def _records(path: Path, shown: Path) -> Iterator[tuple[int, dict[str, object]]]:
    name = path.name.lower()
    opener: Callable[..., IO[str]] = gzip.open if name.endswith(".gz") else open
    name = name.removesuffix(".gz")
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            if name.endswith((".jsonl", ".ndjson", ".json")):
                yield from _json_records(shown, file)
            else:
                delimiter = "\t" if name.endswith(".tsv") else ","
                reader = csv.DictReader(file, delimiter=delimiter)
                # As the admin writes it, for the sake of spreadsheets.
                is_own = set(reader.fieldnames or ()) == set(COLUMNS)
                for row in reader:
                    yield reader.line_num, _as_written(row) if is_own else dict(row)
    except UnicodeDecodeError as error:
        raise LabelFileError(f"{shown} is not UTF-8: {error}") from error
    except (csv.Error, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise LabelFileError(f"{shown} cannot be read: {error}") from error


def _as_written(row: Mapping[str, object]) -> dict[str, object]:
    """A row of our own CSV file without what `safe_cell` has put before its cells."""
    return {
        name: plain_cell(value) if isinstance(value, str) else value for name, value in row.items()
    }


def _json_records(shown: Path, file: IO[str]) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelFileError(f"{shown}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise LabelFileError(f"{shown}, line {number}: not a JSON object")
        yield number, row
