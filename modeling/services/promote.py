"""Promotion: the one function that decides what serves."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from modeling import registry, serving
from modeling.exceptions import GateRefused, ModelingError, RegistryError
from modeling.ml.artifact import ArtifactError
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services import gate
from modeling.signals import version_promoted

logger = logging.getLogger(__name__)

# How often a version is judged anew because the champion changed meanwhile.
ATTEMPTS = 10


class NothingToRollBack(ModelingError):
    """No earlier champion is known."""


class NotLoadable(ModelingError):
    """The version's files are missing, altered or cannot be run."""


def promote(
    version: ModelVersion,
    *,
    by: User | None = None,
    actor: str = "",
    reason: str = "",
    override: bool = False,
) -> Promotion | None:
    """Make `version` the one that classifies new posts; return the ledger's line.

    Safe to repeat: None when it serves already. A version that was not yet held against the present
    champion is judged first, which takes seconds. `override` promotes what the gate refuses, and
    needs a reason. `actor` says what promotes where no user does ("training run 12"). Every process
    serves it within seconds. The row is the truth; MLflow's alias follows after the commit, and a
    registry that is away is logged.

    Raises NotLoadable, GateRefused, or NotEnoughData where it had to be judged on too few posts.
    """
    if override and not reason.strip():
        raise GateRefused("say why the gate is overridden: the ledger keeps the reason")
    said = f"gate overridden: {reason}" if override else reason
    return _promote(version, by, actor, said, is_gated=not override)


def _promote(
    version: ModelVersion, by: User | None, actor: str, reason: str, *, is_gated: bool
) -> Promotion | None:
    if _champion(version.scheme_id) == version:
        return None
    load(version)
    for _ in range(ATTEMPTS):
        champion = _champion(version.scheme_id)
        if is_gated:
            _pass_gate(version, champion)
        with transaction.atomic():
            # Locks the scheme: two promotions at once queue instead of clashing.
            LabelScheme.objects.select_for_update().get(pk=version.scheme_id)
            previous = _champion(version.scheme_id)
            if previous == version:
                return None
            if not is_gated or previous == champion:
                return _switch(version, previous, by, actor, reason)
    raise ModelingError(
        f"version {version.version} is not promoted: the champion changed while it was judged"
    )


def rollback(
    scheme: LabelScheme, *, by: User | None = None, actor: str = "", reason: str = ""
) -> ModelVersion:
    """Promote the champion before the present one. Raises NothingToRollBack or NotLoadable."""
    latest = scheme.promotions.select_related("previous").first()
    if latest is None or latest.previous is None:
        raise NothingToRollBack(f"no earlier champion of {scheme.key!r} is known")
    said = f"rollback from version {latest.version.version}"
    # It served before: whatever the gate would say now, it is where one knows the way back to.
    said = f"{said}: {reason}" if reason else said
    _promote(latest.previous, by, actor, said, is_gated=False)
    return latest.previous


def load(version: ModelVersion) -> None:
    """Load the version once and let it judge a word. Raises NotLoadable."""
    try:
        serving.load(version).predict_proba(["good"])
    except (ArtifactError, RegistryError) as error:
        raise NotLoadable(
            f"version {version.version} is not promoted, it cannot be loaded: {error}"
        ) from error


@transaction.atomic
def set_challenger(version: ModelVersion | None, scheme: LabelScheme | None = None) -> None:
    """Make `version` the challenger, which an experiment holds against the champion.

    The challenger before it is a candidate again. With None, `scheme` has no challenger any more.
    Raises NotLoadable, or ModelingError when it is the champion.
    """
    scheme = scheme or (version.scheme if version is not None else None)
    if scheme is None:
        raise ValueError("give a version, or the scheme that shall have no challenger")
    LabelScheme.objects.select_for_update().get(pk=scheme.pk)
    if version is not None:
        if _champion(scheme.pk) == version:
            raise ModelingError(f"version {version.version} is the champion: it has no rival")
        load(version)
    # Demote first: the partial unique index never allows two challengers.
    scheme.versions.filter(stage=ModelVersion.Stage.CHALLENGER).update(
        stage=ModelVersion.Stage.CANDIDATE
    )
    if version is not None:
        version.stage = ModelVersion.Stage.CHALLENGER
        version.save(update_fields=["stage"])
    transaction.on_commit(lambda: _mirror(scheme))


def sync_alias(scheme: LabelScheme) -> None:
    """Make MLflow's aliases say what the rows say: a process may die between the two.

    Safe to repeat. Raises RegistryError.
    """
    standing = scheme.versions.filter(
        stage__in=[ModelVersion.Stage.CHAMPION, ModelVersion.Stage.CHALLENGER]
    )
    versions = dict(standing.values_list("stage", "version"))
    for alias in (ModelVersion.Stage.CHAMPION, ModelVersion.Stage.CHALLENGER):
        if (number := versions.get(alias)) is not None:
            registry.set_alias(scheme.key, alias.value, number)
        else:
            registry.clear_alias(scheme.key, alias.value)


def _champion(scheme_id: int) -> ModelVersion | None:
    return ModelVersion.objects.champions().filter(scheme=scheme_id).first()


def _pass_gate(version: ModelVersion, champion: ModelVersion | None) -> None:
    """Raise GateRefused unless the version passed against this very champion; judge it if need be.

    The first version and one with the champion's own files need no judging, and one that served
    before, after it had passed, is not asked again.
    """
    if champion is None or version.artifact_digests == champion.artifact_digests:
        return
    verdict = version.gate
    served = version.promotions.exists()
    if not verdict or (verdict.get("champion") != champion.version and not served):
        verdict = gate.judge_version(version, champion).as_dict()
    if not verdict["passed"]:
        raise GateRefused(f"the gate refuses version {version.version}: {verdict['reason']}")


def _switch(
    version: ModelVersion, previous: ModelVersion | None, by: User | None, actor: str, reason: str
) -> Promotion:
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
        actor=(actor or (by.get_username() if by is not None else ""))[:150],
        reason=reason[:500],
        promoted_at=version.promoted_at,
    )
    transaction.on_commit(lambda: _announce(version))
    return entry


def _announce(version: ModelVersion) -> None:
    version_promoted.send_robust(sender=ModelVersion, version=version)
    _mirror(version.scheme)


def _mirror(scheme: LabelScheme) -> None:
    try:
        sync_alias(scheme)
    except RegistryError as error:
        logger.warning("%s; the database row says what serves", error)
