"""JSON, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from api import ndjson
from api.refusals import PayloadTooLarge

# More than anything that is asked for here has: an answer that names them would take longer.
KEYS_LIMIT = 1000


class StrictJSONParser(BaseParser):
    """UTF-8 JSON of at most 1 MiB: no NaN, no infinities, no key twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise PayloadTooLarge
        return read_json(body)


class NDJSONParser(BaseParser):
    """Lines of JSON, left in the stream: the view reads them as it goes."""

    media_type = ndjson.MEDIA_TYPE

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return stream


def read_json(body: bytes) -> Any:
    """The value that a body holds. Raises ParseError."""
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_repeated_keys,
        )
    except UnicodeDecodeError as error:
        raise ParseError(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise ParseError(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except ValueError as error:
        raise ParseError("The body holds a number of too many digits.") from error
    except RecursionError as error:
        raise ParseError("The body is nested too deeply.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"The body holds {name}, which is not JSON.")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS_LIMIT:
        raise ParseError(f"The body holds an object of more than {KEYS_LIMIT} keys.")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ParseError("The body names a key twice.")
    if not all(map(_is_text, result)):
        raise ParseError("The body has a key that holds half of a character (a lone surrogate).")
    return result


def _is_text(key: str) -> bool:
    """Whether an answer may name it: halves of a surrogate pair have no UTF-8."""
    return key.isascii() or not any("\ud800" <= character <= "\udfff" for character in key)
