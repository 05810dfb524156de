"""Files that a browser saves: streamed, and harmless in a spreadsheet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

# What a spreadsheet takes for a formula when a cell begins with it.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(value: str) -> str:
    """The text for a cell of a CSV file; one that a spreadsheet would run is led by a quote."""
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def plain_cell(value: str) -> str:
    """What `safe_cell` made of a text, undone."""
    return value[1:] if value.startswith("'") and value[1:].startswith(FORMULA_STARTS) else value


def download(
    request: HttpRequest, pieces: Iterator[bytes], *, media_type: str, filename: str
) -> StreamingHttpResponse:
    """An attachment; `pieces` are read as the client takes them."""
    response = StreamingHttpResponse(
        # A plain iterator would be read whole into memory under ASGI.
        _in_a_thread(pieces) if isinstance(request, ASGIRequest) else pieces,
        content_type=f"{media_type}; charset=utf-8",
    )
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["X-Accel-Buffering"] = "no"
    return response


async def _in_a_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    read = sync_to_async(lambda: next(pieces, None))
    while (piece := await read()) is not None:
        yield piece
