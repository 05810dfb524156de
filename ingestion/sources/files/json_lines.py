"""JSON objects, one a line."""

from __future__ import annotations

import io
from collections.abc import Iterator

from ingestion.exceptions import BadPost
from ingestion.sources.files.records import EXCERPT, MAX_LINE, Record, Value


def records(binary: io.BufferedReader, number: int = 0, end: int = 0) -> Iterator[Record]:
    """Every line that is not blank, of those that begin at the byte `end` or later."""
    if end:
        binary.seek(end)
    while line := binary.readline(MAX_LINE):
        number += 1
        start, end = end, end + len(line)
        value: Value = line
        raw = b""
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            skipped, line = _skip_line(binary, line)
            end += skipped
            value, raw = BadPost(f"it is longer than {MAX_LINE >> 20} MiB"), line[:EXCERPT]
        elif not line.strip():
            continue
        yield Record(number, value, start, end, not line.endswith(b"\n"), raw)


def _skip_line(binary: io.BufferedReader, line: bytes) -> tuple[int, bytes]:
    """Read to the line's end; how many bytes that was, and the line's beginning and end."""
    skipped = 0
    head, rest = line[:EXCERPT], line
    while not rest.endswith(b"\n") and (rest := binary.readline(MAX_LINE)):
        skipped += len(rest)
    return skipped, head + rest[-1:] if rest else head
