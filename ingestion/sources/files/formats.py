"""Which format a file has: its content says so first, its name second."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
# Formats that grow at their end, a line at a time.
LINES = frozenset({"jsonl", "csv", "tsv"})

_SUFFIXES = {
    "ndjson": "jsonl",
    "jsonlines": "jsonl",
    "json": "jsonl",
    "js": "json",
    "pq": "parquet",
    "tab": "tsv",
}
_PACKED = {".gz", ".zst", ".zstd"}
# The archive that X sends its users assigns each array to a variable.
ARRAY = re.compile(rb"\s*(?:window\.[\w.]+\s*=\s*)?\[")
_ARRAY_OF_OBJECTS = re.compile(rb"window\.[\w.]+\s*=\s*\[|\[\s*[{\]]")
PARQUET = b"PAR1"


def sniff(head: bytes, name: str) -> str:
    """The format of a file that begins with these (unpacked) bytes and has this name."""
    visible = head.removeprefix(codecs.BOM_UTF8).lstrip()
    named = _named(name)
    if head.startswith(PARQUET):
        return "parquet"
    if _ARRAY_OF_OBJECTS.match(visible) or (named == "jsonl" and visible.rstrip() == b"["):
        return "json"
    if visible.startswith(b"{"):
        return "jsonl"
    return named or "csv"


def _named(name: str) -> str:
    path = Path(name)
    if path.suffix.lower() in _PACKED:
        path = Path(path.stem)
    suffix = path.suffix.lstrip(".").lower()
    named = _SUFFIXES.get(suffix, suffix)
    return named if named in FORMATS else ""
