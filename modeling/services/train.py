"""Training: gather, fine-tune, judge, register, gate, promote."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from modeling import registry
from modeling.exceptions import ChampionDamaged, GateRefused, RegistryError, TrainingInProgress
from modeling.ml.arguments import (
    TrainingArguments,
    TrainingError,
    TrainingInterrupted,
    TrainingOutcome,
    Watch,
)
from modeling.ml.checkpoints import Checkpoints
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.ml.export import export_onnx, export_openvino
from modeling.ml.slices import slices
from modeling.ml.training import fine_tune
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import documents, gate, label_files, provenance, runs, teach
from modeling.services.dataset import Dataset, gather
from modeling.services.drift_reference import make_reference
from modeling.services.promote import promote

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

# Shares of the whole that the phases take, as measured on two cores.
FINE_TUNING_SHARE = 0.9


def request_training(
    scheme: LabelScheme,
    *,
    by: User | None = None,
    is_automatic: bool = False,
    triggers: Mapping[str, Any] | None = None,
    reason: str = "",
    options: Mapping[str, Any] | None = None,
) -> TrainingRun:
    """Queue a run; the caller starts `execute` on it. Raises TrainingInProgress.

    `options` may name a `data` file (with `text_column`, `label_column`), a `teacher` and training
    `arguments` that win over the environment's.
    """
    try:
        with transaction.atomic():
            return TrainingRun.objects.create(
                scheme=scheme,
                requested_by=by,
                is_automatic=is_automatic,
                triggers=dict(triggers or {}),
                reason=reason,
                options=dict(options or {}),
            )
    except IntegrityError as error:
        raise TrainingInProgress(
            f"a training of {scheme.key!r} is queued or running already: wait for it to end"
        ) from error


def execute(
    run_id: int,
    *,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = runs.stopping,
) -> TrainingRun:
    """Carry a queued or interrupted run out and return it. Safe to call twice: only one call
    takes it.

    Progress goes to the run's row and to `progress`. Once `should_stop` says so, the run is left
    interrupted, with its checkpoint. A failure is noted on the row and raised; a registry that is
    away interrupts the run, so that nothing needs to be learned again.
    """
    run = runs.take(run_id)
    if run is None:
        return TrainingRun.objects.select_related("scheme", "version").get(pk=run_id)
    report = runs.Reporter(run, progress)
    try:
        with runs.heartbeat(run):
            version = run.version or _train(run, report, should_stop)
            _judge_and_promote(run, version)
    except runs.RunLost as error:
        logger.warning("%s", error)
        run.refresh_from_db()
    except TrainingInterrupted:
        report.flush()
        runs.interrupt(run)
    except (KeyboardInterrupt, SystemExit):
        runs.interrupt(run)
        raise
    except BaseException as error:
        message = f"{type(error).__name__}: {error}"
        is_passing = isinstance(error, RegistryError)
        if not (is_passing and runs.interrupt_failed(run, message)):
            runs.end(run, TrainingRun.Status.FAILED, error=message)
        raise
    return run


def arguments_from_settings() -> TrainingArguments:
    """Training arguments as the environment sets them."""
    return TrainingArguments(
        base_model=settings.MODEL_NAME,
        max_length=settings.MAX_LENGTH,
        batch_size=settings.BATCH_SIZE,
        learning_rate=settings.LEARNING_RATE,
        epochs=settings.NUM_EPOCHS,
        gradient_accumulation_steps=settings.GRADIENT_ACCUMULATION_STEPS,
    )


def check_arguments(asked: Mapping[str, Any]) -> TrainingArguments:
    """The environment's arguments with `asked` over them. Raises TrainingError for bad ones."""
    try:
        return replace(arguments_from_settings(), **asked)
    except TypeError as error:
        raise TrainingError(f"these are no training arguments: {error}") from error


def dataset_of(run: TrainingRun) -> Dataset:
    """The labels as they were when the run began, however often it went on since, and those of
    the file that it names. Raises LabelFileError, NotEnoughData."""
    rows = []
    if path := run.options.get("data"):
        labels = list(run.scheme.categories.values_list("key", flat=True))
        columns = run.options.get("text_column", "text"), run.options.get("label_column", "label")
        folder, host = runs.folder_of(run) / "data", run.options.get("data_host", "")
        copy = label_files.keep(Path(path), folder, host)
        rows = label_files.read(copy, *columns, labels, shown=Path(path))
    return gather(run.scheme, as_of=run.started_at, rows=rows)


