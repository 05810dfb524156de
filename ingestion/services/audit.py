"""The one function that writes down who changed a stream or a token, and what."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from ingestion.models import Audited, AuditEntry

logger = logging.getLogger(__name__)

Action = AuditEntry.Action
Through = AuditEntry.Through
NOBODY = "somebody unknown, as the API is open"


@dataclass(frozen=True)
class Actor:
    """Who changes something, and where: a user, a token in a user's name, or a command."""

    through: AuditEntry.Through
    user: User | AnonymousUser | None = None
    name: str = ""

    @property
    def who(self) -> str:
        if self.name:
            return self.name
        return self.user.get_username() if self.user and self.user.is_authenticated else NOBODY


AT_A_SHELL = Actor(Through.COMMAND, name="somebody at a shell")


def by_command(name: str) -> Actor:
    return Actor(Through.COMMAND, name=f"manage.py {name}")


def facts(thing: Audited | None) -> dict[str, Any]:
    """What a thing's entries tell of it; of none nothing."""
    return {} if thing is None else {name: getattr(thing, name) for name in thing.AUDITED}


def record(action: str, thing: Audited, by: Actor, *, before: Mapping[str, Any]) -> None:
    """Write a change down, within the transaction that makes it.

    `before` is what `facts` said of the thing earlier, {} of a new one. A change that changes
    nothing leaves no entry.
    """
    after = {} if action == Action.DELETED else facts(thing)
    changes = {
        name: [before.get(name), after.get(name)]
        for name in thing.AUDITED
        if before.get(name) != after.get(name)
    }
    if not changes:
        return
    encoder = DjangoJSONEncoder()
    entry = AuditEntry.objects.create(
        action=action,
        kind=str(thing._meta.verbose_name),
        object_id=thing.pk,
        name=str(thing)[:255],
        # Moments as text.
        changes={
            name: [_plain(encoder, value) for value in pair] for name, pair in changes.items()
        },
        through=by.through,
        user=by.user if isinstance(by.user, models.Model) else None,
        who=by.who[:200],
    )
    logger.info("%s %d %s by %s", entry.kind, entry.object_id, action, entry.through)


def _plain(encoder: DjangoJSONEncoder, value: Any) -> Any:
    is_plain = value is None or isinstance(value, str | int | float | bool | list | dict)
    return value if is_plain else encoder.default(value)
