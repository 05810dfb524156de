"""What has to happen before a body is read whole: Django has every body on disk or in memory before
a view runs, so the limits and the endless stream are here, in front of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from io import BytesIO
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from rest_framework.exceptions import (
    APIException,
    MethodNotAllowed,
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
    UnsupportedMediaType,
)

from api import exceptions, ndjson
from api.authentication import REALM, bearer, is_due
from api.limits import Allowance, take
from api.middleware import HEADER, use_request_id
from api.models import ApiToken
from api.permissions import Scope
from api.refusals import BodyTooSlow, DatabaseAway, PayloadTooLarge
from modeling.exceptions import EngineOverloaded, ModelingError
from modeling.services.classify import Batch, aclassify_texts

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Of any of the libraries' notions of it.
App = Callable[[Any, Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)

STREAM_PATH = "/api/v1/predictions/stream"
# For a body of at most 1 MiB to come whole.
BODY_SECONDS = 30.0
# Between two pieces of an endless body, and for an answer to be taken.
IDLE_SECONDS = 300.0
# A stream waits this long in all for a place in the engine's queue: others come first.
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.05


def guarded(app: App) -> App:
    """`app` behind the limits of bodies; the stream of predictions is answered right here."""

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") == STREAM_PATH:
            await stream_predictions(scope, receive, send)
        else:
            await _limited(app, scope, receive, send)

    return application


async def _limited(app: App, scope: Message, receive: Receive, send: Send) -> None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    length = _header(scope, b"content-length")
    if length.isdigit() and int(length) > limit:
        # Nobody reads what is refused; the server throws it away as it comes.
        await _send_problem(scope, send, PayloadTooLarge())
        return
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    seen, is_whole = 0, False
    refusal: APIException | None = None

    async def counted() -> Message:
        nonlocal seen, is_whole, refusal
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            refusal = BodyTooSlow()
            return {"type": "http.disconnect"}
        seen += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if seen > limit:
            refusal = PayloadTooLarge()
            return {"type": "http.disconnect"}
        return message

    await app(scope, counted, send)
    # Django takes the disconnection at its word and says nothing.
    if refusal is not None:
        await _send_problem(scope, send, refusal)


async def stream_predictions(scope: Message, receive: Receive, send: Send) -> None:
    """NDJSON in, NDJSON out while it comes in: one piece of the body is in memory at a time."""
    # For log lines and for the answer alike.
    request_id = use_request_id(_header(scope, HEADER.lower().encode()))
    if scope["method"] == "OPTIONS":
        await _start(send, 204, {"Allow": "POST, OPTIONS", HEADER: request_id})
        await send({"type": "http.response.body"})
        return
    request = ASGIRequest(dict(scope), BytesIO())
    try:
        allowance = await database_sync_to_async(_admit)(request)
    except APIException as error:
        await _send_problem(scope, send, error)
        return
    headers = {"Content-Type": ndjson.MEDIA_TYPE, HEADER: request_id, "X-Accel-Buffering": "no"}
    await _start(send, 200, {**headers, **(allowance.headers() if allowance else {})})
    try:
        await _answer_lines(request, receive, send)
    except (ModelingError, TimeoutError, DatabaseError, APIException) as error:
        # The status is sent: a last line without a number says why there are no more.
        logger.warning("a stream of predictions ends early: %s", error)
        said = exceptions.in_words(error) or f"Nothing came for {IDLE_SECONDS:.0f} s."
        await _send_piece(send, json.dumps({"error": said}).encode() + b"\n")
    await send({"type": "http.response.body"})


def _admit(request: ASGIRequest) -> Allowance | None:
    """Count a request that may stream; raises APIException for one that may not."""
    if request.method != "POST":
        raise MethodNotAllowed(str(request.method))
    # No cookies here: a page of another origin could send them along.
    request.user = AnonymousUser()
    try:
        request.get_host()
    except SuspiciousOperation as error:
        raise ParseError("The host is not one of ALLOWED_HOSTS.") from error
    token = _token(request)
    if request.content_type not in ndjson.MEDIA_TYPES:
        raise UnsupportedMediaType(request.content_type or "")
    allowance = take(request, token)
    if allowance is not None and allowance.is_spent:
        raise Throttled(allowance.seconds)
    return allowance


def _token(request: ASGIRequest) -> ApiToken | None:
    """What lets the request stream; raises APIException where nothing does, any more."""
    try:
        token = bearer(request)
    except DatabaseError as error:
        raise DatabaseAway from error
    if settings.API_REQUIRE_AUTH:
        if token is None:
            raise NotAuthenticated
        if not token.allows(Scope.PREDICT):
            raise PermissionDenied
    return token


async def _answer_lines(request: ASGIRequest, receive: Receive, send: Send) -> None:
    """Raises APIException once the request's token is valid no more."""
    reader = ndjson.LineReader()
    is_whole = False
    while not is_whole:
        async with asyncio.timeout(IDLE_SECONDS):
            message = await receive()
        if message["type"] == "http.disconnect":
            return
        is_whole = not message.get("more_body", False)
        for block in ndjson.blocks(reader.feed(message.get("body", b""))):
            await _answer(request, block, send)
    for block in ndjson.blocks(reader.finish()):
        await _answer(request, block, send)


async def _answer(request: ASGIRequest, block: list[ndjson.Line], send: Send) -> None:
    if is_due(request):
        await database_sync_to_async(_token)(request)
    await _send_piece(send, ndjson.answer(block, await _judge(block)))


async def _judge(block: list[ndjson.Line]) -> Batch | None:
    texts = ndjson.texts_of(block)
    if not texts:
        return None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await aclassify_texts(texts, channel="api")
        except EngineOverloaded:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _send_piece(send: Send, piece: bytes) -> None:
    # Waits while the client takes nothing, and with it the reading.
    async with asyncio.timeout(IDLE_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _send_problem(scope: Message, send: Send, error: APIException) -> None:
    headers = {"Content-Type": exceptions.CONTENT_TYPE}
    headers[HEADER] = use_request_id(_header(scope, HEADER.lower().encode()))
    if error.status_code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = "POST, OPTIONS"
    if (allowed_again := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(allowed_again)
    if isinstance(error, BodyTooSlow):
        headers["Connection"] = "close"
    body = json.dumps(exceptions.problem(error.status_code, str(error.detail))).encode()
    await _start(send, error.status_code, {**headers, "Content-Length": str(len(body))})
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


def _header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
