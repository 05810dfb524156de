"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import wraps
from http import HTTPStatus
from itertools import islice
from math import ceil
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DatabaseError, IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from api.refusals import DatabaseAway, PayloadTooLarge
from modeling.exceptions import (
    BrokerAway,
    Conflict,
    EngineOverloaded,
    ModelingError,
    ModelUnavailable,
    NoChampion,
    RegistryError,
)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "1"
SERVER_ERROR = "Something went wrong here; the log says what."
# Of a request with more mistakes: the rest come to light when these are mended.
ERRORS_TOLD = 100

# Domain errors and the status that says the same over HTTP; subclasses first.
STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (EngineOverloaded, status.HTTP_503_SERVICE_UNAVAILABLE),
    (NoChampion, status.HTTP_503_SERVICE_UNAVAILABLE),
    (ModelUnavailable, status.HTTP_503_SERVICE_UNAVAILABLE),
    (BrokerAway, status.HTTP_503_SERVICE_UNAVAILABLE),
    (IntegrityError, status.HTTP_409_CONFLICT),
    (DatabaseError, status.HTTP_503_SERVICE_UNAVAILABLE),
    (Conflict, status.HTTP_409_CONFLICT),
    (RegistryError, status.HTTP_503_SERVICE_UNAVAILABLE),
    (ModelingError, status.HTTP_400_BAD_REQUEST),
)


def problem(code: int, detail: str, errors: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The document: `errors` lists a field path and what is wrong with it."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "detail": detail,
    }
    if errors:
        document["errors"] = errors
    return document


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: every expected error becomes a problem, others stay 500."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    headers: dict[str, str] = {}
    if isinstance(error, exceptions.ValidationError):
        errors = list(islice(_flatten(error.detail), ERRORS_TOLD))
        document = problem(error.status_code, errors[0]["detail"], errors)
    elif isinstance(error, exceptions.APIException):
        document = problem(error.status_code, str(error.detail))
        if (challenge := getattr(error, "auth_header", None)) is not None:
            headers["WWW-Authenticate"] = challenge
        if (wait := getattr(error, "wait", None)) is not None:
            headers["Retry-After"] = str(ceil(wait))
    else:
        code = next((code for kind, code in STATUS_OF if isinstance(error, kind)), None)
        if code is None:
            return None
        document = problem(code, in_words(error))
        if code == status.HTTP_503_SERVICE_UNAVAILABLE:
            headers["Retry-After"] = RETRY_AFTER_SECONDS
    set_rollback()
    return Response(document, status=document["status"], headers=headers, content_type=CONTENT_TYPE)


def in_words(error: Exception) -> str:
    """What the caller is told: of the database nothing but that."""
    if isinstance(error, IntegrityError):
        return "Another request changed this at the same moment: read it again and retry."
    if isinstance(error, DatabaseError):
        return DatabaseAway.default_detail
    return str(error)


def _flatten(detail: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Nested validation errors as field paths: `texts[3]`, `filter.since`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            if isinstance(name, int):
                here = f"{path}[{name}]"
            elif name in {"non_field_errors", "__all__"}:
                here = path
            else:
                here = f"{path}.{name}" if path else str(name)
            yield from _flatten(inner, here)
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flatten(inner, path)
    else:
        yield {"field": path, "detail": f"{path}: {detail}" if path else str(detail)}


def problem_response(request: HttpRequest, code: int, detail: str) -> HttpResponse:
    """A problem where no view of the REST framework answers; a page for a browser."""
    if "text/html" in request.headers.get("Accept", ""):
        # Without the request: the database may be what is away.
        page = render_to_string(
            "problem.html", {"title": HTTPStatus(code).phrase, "detail": detail}
        )
        return HttpResponse(page, status=code)
    return HttpResponse(json.dumps(problem(code, detail)), status=code, content_type=CONTENT_TYPE)


View = Callable[[HttpRequest], HttpResponse]


def safe_only(view: View) -> View:
    """Answers GET and HEAD, tells OPTIONS so, and refuses the rest with a problem."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        if request.method in {"GET", "HEAD"}:
            return view(request)
        if request.method == "OPTIONS":
            response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        else:
            response = problem_response(request, 405, f"Method {request.method} is not allowed.")
        response["Allow"] = "GET, HEAD, OPTIONS"
        return response

    return csrf_exempt(guarded)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return problem_response(request, 413, PayloadTooLarge.default_detail)
    return problem_response(request, 400, "The request cannot be understood.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(request, 403, "This takes a permission that you do not have.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return problem_response(
        request, 403, "The CSRF token is missing or wrong: load the page again and retry."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(request, 404, "Nothing is at this address; GET / lists the routes.")


def server_error(request: HttpRequest) -> HttpResponse:
    return problem_response(request, 500, SERVER_ERROR)
