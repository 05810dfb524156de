"""The short way of `/predict` and `/predict/batch`: plain requests, answered on the event loop.

A request passes a dozen middlewares and the REST framework in about the time that the model needs
for it. What is plainly right is answered here instead: the default fields, as JSON, by a program
that is open to all or sends a token. Everything else, every refusal too, goes to Django with the
body as it came, so that the contract is written once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django_prometheus.middleware import Metrics
from rest_framework.exceptions import ParseError

from api import tokens
from api.exceptions import CONTENT_TYPE, RETRY_AFTER_SECONDS, SERVER_ERROR, problem
from api.middleware import use_request_id
from api.models import ApiToken
from api.ndjson import LINE_LIMIT
from api.parsers import read_json
from api.serializers import BATCH_LIMIT, TEXT_LIMIT
from api.views import as_batch_result, as_single_result
from modeling.exceptions import EngineOverloaded, ModelUnavailable, NoChampion
from modeling.services import classify

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Django's and Channels' types of scopes and messages exclude each other.
Application = Callable[[Any, Any, Any], Awaitable[None]]

SINGLE = frozenset({"/predict", "/predict/"})
BATCH = frozenset({"/predict/batch", "/predict/batch/"})
JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})
# With a cookie comes CSRF, with an origin CORS; a body that is encoded is refused.
NOT_PLAIN = frozenset({b"cookie", b"origin", b"content-encoding", b"expect"})


class Express:
    """An ASGI application in front of Django's."""

    def __init__(self, django: Application) -> None:
        self._django = django
        self._metrics: Any = Metrics.get_instance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] != "POST" or (path not in SINGLE and path not in BATCH):
            await self._django(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not await _is_plain(scope, headers):
            await self._django(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = use_request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        messages, body = await _read(receive)
        texts = _texts(body, is_single=path in SINGLE) if body is not None else None
        answer = None if texts is None else await _judge(texts, is_single=path in SINGLE)
        if answer is None:
            await self._django(scope, _replay(messages, receive), send)
            return
        status, content = answer
        # Before it is sent, as Django's are: whoever has the answer finds it counted.
        self._count(status, "predict" if path in SINGLE else "predict-batch", started)
        await _send(send, status, content, request_id)

    def _count(self, status: int, view: str, started: float) -> None:
        """What django-prometheus counts, of the series that dashboards and alerts look at."""
        seconds = time.perf_counter() - started
        self._metrics.requests_total.inc()
        self._metrics.requests_by_method.labels(method="POST").inc()
        self._metrics.responses_by_status.labels(status=str(status)).inc()
        self._metrics.requests_latency_before.observe(seconds)
        self._metrics.requests_latency_by_view_method.labels(view=view, method="POST").observe(
            seconds
        )


async def _is_plain(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether nothing but the body remains to be judged."""
    if headers.get(b"content-type", b"").lower() not in JSON or not NOT_PLAIN.isdisjoint(headers):
        return False
    if scope["query_string"] or not _takes_json(headers.get(b"accept", b"*/*")):
        return False
    if settings.API_RATE_LIMIT is not None or not _is_allowed_host(headers.get(b"host", b"")):
        return False
    if settings.SECURE_SSL_REDIRECT and not _is_secure(scope, headers):
        return False
    authorization = headers.get(b"authorization")
    if authorization is None:
        return not settings.API_REQUIRE_AUTH
    kind, _, secret = authorization.partition(b" ")
    if kind.lower() != b"bearer":
        return False
    token = await _token(secret.decode("latin-1"))
    return token is not None and token.allows(ApiToken.Scope.PREDICT)


def _takes_json(accept: bytes) -> bool:
    return b"*/*" in accept or b"application/json" in accept


async def _token(secret: str) -> ApiToken | None:
    if (token := tokens.remembered(secret)) is not None:
        return token
    try:
        # Not `sync_to_async`: no request ends in that thread, so that nobody would replace a
        # connection that the database has closed.
        return await database_sync_to_async(tokens.find)(secret)
    except DatabaseError:
        # Django asks again, and tells it.
        return None


@lru_cache(maxsize=256)
def _is_allowed_host(host: bytes) -> bool:
    domain, _ = split_domain_port(host.decode("latin-1"))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _is_secure(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    forwarded = headers.get(b"x-forwarded-proto")
    if settings.SECURE_PROXY_SSL_HEADER and forwarded is not None:
        return forwarded.strip() == b"https"
    return bool(scope["scheme"] == "https")


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """What came, and the body; None for one that is too large or whose sender went away."""
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return messages, None
        if not message.get("more_body", False):
            return messages, b"".join(item.get("body", b"") for item in messages)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replay() -> Message:
        return next(waiting, None) or await receive()

    return replay


def _texts(body: bytes, *, is_single: bool) -> list[str] | None:
    """The texts of a body that breaks no rule, None for others."""
    if is_single and len(body) > LINE_LIMIT:
        # No text is as long: it will be refused, and need not be read twice for that.
        return None
    try:
        data = read_json(body)
    except ParseError:
        return None
    if not isinstance(data, dict) or len(data) != 1:
        return None
    texts = [data.get("text")] if is_single else data.get("texts")
    if not isinstance(texts, list) or not 1 <= len(texts) <= BATCH_LIMIT:
        return None
    if not all(isinstance(text, str) and _is_good(text) for text in texts):
        return None
    return [text.replace("\x00", " ") for text in texts]


def _is_good(text: str) -> bool:
    if len(text) > TEXT_LIMIT or not text.strip():
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _judge(texts: list[str], *, is_single: bool) -> tuple[int, dict[str, Any]] | None:
    try:
        batch = await classify.aclassify_texts(texts, channel="api")
    except EngineOverloaded as error:
        return 503, problem(503, str(error))
    except (NoChampion, ModelUnavailable, DatabaseError):
        return None
    except Exception:  # what Django would make of it, too
        logger.exception("a prediction failed")
        return 500, problem(500, SERVER_ERROR)
    return 200, as_single_result(batch) if is_single else as_batch_result(batch)


async def _send(send: Send, status: int, content: dict[str, Any], request_id: str) -> None:
    body = orjson.dumps(content)
    headers = [
        (b"content-type", b"application/json" if status == 200 else CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        *_always(),
    ]
    if status == 503:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=1)
def _always() -> list[tuple[bytes, bytes]]:
    """The headers that Django's security middlewares give every answer."""
    request = HttpRequest()
    # So that HSTS is in; where it is not configured, it is not.
    request.META.update({"wsgi.url_scheme": "https", "HTTP_X_FORWARDED_PROTO": "https"})
    response = HttpResponse()
    del response["Content-Type"]
    SecurityMiddleware(lambda _: response).process_response(request, response)
    XFrameOptionsMiddleware(lambda _: response).process_response(request, response)
    return [(name.lower().encode(), value.encode()) for name, value in response.items()]
