"""Guessing passwords is slowed down: what counts as one guesser, and what they are told.

django-axes counts failures in the database, so that every process knows of them: LOGIN_FAILURES of
one name from one address lock that pair for LOGIN_COOL_OFF_MINUTES, and LOGIN_ADDRESS_FAILURES of
whatever names lock the address. Nobody can lock others out who come from elsewhere.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_cool_off
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from api.exceptions import problem_response
from api.limits import network_of

TOO_MANY = "Too many failed sign-ins."


class Guesses(AxesDatabaseHandler):
    """Counts an address's failures over all names, too: one password tried on many of them."""

    def is_locked(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        if super().is_locked(request, credentials):
            return True
        counted = from_address(request).aggregate(n=Sum("failures_since_start"))["n"] or 0
        return bool(counted >= settings.LOGIN_ADDRESS_FAILURES)


def address(request: HttpRequest) -> str | None:
    """Whose attempt it is: the address that the server names; of IPv6 the /64.

    uvicorn has put the client's there where FORWARDED_ALLOW_IPS names the proxy that connects, so
    that nobody else's X-Forwarded-For counts for anything.
    """
    return network_of(request.META.get("REMOTE_ADDR", ""))


def from_address(request: HttpRequest) -> QuerySet[AccessAttempt]:
    """The failures that still count from where this request comes."""
    since = timezone.now() - get_cool_off(request)
    return AccessAttempt.objects.filter(ip_address=address(request), attempt_time__gte=since)


def refuse(
    request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """429 with Retry-After: a page for people, a problem for programs."""
    seconds = _wait(request)
    minutes = ceil(seconds / 60)
    if "text/html" in request.headers.get("Accept", ""):
        answer = render(request, "dashboard/login_locked.html", {"minutes": minutes}, status=429)
    else:
        detail = f"{TOO_MANY} Try again in {minutes} min, or ask an admin to reset them."
        answer = problem_response(request, 429, detail)
    answer["Retry-After"] = str(seconds)
    answer["Cache-Control"] = "no-store"
    return answer


def _wait(request: HttpRequest) -> int:
    """Seconds until the newest failure from there counts no more."""
    cool_off = get_cool_off(request)
    newest = from_address(request).aggregate(at=Max("attempt_time"))["at"] or timezone.now()
    return max(ceil((newest + cool_off - timezone.now()).total_seconds()), 1)
