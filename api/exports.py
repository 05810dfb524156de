"""Lists as files: every row that a filter leaves, streamed in one snapshot of the database."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

import orjson
from django.http import HttpRequest, StreamingHttpResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer

from modeling.downloads import download, safe_cell

CHUNK = 500

Row = Mapping[str, Any]


class Export(BaseRenderer, ABC):
    """A format that a list streams in; problems stay JSON."""

    charset = "utf-8"

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        return bytes(JSONRenderer().render(data, *args, **kwargs))

    @abstractmethod
    def write(self, chunks: Iterable[list[Row]], columns: Sequence[str] = ()) -> Iterator[bytes]:
        """The file's bytes, piece by piece; `columns` are named where there is no row to tell."""


class NDJSONExport(Export):
    media_type = "application/x-ndjson"
    format = "ndjson"

    def write(self, chunks: Iterable[list[Row]], columns: Sequence[str] = ()) -> Iterator[bytes]:
        for chunk in chunks:
            yield b"".join(
                orjson.dumps(dict(row), default=str, option=orjson.OPT_APPEND_NEWLINE)
                for row in chunk
            )


class CSVExport(Export):
    """RFC 4180, with a header; lists and objects as JSON, and no cell that a spreadsheet runs."""

    media_type = "text/csv"
    format = "csv"

    def write(self, chunks: Iterable[list[Row]], columns: Sequence[str] = ()) -> Iterator[bytes]:
        is_first = True
        for chunk in chunks:
            page = StringIO()
            writer = csv.writer(page)
            if is_first and chunk:
                writer.writerow(chunk[0].keys())
                is_first = False
            writer.writerows([_cell(value) for value in row.values()] for row in chunk)
            yield page.getvalue().encode()
        if is_first:
            page = StringIO()
            csv.writer(page).writerow(columns)
            yield page.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return safe_cell(value) if isinstance(value, str) else value


EXPORTS = (CSVExport, NDJSONExport)


def attachment(
    request: HttpRequest,
    export: Export,
    chunks: Iterable[list[Row]],
    name: str,
    columns: Sequence[str],
) -> StreamingHttpResponse:
    """The answer; `chunks` are read as the client takes them."""
    filename = f"{name}.{export.format}"
    content = export.write(chunks, columns)
    return download(request, content, media_type=export.media_type, filename=filename)
