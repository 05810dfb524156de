"""Making, finding and revoking tokens."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from api.models import MARK, ApiToken, digest_of
from ingestion.services.audit import AT_A_SHELL, Action, Actor, facts, record

# For how long a process goes by what it last read of a token: so long a revoked one may live on.
REMEMBERED_SECONDS = 5.0
REMEMBERED_TOKENS = 1024
USED_RESOLUTION = timedelta(minutes=1)

_remembered: dict[str, tuple[float, ApiToken]] = {}


@transaction.atomic
def issue(
    name: str,
    scopes: Collection[str],
    *,
    days: int,
    user: User | None = None,
    by: Actor = AT_A_SHELL,
) -> tuple[ApiToken, str]:
    """A new token and its secret, which nobody can read again. `days` 0: it never expires.

    Without a user it gets one of its own, who cannot sign in.
    """
    if user is None:
        user, is_new = User.objects.get_or_create(username=f"token:{name}"[:150])
        if is_new:
            user.set_unusable_password()
            user.save(update_fields=["password"])
    token = ApiToken(name=name, user=user, scopes=" ".join(scopes))
    if days:
        token.expires_at = timezone.now() + timedelta(days=days)
    return token, save_new(token, by=by)


@transaction.atomic
def save_new(token: ApiToken, *, by: Actor) -> str:
    """Save a new token with a secret, which is returned this once; write down who made it."""
    secret = token.draw_secret()
    token.created_by = _user(by)
    token.save()
    record(Action.ADDED, token, by, before={})
    return secret


def revoke(ids: Collection[int], *, by: Actor) -> int:
    """Refuse these from now on; return how many were valid until now."""
    with transaction.atomic():
        going = ApiToken.objects.select_for_update().filter(pk__in=ids, revoked_at__isnull=True)
        revoked = list(going)
        for token in revoked:
            before = facts(token)
            token.revoked_at, token.revoked_by = timezone.now(), _user(by)
            token.save(update_fields=["revoked_at", "revoked_by"])
            record(Action.CHANGED, token, by, before=before)
    _remembered.clear()
    return len(revoked)


def _user(by: Actor) -> User | None:
    return by.user if isinstance(by.user, User) else None


def remembered(secret: str) -> ApiToken | None:
    """The valid token of a secret that this process read lately; asks nobody."""
    read_at, token = _remembered.get(digest_of(secret), (float("-inf"), None))
    if token is None or time.monotonic() - read_at >= REMEMBERED_SECONDS:
        return None
    return token


def find(secret: str) -> ApiToken | None:
    """The valid token of a secret, with its user. A process asks the database every 5 s at most."""
    if not secret.startswith(MARK):
        return None
    if (known := remembered(secret)) is not None:
        return known
    digest = digest_of(secret)
    now = time.monotonic()
    _remembered.pop(digest, None)
    token = ApiToken.objects.valid().select_related("user").filter(digest=digest).first()
    if token is None:
        return None
    _note_use(token)
    if len(_remembered) >= REMEMBERED_TOKENS:
        _remembered.clear()
    _remembered[digest] = (now, token)
    return token


def _note_use(token: ApiToken) -> None:
    now = timezone.now()
    ApiToken.objects.filter(pk=token.pk).filter(
        Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - USED_RESOLUTION)
    ).update(last_used_at=now)
