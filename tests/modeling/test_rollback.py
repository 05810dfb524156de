"""The way back: along the ledger, and never to what was rolled back from."""

import threading
from collections.abc import Callable

import pytest

from modeling.exceptions import ModelingError
from modeling.models import LabelScheme, ModelVersion, Promotion
from modeling.services import promote as module
from modeling.services.promote import NothingToRollBack, promote, rollback, way_back
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


@pytest.fixture
def three(champion: ModelVersion, make_version: Versions) -> list[ModelVersion]:
    """Versions that served one after the other; the last one serves."""
    versions = [champion, make_version(2), make_version(3)]
    for version in versions[1:]:
        promote(version)
    return versions


def serves(scheme: LabelScheme) -> int:
    return ModelVersion.objects.champions().get(scheme=scheme).version


def test_rollbacks_go_back_one_by_one_and_end(
    scheme: LabelScheme, three: list[ModelVersion]
) -> None:
    assert [rollback(scheme).version for _ in range(2)] == [2, 1]
    for _ in range(2):
        with pytest.raises(
            NothingToRollBack, match="no earlier champion of 'sentiment' is left.*by its number"
        ):
            rollback(scheme)
    assert serves(scheme) == 1
    assert [line.reason for line in Promotion.objects.all()[:2]] == [
        "rollback from version 2",
        "rollback from version 3",
    ]


def test_what_was_rolled_back_from_is_never_gone_back_to(
    scheme: LabelScheme, three: list[ModelVersion], make_version: Versions
) -> None:
    assert rollback(scheme, reason="complaints").version == 2
    promote(make_version(4))
    assert rollback(scheme).version == 2
    assert rollback(scheme).version == 1
    with pytest.raises(NothingToRollBack):
        rollback(scheme)


def test_what_is_promoted_anew_is_trusted_anew(
    scheme: LabelScheme, three: list[ModelVersion], make_version: Versions
) -> None:
    rollback(scheme)
    promote(three[2])
    promote(make_version(4))
    assert rollback(scheme).version == 3
    assert rollback(scheme).version == 2


def test_a_promotion_by_hand_is_undone_like_any(
    scheme: LabelScheme, three: list[ModelVersion]
) -> None:
    promote(three[0], reason="back to the roots")
    line = way_back(scheme, three[0])
    assert line is not None and (line.version, line.previous) == (three[0], three[2])
    assert rollback(scheme).version == 3


def test_each_scheme_has_a_way_of_its_own(
    scheme: LabelScheme, three: list[ModelVersion], own_scheme: LabelScheme, make_version: Versions
) -> None:
    make_version(1, scheme=own_scheme, stage="champion")
    with pytest.raises(NothingToRollBack, match="'mood'"):
        rollback(own_scheme)


def meet(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """All threads have chosen where to go back to before the first one goes."""
    barrier, load = threading.Barrier(count), module.load

    def together(version: ModelVersion) -> None:
        load(version)
        barrier.wait(30)

    monkeypatch.setattr(module, "load", together)


@pytest.mark.django_db(transaction=True)
def test_rollbacks_at_the_same_moment_are_one(
    scheme: LabelScheme, three: list[ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(monkeypatch, 3)
    outcomes = at_once(lambda: rollback(scheme), 3)
    assert outcomes == [three[1]] * 3
    assert serves(scheme) == 2
    assert Promotion.objects.filter(reason__startswith="rollback").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_promotion_while_a_rollback_is_prepared_is_not_undone_unseen(
    scheme: LabelScheme,
    three: list[ModelVersion],
    make_version: Versions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    four = make_version(4)
    load = module.load

    def promote_first(version: ModelVersion) -> None:
        monkeypatch.setattr(module, "load", load)
        promote(four)

    monkeypatch.setattr(module, "load", promote_first)
    with pytest.raises(ModelingError, match="another version has become the champion"):
        rollback(scheme)
    assert serves(scheme) == 4