def _train(
    run: TrainingRun, report: runs.Reporter, should_stop: Callable[[], bool]
) -> ModelVersion:
    report.phase(0.0, "gathering labelled posts")
    dataset = dataset_of(run)
    arguments = check_arguments(run.options.get("arguments", {}))
    folder = runs.folder_of(run)
    report.phase(0.0, f"training on {dataset.describe()}")
    soft_labels = None

    def while_the_teacher_reads(message: str) -> None:
        report(0.0, message)
        if should_stop():
            raise TrainingInterrupted("stopped while the teacher read")

    if teacher := run.options.get("teacher"):
        report.phase(0.0, f"asking the teacher {teacher}")
        soft_labels = teach.soft_labels(run, dataset, while_the_teacher_reads)
    trained = folder / "model"
    outcome = fine_tune(
        dataset.train,
        dataset.validation,
        dataset.labels,
        arguments,
        trained,
        lambda share, message: report(share * FINE_TUNING_SHARE, message),
        soft_labels=soft_labels,
        saved=Checkpoints(folder / "checkpoints"),
        watch=Watch(report.on_loss, report.on_epoch, should_stop),
    )
    report.phase(FINE_TUNING_SHARE, "exporting to ONNX")
    export_onnx(trained)
    if settings.INFERENCE_BACKEND == "openvino-int8":
        export_openvino(trained, dataset.train.texts)
    report.phase(0.95, "judging on the test set")
    classifier = SentimentClassifier(trained, settings.INFERENCE_BACKEND)
    judged = _judge(classifier, dataset)
    report.phase(0.96, "making the reference that drift is measured against")
    learned = soft_labels.texts if soft_labels else ()
    picture = make_reference(run, dataset, trained, classifier, learned)
    if should_stop():
        raise TrainingInterrupted("stopped before it was registered")
    report.phase(0.97, "registering")
    parameters = documents.parameters(dataset, arguments, outcome, soft_labels)
    version = _register(run, dataset, parameters, outcome, judged, picture, trained)
    report.phase(1.0, f"registered version {version.version}")
    return version


def _judge(classifier: SentimentClassifier, dataset: Dataset) -> Evaluation:
    """Figures on the test set of what will serve."""
    return evaluate(
        dataset.test.labels,
        classifier.predict_proba(dataset.test.texts),
        dataset.labels,
        slices(dataset.test.texts, dataset.meta),
    )


def _register(
    run: TrainingRun,
    dataset: Dataset,
    parameters: dict[str, Any],
    outcome: TrainingOutcome,
    judged: Evaluation,
    picture: dict[str, Any],
    folder: Path,
) -> ModelVersion:
    documents.write_card(folder, run, dataset, outcome, judged, parameters)
    with tempfile.TemporaryDirectory() as temporary:
        reports = Path(temporary)
        classifier = SentimentClassifier(folder, settings.INFERENCE_BACKEND)
        probabilities = classifier.predict_proba(dataset.test.texts)
        documents.write_reports(reports, dataset, judged, probabilities)
        registered = registry.register(
            folder,
            scheme_key=run.scheme.key,
            parameters=parameters,
            metrics=documents.figures("test", judged),
            history=documents.by_epoch(outcome),
            reports=reports,
            data=documents.data_note(run, dataset),
            training_run=run.pk,
        )
        documents.track(run, registered.version, outcome, judged, parameters, reports)
    version = ModelVersion(
        scheme=run.scheme,
        version=registered.version,
        run_id=registered.run_id,
        base_model=outcome.settings.base_model,
        metrics={
            "test": judged.as_dict(),
            "validation": outcome.validation.as_dict() if outcome.validation else {},
            "calibration": documents.calibration_bins(dataset, probabilities),
        },
        parameters=parameters,
        reference=picture,
        temperature=outcome.settings.temperature,
        dataset_digest=dataset.digest,
        train_size=len(dataset.train),
        validation_size=len(dataset.validation),
        test_size=len(dataset.test),
        artifact_uri=registered.artifact_uri,
        artifact_digests=dict(registered.digests),
    )
    with transaction.atomic():
        version.save()
        provenance.record(version, dataset.posts)
        run.version, run.parameters = version, parameters
        run.save(update_fields=["version", "parameters"])
    return version


def _judge_and_promote(run: TrainingRun, version: ModelVersion) -> None:
    """Hold the candidate against the champion; promote it when that is wanted."""
    if version.promotions.exists():
        # The process died after its promotion, and what serves now may be a person's choice.
        run.gate = version.gate
        runs.end(run, TrainingRun.Status.SUCCEEDED)
        return
    champion = ModelVersion.objects.champions().filter(scheme=run.scheme).first()
    try:
        verdict = gate.judge_version(version, champion, dataset_of(run))
    except ChampionDamaged as error:
        # The version is whole and stays: a person may promote it over the damaged one.
        run.gate = {
            **{"passed": False, "reason": str(error), "test_size": 0},
            "champion": None if champion is None else champion.version,
        }
        runs.end(run, TrainingRun.Status.REJECTED)
        return
    run.gate = verdict.as_dict()
    if not verdict.passed:
        runs.end(run, TrainingRun.Status.REJECTED)
        return
    if champion is None or settings.AUTO_PROMOTE:
        try:
            promote(
                version,
                by=run.requested_by,
                actor=f"training run {run.pk}",
                reason=f"training run {run.pk}: {verdict.reason}",
            )
        except GateRefused:
            # Another version was promoted meanwhile, and against that one it does not hold.
            run.gate = version.gate
            runs.end(run, TrainingRun.Status.REJECTED)
            return
    runs.end(run, TrainingRun.Status.SUCCEEDED)
