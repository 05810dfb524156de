"""Who asks: a program with a token, or somebody who has signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from api import tokens
from ingestion.models import AuditEntry
from ingestion.services.audit import Actor

if TYPE_CHECKING:
    from rest_framework.request import Request

    from api.models import ApiToken

REALM = "Live sentiment"


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`. First of all, so that a stranger is told 401 and how to ask."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        token = bearer(request._request)
        return None if token is None else (token.user, token)

    def authenticate_header(self, request: Request) -> str:
        return f'Bearer realm="{REALM}"'


def bearer(request: HttpRequest) -> ApiToken | None:
    """The token that a request carries, None when it carries none.

    Raises AuthenticationFailed for one that is unknown, expired or revoked: which, it does not say.
    """
    secret = _secret(request)
    if secret is None:
        return None
    token = tokens.find(secret)
    if token is None:
        raise AuthenticationFailed("The token is not valid: unknown, expired or revoked.")
    return token


def is_due(request: HttpRequest) -> bool:
    """Whether `bearer` would ask the database, as the last look at the request's token is some
    seconds old. Asks nobody."""
    secret = _secret(request)
    return secret is not None and tokens.remembered(secret) is None


def _secret(request: HttpRequest) -> str | None:
    """What a token's bearer says, "" where it is not one word; None without a token."""
    words = request.headers.get("Authorization", "").split()
    if not words or words[0].lower() != "bearer":
        return None
    return words[1] if len(words) == 2 else ""


def actor(request: Request) -> Actor:
    """Who changes something through the API: somebody signed in, or a token in its user's name."""
    through = AuditEntry.Through.API
    if request.auth is not None:
        return Actor(through, request.user, name=f"token {request.auth}")
    return Actor(through, request.user)
