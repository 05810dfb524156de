"""The whole of a training: gather, fine-tune, register, gate, promote. Really done, once."""

import json
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path

import mlflow
import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from modeling import serving
from modeling.exceptions import ChampionDamaged, NotEnoughData, TrainingInProgress
from modeling.ml import text
from modeling.ml.classifier import SentimentClassifier
from modeling.models import Annotation, LabelScheme, ModelVersion, Promotion, TrainingRun
from modeling.services import gate, runs, train
from modeling.services.annotate import annotate_many
from modeling.services.dataset import gather, split_name
from modeling.services.promote import promote
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_training_ends_with_a_registered_champion_and_a_worse_one_is_refused(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    run = train.request_training(labelled, reason="test")
    with pytest.raises(TrainingInProgress):
        train.request_training(labelled)
    seen: list[float] = []
    run = train.execute(run.pk, progress=lambda share, message: seen.append(share))
    assert run.status == TrainingRun.Status.SUCCEEDED, run.error
    assert seen[-1] == 1.0
    version = ModelVersion.objects.champions().get(scheme=labelled)
    assert run.version == version and version.version == 1
    assert version.metrics["test"]["macro_recall"] > 0.8
    assert sum(bin["count"] for bin in version.metrics["calibration"]) == version.test_size
    assert version.train_size + version.validation_size + version.test_size == 180
    _check_registry(version, len(run.history))
    assert run.losses[-1] == [pytest.approx(len(run.history), abs=0.5), run.loss]
    assert serving.champion("mood").version == "1"
    assert train.execute(run.pk).version == version

    _shuffle_labels(labelled)
    worse = train.execute(train.request_training(labelled).pk)
    assert worse.status == TrainingRun.Status.REJECTED
    assert worse.gate["passed"] is False
    assert ModelVersion.objects.champions().get(scheme=labelled) == version
    assert ModelVersion.objects.filter(scheme=labelled).count() == 2
    assert Promotion.objects.filter(scheme=labelled).count() == 1


def _check_registry(version: ModelVersion, epochs: int) -> None:
    client = mlflow.MlflowClient()
    alias = client.get_model_version_by_alias("mood", "champion")
    assert int(alias.version) == version.version
    run = client.get_run(version.run_id)
    assert run.data.params["dataset_digest"] == version.dataset_digest
    assert run.data.metrics["test_macro_recall"] == pytest.approx(
        version.metrics["test"]["macro_recall"]
    )
    assert len(client.get_metric_history(version.run_id, "loss")) == epochs > 2
    names = {item.path for item in client.list_artifacts(version.run_id, "model")}
    assert "model/model.safetensors" in names


def _shuffle_labels(scheme: LabelScheme) -> None:
    """Wrong labels in the training set alone: the held-out posts stay true."""
    order = {"negative": "positive", "positive": "neutral", "neutral": "negative"}
    rows = Annotation.objects.current().filter(scheme=scheme).select_related("post", "category")
    wrong = {
        row.post_id: order[row.category.key]
        for row in rows
        if split_name(text.digest(row.post.text)) == "train"
    }
    annotate_many(scheme, wrong)


def test_a_failure_is_noted_on_the_run_and_raised(own_scheme: LabelScheme) -> None:
    run = train.request_training(own_scheme)
    with pytest.raises(NotEnoughData, match="too few"):
        train.execute(run.pk)
    run.refresh_from_db()
    assert run.status == TrainingRun.Status.FAILED
    assert "too few" in run.error and run.finished_at is not None


def test_the_first_version_passes_the_gate(
    labelled: LabelScheme, classifier: SentimentClassifier
) -> None:
    verdict = gate.judge(gather(labelled), classifier, None)
    assert verdict.passed and verdict.reason == "the first version"
    same = gate.judge(gather(labelled), classifier, classifier)
    assert same.passed and same.figures["candidate"] == same.figures["champion"]


def test_a_version_may_order_its_labels_in_another_way(
    labelled: LabelScheme, classifier: SentimentClassifier
) -> None:
    before = gate.judge(gather(labelled), classifier, None)
    for position, key in enumerate(("positive", "negative", "neutral")):
        labelled.categories.filter(key=key).update(position=position)
    dataset = gather(labelled)
    assert dataset.labels == ("positive", "negative", "neutral")
    assert gate.judge(dataset, classifier, None).figures == before.figures


def test_beside_a_damaged_champion_what_was_trained_stays_for_an_override(
    labelled: LabelScheme, tiny_settings: Settings, make_version: Callable[..., ModelVersion]
) -> None:
    tiny_settings.NUM_EPOCHS = 1
    make_version(7, scheme=labelled, stage="champion", artifact_digests={"model.onnx": "0" * 64})
    run = train.request_training(labelled)
    run = train.execute(run.pk)
    assert run.status == TrainingRun.Status.REJECTED and run.version is not None
    assert "not the file that was registered" in run.gate["reason"]
    with pytest.raises(ChampionDamaged):
        promote(run.version)
    promote(run.version, override=True, reason="the champion's disk is broken")
    assert ModelVersion.objects.champions().get(scheme=labelled) == run.version


def test_without_auto_promotion_a_good_candidate_waits_for_a_person(
    labelled: LabelScheme,
    tiny_settings: Settings,
    make_version: Callable[..., ModelVersion],
    tmp_path: Path,
) -> None:
    tiny_settings.AUTO_PROMOTE = False
    file = tmp_path / "labels.csv"
    file.write_text("text,label\nthe garden wonderful today,positive\n")
    champion = make_version(7, scheme=labelled, stage="champion")
    out = StringIO()
    call_command("train", "--scheme", "mood", "--json", "--data", str(file), stdout=out)
    row = json.loads(out.getvalue())
    assert row["status"] == "succeeded" and row["gate"]["passed"] is True
    assert row["data"] == "181 texts (180 annotated, 1 of the file)"
    candidate = ModelVersion.objects.get(scheme=labelled, version=row["version"])
    assert candidate.stage == ModelVersion.Stage.CANDIDATE
    assert ModelVersion.objects.champions().get(scheme=labelled) == champion


def test_while_a_run_is_active_the_command_says_so(own_scheme: LabelScheme) -> None:
    train.request_training(own_scheme)
    with pytest.raises(CommandError, match="wait for it to end") as raised:
        call_command("train", "--scheme", "mood")
    assert raised.value.returncode == 1


def test_with_too_few_labels_the_command_says_how_many_more(own_scheme: LabelScheme) -> None:
    with pytest.raises(CommandError, match="label at least 100 more"):
        call_command("train", "--scheme", "mood")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "nowhere.csv"], "no file nowhere.csv"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--learning-rate", "-1"], "learning_rate must lie between"),
        (["--layer-decay", "nan"], "layer_decay must lie between"),
        (["--seed", "-1"], "seed must lie between 0 and 4294967295"),
        (["--scheme", "none"], "no scheme has the key"),
    ],
)
def test_wrong_usage_ends_with_code_2(
    own_scheme: LabelScheme, options: list[str], words: str
) -> None:
    with pytest.raises(CommandError, match=words) as raised:
        call_command("train", *options)
    assert raised.value.returncode == 2


