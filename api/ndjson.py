"""Texts as newline-delimited JSON: one in, one judgement out, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import orjson
from rest_framework.exceptions import ErrorDetail, ValidationError

from api.serializers import TextField
from modeling.services.classify import Batch
from modeling.serving import Classification

MEDIA_TYPE = "application/x-ndjson"
MEDIA_TYPES = frozenset({MEDIA_TYPE, "application/ndjson", "application/jsonl"})
# 10,000 characters, each written as an escaped surrogate pair, are 120 KB.
LINE_LIMIT = 256 * 1024
# Lines judged together: enough to fill the engine's batches, few enough to stay in a cache.
BLOCK = 256
READ_SIZE = 64 * 1024

_text = TextField()


@dataclass(frozen=True)
class Line:
    """One line of input: its number from 1, the caller's id, and a text or what is wrong."""

    number: int
    id: Any = None
    text: str = ""
    error: str = ""


class LineReader:
    """Cuts bytes, in pieces of any size, into lines; keeps no more than one line's worth."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 0
        self._is_overlong = False

    def feed(self, piece: bytes) -> Iterator[Line]:
        *whole, self._rest = (self._rest + piece).split(b"\n")
        for raw in whole:
            yield from self._read(raw)
        if len(self._rest) > LINE_LIMIT:
            # What follows of it is thrown away as it comes.
            self._is_overlong, self._rest = True, b""

    def finish(self) -> Iterator[Line]:
        """The last line, which need not end in a newline."""
        last, self._rest = self._rest, b""
        yield from self._read(last)

    def _read(self, raw: bytes) -> Iterator[Line]:
        self._number += 1
        was_overlong, self._is_overlong = self._is_overlong, False
        if was_overlong or len(raw) > LINE_LIMIT:
            yield Line(self._number, error=f"The line is longer than {LINE_LIMIT} bytes.")
        elif raw.strip():
            yield _parse(self._number, raw)


def _parse(number: int, raw: bytes) -> Line:
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Line(number, error=f"The line is not JSON: {error}.")
    if not isinstance(given, dict):
        given = {"text": given}
    key = given.get("id")
    if not (key is None or isinstance(key, str | int)):
        return Line(number, error="id: Not a string or a whole number.")
    if unknown := sorted(given.keys() - {"id", "text"}):
        return Line(number, key, error=f"{unknown[0]}: Unknown field; known are: id, text.")
    try:
        return Line(number, key, text=_text.run_validation(given.get("text")))
    except ValidationError as error:
        return Line(number, key, error=f"text: {_first(error.detail)}")


def _first(detail: Any) -> ErrorDetail | str:
    return _first(detail[0]) if isinstance(detail, list) else detail


def blocks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    block: list[Line] = []
    for line in lines:
        block.append(line)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


def texts_of(block: Sequence[Line]) -> list[str]:
    return [line.text for line in block if not line.error]


def answer(block: Sequence[Line], batch: Batch | None) -> bytes:
    """The block's lines, judged; `batch` is None when none of them has a text."""
    judged = iter(batch.items if batch else ())
    version = batch.version if batch else ""
    return b"".join(
        _failed(line) if line.error else _judged(line, next(judged), version) for line in block
    )


def _failed(line: Line) -> bytes:
    return _written({"line": line.number, "id": line.id, "error": line.error})


def _judged(line: Line, item: Classification, version: str) -> bytes:
    return _written(
        {
            "line": line.number,
            "id": line.id,
            "label": item.label,
            "confidence": round(item.confidence, 6),
            "scores": item.scores,
            "truncated": item.truncated or None,
            "model_version": version,
        }
    )


def _written(row: dict[str, Any]) -> bytes:
    kept = {key: value for key, value in row.items() if value is not None}
    return orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE)


def lines_of(stream: IO[bytes]) -> Iterator[Line]:
    """The lines of a file-like body."""
    reader = LineReader()
    while piece := stream.read(READ_SIZE):
        yield from reader.feed(piece)
    yield from reader.finish()
