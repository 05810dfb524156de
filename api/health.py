"""Whether the service can do its work, and what is wrong if not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from ingestion.selectors import SourceState, source_states
from modeling import serving
from modeling.exceptions import ModelingError

BROKER_TIMEOUT_SECONDS = 2


def check() -> dict[str, Any]:
    """`status` is ok, degraded (it works, somebody should look) or unavailable."""
    database = _database()
    broker = _broker()
    model = _model() if database == "ok" else {"version": None, "loaded": False}
    streams = _streams() if database == "ok" else []
    status = "ok"
    if broker != "ok" or model.get("error") or not all(map(_is_well, streams)):
        status = "degraded"
    if database != "ok" or not model["loaded"]:
        status = "unavailable"
    return {
        "status": status,
        "database": database,
        "broker": broker,
        "model": model,
        "streams": streams,
    }


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return f"unavailable: {type(error).__name__}"
    return "ok"


def _broker() -> str:
    if not settings.REDIS_URL:
        return "ok"
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=BROKER_TIMEOUT_SECONDS,
        socket_connect_timeout=BROKER_TIMEOUT_SECONDS,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        return f"unavailable: {type(error).__name__}"
    finally:
        client.close()
    return "ok"


def _model() -> dict[str, Any]:
    try:
        serving.champion()
    except ModelingError as error:
        return {"version": None, "loaded": False, "error": str(error)}
    model = serving.status()
    return {key: value for key, value in model.items() if key != "error" or value}


def _streams() -> list[dict[str, Any]]:
    now = timezone.now()
    return [_stream(state, now) for state in source_states(now)]


def _stream(state: SourceState, now: datetime) -> dict[str, Any]:
    row = state.connection
    lag = row.lag(now)
    month = state.usage
    used = month.used / month.budget if month and month.budget else None
    return {
        "source": row.source,
        "status": "lost" if state.is_lost else row.status,
        "words": state.words,
        "reason": state.words if state.is_lost else row.last_error,
        "last_event_at": row.last_event_at,
        "lag_seconds": None if lag is None else round(lag.total_seconds(), 1),
        "next_attempt_at": row.next_attempt_at,
        "posts_per_minute": state.posts_a_minute,
        "spilled_bytes": row.spilled_bytes,
        "budget_used": None if used is None else round(used, 4),
        "held": [stream.name for stream in state.held],
    }


def _is_well(stream: dict[str, Any]) -> bool:
    """Whether nobody has to look at a source."""
    is_down = stream["status"] in {"failed", "lost"}
    is_spent = (stream["budget_used"] or 0.0) >= 1
    return not (is_down or is_spent or stream["spilled_bytes"] or stream["held"])
