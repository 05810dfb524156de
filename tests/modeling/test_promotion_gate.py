"""No version is promoted on a verdict that does not hold now: really judged, on trained models."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.exceptions import ChampionDamaged, GateRefused, NotEnoughData
from modeling.ml import artifact, text
from modeling.models import Annotation, LabelScheme, ModelVersion, TrainingRun
from modeling.services import gate, held_out
from modeling.services.annotate import annotate_many
from modeling.services.dataset import gather, split_name
from modeling.services.promote import promote
from modeling.services.train import dataset_of
from tests.conftest import obvious_posts

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]
PASSED = {"passed": True, "reason": "macro recall 0.9 against 0.9", "champion": 1}


@pytest.fixture
def judged(labelled: LabelScheme, make_version: Versions) -> ModelVersion:
    """The champion of a scheme whose held-out posts tell good from bad."""
    return make_version(1, scheme=labelled, stage="champion")


@pytest.fixture
def make_worse(labelled: LabelScheme, shuffled_model: Path, make_version: Versions) -> Versions:
    """Rows of a version that has learned from shuffled labels."""

    def make(number: int, **fields: Any) -> ModelVersion:
        return make_version(
            number,
            scheme=labelled,
            artifact_uri=str(shuffled_model),
            artifact_digests=artifact.digests(shuffled_model),
            **fields,
        )

    return make


def test_that_it_served_before_counts_for_nothing(
    labelled: LabelScheme, make_worse: Versions, make_version: Versions
) -> None:
    first = make_worse(1)
    promote(first)
    first.refresh_from_db()
    assert first.gate["passed"] and first.gate["reason"] == "the first version"
    better = make_version(2, scheme=labelled)
    promote(better)
    first.refresh_from_db()
    with pytest.raises(GateRefused, match="the gate refuses version 1: macro recall"):
        promote(first)
    first.refresh_from_db()
    assert first.gate["champion"] == 2 and not first.gate["passed"]
    assert ModelVersion.objects.champions().get(scheme=labelled) == better


def test_a_verdict_on_other_posts_is_asked_for_again(
    labelled: LabelScheme, judged: ModelVersion, make_worse: Versions
) -> None:
    for verdict in (PASSED, {**PASSED, "test_set": "0" * 64}):
        version = make_worse(2, gate=verdict)
        with pytest.raises(GateRefused, match="macro recall"):
            promote(version)
        version.delete()


def test_a_verdict_that_holds_now_is_believed(
    labelled: LabelScheme, judged: ModelVersion, make_worse: Versions
) -> None:
    now = {"test_set": held_out.digest(gather(labelled)), "backend": "onnx-int8"}
    verdict = {**PASSED, **now}
    assert promote(make_worse(2, gate=verdict)) is not None


def of_set(scheme: LabelScheme, name: str) -> Annotation:
    rows = Annotation.objects.current().filter(scheme=scheme).select_related("post", "category")
    return next(row for row in rows if split_name(text.digest(row.post.text)) == name)


def test_a_verdict_holds_until_the_held_out_posts_the_champion_or_the_backend_change(
    labelled: LabelScheme, judged: ModelVersion, make_version: Versions, settings: Settings
) -> None:
    version = make_version(2, scheme=labelled)
    gate.judge_version(version, judged)

    def holds() -> bool:
        return gate.stands(version.gate, judged, gather(labelled))

    assert holds()
    assert not gate.stands(version.gate, version, gather(labelled))
    settings.INFERENCE_BACKEND = "onnx"
    assert not holds()
    settings.INFERENCE_BACKEND = "onnx-int8"
    learned = of_set(labelled, "train")
    annotate_many(labelled, {learned.post_id: another(learned)})
    assert holds()
    annotated = of_set(labelled, "test")
    annotate_many(labelled, {annotated.post_id: another(annotated)})
    assert not holds()


def another(annotation: Annotation) -> str:
    return "neutral" if annotation.category.key != "neutral" else "positive"


def test_a_first_version_that_int8_ruins_is_not_promoted(
    labelled: LabelScheme,
    tiny_model: Path,
    shuffled_model: Path,
    tmp_path: Path,
    make_version: Versions,
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "ruined")
    shutil.copy(shuffled_model / "model.int8.onnx", folder)
    version = make_version(
        *(1,),
        scheme=labelled,
        artifact_uri=str(folder),
        artifact_digests=artifact.digests(folder),
    )
    with pytest.raises(GateRefused, match="version 1: int8 agrees with float on"):
        promote(version)
    assert not ModelVersion.objects.champions().filter(scheme=labelled).exists()
    assert promote(version, override=True, reason="better than none") is not None


def test_without_held_out_posts_nothing_is_promoted_unjudged(
    own_scheme: LabelScheme, make_version: Versions
) -> None:
    version = make_version(1, scheme=own_scheme)
    with pytest.raises(NotEnoughData, match="to judge version 1 on: 0 labelled posts"):
        promote(version)
    assert promote(version, override=True, reason="to begin with") is not None


def test_a_damaged_champion_is_replaced_by_override_alone(
    labelled: LabelScheme, make_version: Versions
) -> None:
    make_version(1, scheme=labelled, stage="champion", artifact_digests={"model.onnx": "0" * 64})
    healthy = make_version(2, scheme=labelled)
    with pytest.raises(ChampionDamaged, match=r"version 1 are damaged.*model\.onnx"):
        promote(healthy)
    entry = promote(healthy, override=True, reason="the disk of version 1 died")
    assert entry is not None and entry.version == healthy


def test_a_file_that_a_version_learned_from_is_judged_on_while_it_can_be_read(
    own_scheme: LabelScheme, judged_file: Path, make_version: Versions
) -> None:
    version = make_version(1, scheme=own_scheme)
    run = TrainingRun.objects.create(
        scheme=own_scheme, version=version, options={"data": str(judged_file)}
    )
    now = held_out.now(version)
    assert len(now.test) > 0 and held_out.digest(now) == held_out.digest(dataset_of(run))
    gate.judge_version(version, None)
    assert promote(version) is not None
    judged_file.unlink()
    with pytest.raises(NotEnoughData, match=r"labels\.csv.*cannot be read here: import its labels"):
        held_out.now(version)


@pytest.fixture
def judged_file(tmp_path: Path) -> Path:
    texts, labels = obvious_posts()
    names = ("negative", "neutral", "positive")
    rows = [f"{words},{names[label]}" for words, label in zip(texts, labels, strict=True)]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["text,label", *rows]))
    assert not Post.objects.exists()
    return path
