"""What every request carries: an id, through the logs and back, and what is left of its limit."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADER = "X-Request-ID"
# What would break a log line, or a header, is replaced by an id of our own.
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
# It only tells requests apart; asking the system for randomness takes a tenth of a short request.
_random = random.Random()
_current: ContextVar[str] = ContextVar("request_id", default="")


def request_id_of(given: str) -> str:
    """The caller's id where it is harmless, else a new one."""
    return given if _ACCEPTABLE.fullmatch(given) else f"{_random.getrandbits(128):032x}"


def use_request_id(given: str) -> str:
    """As `request_id_of`; log lines bear it from here on."""
    used = request_id_of(given)
    _current.set(used)
    return used


class RequestIdFilter(logging.Filter):
    """Gives log records `request`: the id in brackets, empty outside requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        request_id = _current.get()
        record.request = f" [{request_id}]" if request_id else ""
        return True


@sync_and_async_middleware
def request_id(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Takes `X-Request-ID` or makes one; sends it back with the rate limit's headers."""

    def begin(request: HttpRequest) -> str:
        return use_request_id(request.headers.get(HEADER, ""))

    def end(request: HttpRequest, response: HttpResponseBase, given: str) -> HttpResponseBase:
        response[HEADER] = given
        if (allowance := getattr(request, "allowance", None)) is not None:
            for name, value in allowance.headers().items():
                response[name] = value
        return response

    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            given = begin(request)
            return end(request, await get_response(request), given)

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        given = begin(request)
        # `iscoroutinefunction` told that no coroutine comes back; its type does not.
        return end(request, get_response(request), given)  # type: ignore[arg-type]

    return synchronous
