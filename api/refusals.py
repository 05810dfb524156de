"""Refusals that the REST framework lacks. Apart from `api.exceptions`, which needs its views, and
those our parsers, which need these."""

from __future__ import annotations

from rest_framework import status
from rest_framework.exceptions import APIException


class PayloadTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than 1 MiB."
    default_code = "payload_too_large"


class DatabaseAway(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database is unavailable."
    default_code = "database_away"
    # Seconds, for Retry-After.
    wait = 1


class BodyTooSlow(APIException):
    status_code = status.HTTP_408_REQUEST_TIMEOUT
    default_detail = "The body did not come within 30 s."
    default_code = "body_too_slow"
