"""Lists as files: every row that a filter leaves, streamed in one snapshot of the database."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from io import StringIO
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer

CHUNK = 500
# What a spreadsheet takes for a formula when a cell begins with it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Row = Mapping[str, Any]


class Export(BaseRenderer, ABC):
    """A format that a list streams in; problems stay JSON."""

    charset = "utf-8"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return bytes(JSONRenderer().render(data, *args, **kwargs))

    @abstractmethod
    def write(self, chunks: Iterable[list[Row]]) -> Iterator[bytes]:
        """The file's bytes, piece by piece."""


class NDJSONExport(Export):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def write(self, chunks: Iterable[list[Row]]) -> Iterator[bytes]:
        for chunk in chunks:
            yield b"".join(
                orjson.dumps(dict(row), default=str, option=orjson.OPT_APPEND_NEWLINE)
                for row in chunk
            )


class CSVExport(Export):
    """RFC 4180, with a header; lists and objects as JSON, and no cell that a spreadsheet runs."""

    media_type = "text/csv"
    format = "csv"

    def write(self, chunks: Iterable[list[Row]]) -> Iterator[bytes]:
        is_first = True
        for chunk in chunks:
            page = StringIO()
            writer = csv.writer(page)
            if is_first and chunk:
                writer.writerow(chunk[0].keys())
                is_first = False
            writer.writerows([_cell(value) for value in row.values()] for row in chunk)
            yield page.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


EXPORTS = (CSVExport, NDJSONExport)


def attachment(
    request: HttpRequest, export: Export, chunks: Iterable[list[Row]], name: str
) -> StreamingHttpResponse:
    """The answer; `chunks` are read as the client takes them."""
    pieces = export.write(chunks)
    response = StreamingHttpResponse(
        # A plain iterator would be read whole into memory under ASGI.
        _in_a_thread(pieces) if isinstance(request, ASGIRequest) else pieces,
        content_type=f"{export.media_type}; charset=utf-8",
    )
    response["Content-Disposition"] = f'attachment; filename="{name}.{export.format}"'
    response["X-Accel-Buffering"] = "no"
    return response


async def _in_a_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    read = sync_to_async(lambda: next(pieces, None))
    while (piece := await read()) is not None:
        yield piece
