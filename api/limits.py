"""How often one caller may ask: API_RATE_LIMIT, counted in the cache (in Redis where it is set)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from rest_framework.throttling import BaseThrottle

from api.models import ApiToken

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What is left of a caller's window, which ends in `seconds`."""

    limit: int
    used: int
    seconds: int

    @property
    def is_spent(self) -> bool:
        return self.used > self.limit

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(max(self.limit - self.used, 0)),
            "RateLimit-Reset": str(self.seconds),
        }


class RateLimit(BaseThrottle):
    """Refuses with 429 once a window's requests are spent; the headers are the middleware's."""

    _wait: int = 0

    def allow_request(self, request: Request, view: APIView) -> bool:
        token = request.auth if isinstance(request.auth, ApiToken) else None
        allowance = take(request._request, token)
        if allowance is None:
            return True
        # Where the middleware looks for it.
        request._request.allowance = allowance  # type: ignore[attr-defined]
        self._wait = allowance.seconds
        return not allowance.is_spent

    def wait(self) -> float:
        return self._wait


def take(request: HttpRequest, token: ApiToken | None) -> Allowance | None:
    """Count one request; None where nothing is limited, or the counter is away."""
    if settings.API_RATE_LIMIT is None:
        return None
    limit, period = settings.API_RATE_LIMIT
    # From the wall clock, so that every process is in the same window.
    window, into = divmod(time.time(), period)
    key = f"rate:{_caller(request, token)}:{int(window)}"
    try:
        cache.add(key, 0, timeout=period + 1)
        used = cache.incr(key)
    except (redis.RedisError, ValueError) as error:
        # Redis is away, or threw the key out just now: to serve matters more than to count.
        logger.warning("a request was not counted: %s", error)
        return None
    return Allowance(limit, used, max(int(period - into + 0.999), 1))


def _caller(request: HttpRequest, token: ApiToken | None) -> str:
    """A token, else a user, else an address: of IPv6 the /64, which one customer has whole."""
    if token is not None:
        return f"token:{token.pk}"
    if request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"address:{network_of(request.META.get('REMOTE_ADDR', '')) or 'unknown'}"


def network_of(address: str) -> str | None:
    """Whom an address stands for: itself; of IPv6 its /64, which one customer has whole.

    None for what is no address.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
