"""Trainings that are cut short: stopped, killed, taken by another process, and carried on."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path

import mlflow
import pytest
from celery.exceptions import Reject
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from modeling import tasks
from modeling.exceptions import RegistryError
from modeling.ml.base_model import sha256
from modeling.models import LabelScheme, ModelVersion, Promotion, TrainingRun
from modeling.services import runs, train
from modeling.services.annotate import annotate_many
from modeling.services.dataset import gather
from modeling.services.promote import rollback
from tests.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Manage = Callable[..., subprocess.Popen[str]]


def after(steps: int) -> Callable[[], bool]:
    """Says stop once it has been asked so often."""
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


def test_a_stopped_run_goes_on_from_its_checkpoint_on_the_labels_it_began_with(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    run = train.execute(train.request_training(labelled).pk, should_stop=after(30))
    assert run.status == "interrupted" and run.worker == runs._worker() and run.attempts == 1
    assert 0 < run.progress < 0.9 and run.loss is not None and run.finished_at is None
    (checkpoint,) = (runs.folder_of(run) / "checkpoints").iterdir()
    before = gather(labelled)

    # Labels that change meanwhile are for the next training.
    changed = next(iter(before.posts))
    other = "negative" if before.labels[before.train.labels[0]] != "negative" else "positive"
    annotate_many(labelled, {changed: other})
    seen: list[float] = []
    run = train.execute(run.pk, progress=lambda share, message: seen.append(share))
    assert run.status == "succeeded", run.error
    assert run.version is not None and run.version.dataset_digest == before.digest
    assert run.attempts == 2 and not runs.folder_of(run).exists() and not checkpoint.exists()
    assert min(share for share in seen if share > 0) > 0.2
    assert [sorted(epoch) for epoch in run.history] == [
        ["accuracy", "ece", "epoch", "loss", "macro_f1", "macro_recall"]
    ] * len(run.history)
    assert len(run.history) >= 4 and run.history[-1]["epoch"] == len(run.history)


def test_killed_in_training_and_in_registering_it_ends_with_one_version(
    labelled: LabelScheme, tiny_settings: Settings, manage: Manage
) -> None:
    environment = {
        "VAR_DIR": str(tiny_settings.VAR_DIR),
        "MODEL_NAME": tiny_settings.MODEL_NAME,
        "MAX_LENGTH": "32",
        "BATCH_SIZE": "16",
        "LEARNING_RATE": "0.003",
        "NUM_EPOCHS": "8",
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": tiny_settings.MLFLOW_TRACKING_URI,
        "MLFLOW_ARTIFACT_ROOT": tiny_settings.MLFLOW_ARTIFACT_ROOT,
    }
    process = manage("train", "--scheme", "mood", **environment)
    # Watched on the disk: a tiny training is over before its row is written twice.
    checkpoints = Path(tiny_settings.VAR_DIR, "training")
    kill_when(process, lambda: any(checkpoints.glob("run-*/checkpoints/checkpoint-*")))
    run = TrainingRun.objects.get()
    assert run.status == "running" and run.version is None

    process = manage("train", "--scheme", "mood", "--resume", **environment)
    kill_when(process, lambda: message_of(run) == "registering")
    assert runs.recover_interrupted(labelled) == run
    assert not ModelVersion.objects.filter(scheme=labelled, stage="champion").exists()

    run = train.execute(run.pk)
    assert run.status == "succeeded" and run.attempts == 3, run.error
    version = ModelVersion.objects.get(scheme=labelled)
    assert version.stage == "champion" and run.version == version
    assert Promotion.objects.get().version == version
    assert not runs.folder_of(run).exists()


def message_of(run: TrainingRun) -> str:
    run.refresh_from_db(fields=["message"])
    return run.message


def kill_when(process: "subprocess.Popen[str]", condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"not in time: {process.communicate()}")
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_version_that_was_registered_before_the_kill_is_found_again(
    labelled: LabelScheme, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_settings.NUM_EPOCHS = 1

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    # The moment between MLflow's version and our row, which no signal hits reliably.
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train.provenance, "record", die)
        train.execute(train.request_training(labelled).pk)
    run = TrainingRun.objects.get()
    assert run.status == "interrupted" and run.version is None
    (found,) = mlflow.MlflowClient().search_model_versions("name='mood'")
    run = train.execute(run.pk)
    assert run.version is not None and run.version.version == int(found.version) == 1
    assert ModelVersion.objects.filter(scheme=labelled).count() == 1


def test_killed_after_its_promotion_a_run_neither_judges_nor_promotes_again(
    labelled: LabelScheme,
    tiny_settings: Settings,
    make_version: Callable[..., ModelVersion],
) -> None:
    before = make_version(7, scheme=labelled, stage="champion")
    run = train.execute(train.request_training(labelled).pk)
    assert run.status == "succeeded" and run.version is not None, run.error
    verdict = ModelVersion.objects.get(pk=run.version.pk).gate
    assert verdict["champion"] == 7
    # What the row holds when the process is killed before it writes the end down.
    TrainingRun.objects.update(status="interrupted", finished_at=None, gate={})
    rollback(labelled)

    run = train.execute(run.pk)
    assert run.status == "succeeded" and run.gate == verdict
    assert ModelVersion.objects.get(pk=run.version.pk).gate == verdict
    assert ModelVersion.objects.champions().get(scheme=labelled) == before
    assert Promotion.objects.count() == 2


def test_sigterm_leaves_the_command_interrupted_with_exit_code_1(
    labelled: LabelScheme, tiny_settings: Settings, manage: Manage
) -> None:
    environment = {
        "VAR_DIR": str(tiny_settings.VAR_DIR),
        "MODEL_NAME": tiny_settings.MODEL_NAME,
        "OMP_NUM_THREADS": "1",
    }
    process = manage(
        *("train", "--scheme", "mood", "--json", "--epochs", "2000", "--patience", "0"),
        **environment,
    )
    checkpoints = Path(tiny_settings.VAR_DIR, "training")
    wait_until(lambda: any(checkpoints.glob("run-*/checkpoints/checkpoint-*")), seconds=120)
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    row = json.loads(out)
    assert row["status"] == "interrupted" and 0 < row["progress"] < 0.5
    assert "`train --resume` goes on" in err and "loss" in err
    run = TrainingRun.objects.get()
    assert run.status == "interrupted" and run.options == {
        "arguments": {"epochs": 2000, "patience": 0}
    }
    runs.discard(run)
    assert not runs.folder_of(run).exists()


def test_a_worker_that_is_asked_to_end_gives_the_run_back_to_the_queue(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    run = train.request_training(labelled)
    tasks.stop_training()
    try:
        with pytest.raises(Reject) as raised:
            tasks.train(run.pk)
    finally:
        runs._stopping.value = False
    assert raised.value.requeue
    run.refresh_from_db()
    assert run.status == "interrupted"


def test_a_run_stops_while_its_teacher_reads(
    labelled: LabelScheme, tiny_settings: Settings, tiny_model: Path
) -> None:
    run = train.request_training(labelled, options={"teacher": str(tiny_model)})
    run = train.execute(run.pk, should_stop=lambda: True)
    assert run.status == "interrupted"
    # Not at the first step of the training, which a big teacher may be an hour away from.
    assert run.message.startswith("the teacher has judged") and run.loss is None


def test_a_registry_that_is_away_interrupts_the_run_until_it_has_failed_too_often(
    labelled: LabelScheme, tiny_settings: Settings, tmp_path: Path
) -> None:
    tiny_settings.NUM_EPOCHS = 1
    there = tiny_settings.MLFLOW_TRACKING_URI
    tiny_settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    run = train.request_training(labelled)
    with pytest.raises(RegistryError):
        train.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "interrupted" and "RegistryError" in run.error
    weights = sha256(runs.folder_of(run) / "model" / "model.safetensors")
    tiny_settings.MLFLOW_TRACKING_URI = there
    run = train.execute(run.pk)
    assert run.status == "succeeded" and run.error == "" and run.version is not None
    # Nothing was learned again.
    assert run.version.artifact_digests["model.safetensors"] == weights


def test_orderly_stops_are_no_failures(labelled: LabelScheme, tiny_settings: Settings) -> None:
    run = train.request_training(labelled)
    for _ in range(3):
        run = train.execute(run.pk, should_stop=after(3))
        assert run.status == "interrupted"
    long_ago = timezone.now() - timedelta(minutes=3)
    for failures in (1, 2):
        assert runs.take(run.pk) is not None
        TrainingRun.objects.update(heartbeat_at=long_ago)
        assert runs.recover_interrupted(labelled) == run
        run.refresh_from_db()
        assert (run.status, run.failures) == ("interrupted", failures)
    assert runs.take(run.pk) is not None
    TrainingRun.objects.update(heartbeat_at=long_ago)
    assert runs.recover_interrupted(labelled) is None
    run.refresh_from_db()
    assert run.status == "failed" and "it failed 3 times" in run.error and run.attempts == 6


def test_who_was_silent_too_long_leaves_the_run_to_the_one_that_took_it(
    labelled: LabelScheme, tiny_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    run = train.request_training(labelled)

    def taken_by_another() -> bool:
        TrainingRun.objects.filter(pk=run.pk).update(worker="elsewhere:7", attempts=2)
        runs.SAVE_PROGRESS_SECONDS = 0.0
        return False

    before = runs.SAVE_PROGRESS_SECONDS
    try:
        ended = train.execute(run.pk, should_stop=taken_by_another)
    finally:
        runs.SAVE_PROGRESS_SECONDS = before
    assert "carried out by another process" in caplog.text
    assert (ended.status, ended.worker, ended.error) == ("running", "elsewhere:7", "")
    assert not ModelVersion.objects.filter(scheme=labelled).exists()


def test_a_run_of_a_process_that_lives_is_left_alone(own_scheme: LabelScheme) -> None:
    run = runs.take(train.request_training(own_scheme).pk)
    assert run is not None and runs.recover_interrupted(own_scheme) is None
    TrainingRun.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=3))
    assert runs.recover_interrupted(own_scheme) == run


def test_what_ended_runs_left_behind_is_pruned(own_scheme: LabelScheme) -> None:
    ended = TrainingRun.objects.create(scheme=own_scheme, status="failed")
    leftover = runs.folder_of(ended)
    (leftover / "checkpoints").mkdir(parents=True)
    run = runs.take(train.request_training(own_scheme).pk)
    assert run is not None and not leftover.exists()


def test_the_command_says_how_to_deal_with_a_run_that_was_cut_short(
    own_scheme: LabelScheme,
) -> None:
    with pytest.raises(CommandError, match="was cut short") as raised:
        call_command("train", "--scheme", "mood", "--resume")
    assert raised.value.returncode == 2
    run = TrainingRun.objects.create(scheme=own_scheme, status="interrupted", progress=0.4)
    with pytest.raises(CommandError, match="cut short at 40%: --resume goes on") as raised:
        call_command("train", "--scheme", "mood")
    assert raised.value.returncode == 1
    with pytest.raises(CommandError, match="leave out arguments, epochs") as raised:
        call_command("train", "--scheme", "mood", "--resume", "--epochs", "9")
    with pytest.raises(CommandError, match="too few"):
        call_command("train", "--scheme", "mood", "--discard", stdout=StringIO())
    run.refresh_from_db()
    assert run.status == "failed" and run.error == "given up"
