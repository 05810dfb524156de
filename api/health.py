"""Whether the service can do its work, and what is wrong if not."""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from ingestion.models import Connection
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
    if broker != "ok" or model.get("error") or any(s["status"] == "failed" for s in streams):
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
    return [
        {
            "source": row.source,
            "status": row.status,
            "last_event_at": row.last_event_at,
            "lag_seconds": None if (lag := row.lag(now)) is None else round(lag.total_seconds(), 1),
            "next_attempt_at": row.next_attempt_at,
            "error": row.last_error,
        }
        for row in Connection.objects.all()
    ]