def test_a_teacher_that_is_not_there_fails_the_run(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    with pytest.raises(CommandError, match="has no version 9 that could teach"):
        call_command("train", "--scheme", "mood", "--teacher", "9")
    assert TrainingRun.objects.get().status == TrainingRun.Status.FAILED


def test_only_one_of_many_requests_at_once_is_granted(own_scheme: LabelScheme) -> None:
    outcomes = at_once(lambda: train.request_training(own_scheme), 4)
    assert sum(isinstance(outcome, TrainingRun) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TrainingInProgress) for outcome in outcomes) == 3


def test_only_one_of_many_workers_takes_a_run(own_scheme: LabelScheme) -> None:
    run = train.request_training(own_scheme)
    outcomes = at_once(lambda: train.execute(run.pk), 3)
    # Whoever took it failed for lack of labels; the others did nothing.
    assert sum(isinstance(outcome, NotEnoughData) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, TrainingRun) for outcome in outcomes) == 2


def test_the_loss_curve_stays_short_and_even_and_a_resumed_run_draws_over_it(
    labelled: LabelScheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "SAVE_PROGRESS_SECONDS", 0)
    run = runs.take(train.request_training(labelled).pk)
    assert run is not None
    report = runs.Reporter(run, None)
    for step in range(1, 3001):
        report.on_loss(step / 1000, 3000 / step)
        report(step / 3000, "training")
    run.refresh_from_db()
    steps = [epochs for epochs, _ in run.losses]
    assert runs.CURVE_POINTS / 2 <= len(steps) <= runs.CURVE_POINTS
    assert steps[-1] == pytest.approx(3.0, abs=0.05)
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps) < 5 * min(gaps)

    again = runs.Reporter(run, None)
    again.on_loss(1.5, 9.0)
    again(0.5, "training")
    assert run.losses[-1] == [1.5, 9.0]
    assert all(before < after for before, after in pairwise([p[0] for p in run.losses]))
