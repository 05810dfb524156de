"""Promotion: the one function that decides what serves."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from modeling import registry
from modeling.exceptions import ModelingError, RegistryError
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.signals import version_promoted

logger = logging.getLogger(__name__)


class NothingToRollBack(ModelingError):
    """No earlier champion is known."""


@transaction.atomic
def promote(version: ModelVersion, *, by: User | None = None, reason: str = "") -> Promotion | None:
    """Make `version` the one that classifies new posts; return the ledger's line.

    Safe to repeat: None when it serves already. Every process serves it within seconds. The row
    is the truth; MLflow's alias follows after the commit, and a registry that is away is logged.
    """
    # Locks the scheme: two promotions at once queue instead of clashing.
    LabelScheme.objects.select_for_update().get(pk=version.scheme_id)
    previous = ModelVersion.objects.champions().filter(scheme=version.scheme_id).first()
    if previous == version:
        return None
    # Demote first: the partial unique index never allows two champions.
    if previous is not None:
        previous.stage = ModelVersion.Stage.ARCHIVED
        previous.save(update_fields=["stage"])
    version.stage, version.promoted_at = ModelVersion.Stage.CHAMPION, timezone.now()
    version.save(update_fields=["stage", "promoted_at"])
    entry = Promotion.objects.create(
        scheme_id=version.scheme_id,
        version=version,
        previous=previous,
        promoted_by=by,
        reason=reason,
        promoted_at=version.promoted_at,
    )
    transaction.on_commit(lambda: _announce(version))
    return entry


def rollback(scheme: LabelScheme, *, by: User | None = None) -> ModelVersion:
    """Promote the champion before the present one. Raises NothingToRollBack."""
    latest = scheme.promotions.select_related("previous").first()
    if latest is None or latest.previous is None:
        raise NothingToRollBack(f"no earlier champion of {scheme.key!r} is known")
    promote(latest.previous, by=by, reason=f"rollback from version {latest.version.version}")
    return latest.previous


def _announce(version: ModelVersion) -> None:
    version_promoted.send_robust(sender=ModelVersion, version=version)
    try:
        registry.set_alias(version.scheme.key, "champion", version.version)
    except RegistryError as error:
        logger.warning("%s; the database row says what serves", error)
