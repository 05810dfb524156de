"""Promotion: the one function that decides what serves."""

from __future__ import annotations

import logging
import re

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from modeling import registry, serving
from modeling.exceptions import Conflict, GateRefused, RegistryError
from modeling.ml.artifact import ArtifactError
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services import gate, held_out
from modeling.signals import version_promoted

logger = logging.getLogger(__name__)

# How often a version is judged anew because the champion changed meanwhile.
ATTEMPTS = 10
# How the ledger's lines of a rollback begin.
ROLLBACK = "rollback from version"
_ROLLBACK = re.compile(rf"{ROLLBACK} \d+(:|$)")


class NothingToRollBack(Conflict):
    """No earlier champion is known."""


class NotLoadable(Conflict):
    """The version's files are altered or cannot be run."""


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
    champion on the posts that are held out now is judged first, which takes seconds; that it served
    before counts for nothing. `override` promotes what the gate refuses, and needs a reason.
    `actor` says what promotes where no user does ("training run 12"). Every process
    serves it within seconds. The row is the truth; MLflow's alias follows after the commit, and a
    registry that is away is logged.

    Raises NotLoadable, RegistryError, GateRefused (ChampionDamaged where the champion's files are),
    or NotEnoughData where it had to be judged on too few posts.
    """
    if override and not reason.strip():
        raise GateRefused("say why the gate is overridden: the ledger keeps the reason")
    if _champion(version.scheme_id) == version:
        return None
    load(version)
    said = f"gate overridden: {reason}" if override else reason
    for _ in range(ATTEMPTS):
        champion = _champion(version.scheme_id)
        if not override:
            _pass_gate(version, champion)
        with transaction.atomic():
            previous = _locked_champion(version.scheme_id)
            if previous == version:
                return None
            if override or previous == champion:
                return _switch(version, previous, by, actor, said)
    raise Conflict(
        f"version {version.version} is not promoted: the champion changed while it was judged"
    )


def rollback(
    scheme: LabelScheme, *, by: User | None = None, actor: str = "", reason: str = ""
) -> ModelVersion:
    """Promote the champion before the present one, as `way_back` finds it; return it.

    The gate is not asked: it served before, and whatever the gate would say now, it is where one
    knows the way back to. Raises NothingToRollBack, NotLoadable, RegistryError, or Conflict when
    another version was promoted meanwhile.
    """
    champion = _champion(scheme.pk)
    line = way_back(scheme, champion)
    if champion is None or line is None or line.previous is None:
        raise NothingToRollBack(
            f"no earlier champion of {scheme.key!r} is left to go back to: promote a version by "
            "its number"
        )
    target = line.previous
    load(target)
    said = f"{ROLLBACK} {champion.version}"
    with transaction.atomic():
        standing = _locked_champion(scheme.pk)
        if standing not in (champion, target):
            raise Conflict(
                f"version {target.version} is not promoted: another version has become the "
                "champion meanwhile"
            )
        # Two rollbacks at once are one.
        if standing == champion:
            _switch(target, champion, by, actor, f"{said}: {reason}" if reason else said)
    return target


def way_back(scheme: LabelScheme, champion: ModelVersion | None) -> Promotion | None:
    """The ledger's line that a rollback undoes: its `previous` would serve again.

    Rollbacks go back along the promotions, one by one: never to a version that was rolled back
    from, unless it has been promoted anew since. None when nothing is left to go back to.
    """
    withdrawn: set[int | None] = set()
    undoable: list[tuple[int, int]] = []
    lines = scheme.promotions.order_by("promoted_at", "id")
    for pk, version, previous, reason in lines.values_list(
        "pk", "version_id", "previous_id", "reason"
    ):
        if _ROLLBACK.match(reason):
            withdrawn.add(previous)
            continue
        withdrawn.discard(version)
        if previous is not None:
            undoable.append((pk, previous))
    if champion is not None:
        withdrawn.add(champion.pk)
    for pk, previous in reversed(undoable):
        if previous not in withdrawn:
            return scheme.promotions.select_related("version", "previous", "scheme").get(pk=pk)
    return None


def load(version: ModelVersion) -> None:
    """Load the version once, which lets it judge a word. Raises NotLoadable, or RegistryError where
    its files cannot be fetched, which passes."""
    said = f"version {version.version} is not promoted, it cannot be loaded"
    try:
        serving.load(version)
    except ArtifactError as error:
        raise NotLoadable(f"{said}: {error}") from error
    except RegistryError as error:
        raise RegistryError(f"{said}: {error}") from error


@transaction.atomic
def set_challenger(version: ModelVersion | None, scheme: LabelScheme | None = None) -> None:
    """Make `version` the challenger, which an experiment holds against the champion.

    The challenger before it is a candidate again. With None, `scheme` has no challenger any more.
    Raises NotLoadable, RegistryError, or Conflict when it is the champion.
    """
    scheme = scheme or (version.scheme if version is not None else None)
    if scheme is None:
        raise ValueError("give a version, or the scheme that shall have no challenger")
    LabelScheme.objects.select_for_update().get(pk=scheme.pk)
    if version is not None:
        if _champion(scheme.pk) == version:
            raise Conflict(f"version {version.version} is the champion: it has no rival")
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


def _locked_champion(scheme_id: int) -> ModelVersion | None:
    """Locks the scheme: two promotions at once queue instead of clashing."""
    LabelScheme.objects.select_for_update().get(pk=scheme_id)
    return _champion(scheme_id)


def _pass_gate(version: ModelVersion, champion: ModelVersion | None) -> None:
    """Raise GateRefused unless the version passed against this very champion on the posts that are
    held out now; judge it if need be. One with the champion's own files needs no judging."""
    if champion is not None and version.artifact_digests == champion.artifact_digests:
        return
    dataset = held_out.now(version)
    verdict = version.gate
    if not gate.stands(verdict, champion, dataset):
        verdict = gate.judge_version(version, champion, dataset).as_dict()
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
