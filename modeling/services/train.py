"""Training: gather, fine-tune, judge, register, gate, promote."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from modeling import metrics, registry, serving
from modeling.exceptions import TrainingInProgress
from modeling.ml import artifact, reference
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.ml.export import export_onnx
from modeling.ml.training import TrainingArguments, TrainingOutcome, fine_tune
from modeling.models import LabelScheme, ModelVersion, TrainingRun
from modeling.services import gate, provenance
from modeling.services.dataset import Dataset, gather
from modeling.services.promote import promote

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

# Shares of the whole that the phases take, as measured on two cores.
FINE_TUNING_SHARE = 0.9
SAVE_PROGRESS_SECONDS = 1.0


def request_training(
    scheme: LabelScheme,
    *,
    by: User | None = None,
    is_automatic: bool = False,
    triggers: Mapping[str, Any] | None = None,
    reason: str = "",
) -> TrainingRun:
    """Queue a run; the caller starts `execute` on it. Raises TrainingInProgress."""
    try:
        with transaction.atomic():
            return TrainingRun.objects.create(
                scheme=scheme,
                requested_by=by,
                is_automatic=is_automatic,
                triggers=dict(triggers or {}),
                reason=reason,
            )
    except IntegrityError as error:
        raise TrainingInProgress(
            f"a training of {scheme.key!r} is queued or running already: wait for it to end"
        ) from error


def execute(run_id: int, *, progress: Progress | None = None) -> TrainingRun:
    """Carry a queued run out and return it, ended. Safe to call twice: only one call takes it.

    Progress goes to the run's row and to `progress`. A failure is noted on the row and raised.
    """
    now = timezone.now()
    taken = TrainingRun.objects.filter(pk=run_id, status=TrainingRun.Status.QUEUED).update(
        status=TrainingRun.Status.RUNNING, started_at=now, heartbeat_at=now
    )
    run = TrainingRun.objects.select_related("scheme").get(pk=run_id)
    if not taken:
        return run
    try:
        version = _train(run, _Reporter(run, progress))
        _judge_and_promote(run, version)
    except BaseException as error:
        _finish(run, TrainingRun.Status.FAILED, error=f"{type(error).__name__}: {error}")
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


def _train(run: TrainingRun, report: _Reporter) -> ModelVersion:
    report(0.0, "gathering labelled posts")
    dataset = gather(run.scheme)
    arguments = arguments_from_settings()
    with tempfile.TemporaryDirectory(dir=settings.VAR_DIR, prefix="training-") as temporary:
        folder = Path(temporary)
        outcome = fine_tune(
            dataset.train,
            dataset.validation,
            dataset.labels,
            arguments,
            folder,
            lambda share, message: report(share * FINE_TUNING_SHARE, message),
        )
        report(FINE_TUNING_SHARE, "exporting to ONNX")
        export_onnx(folder)
        report(0.95, "judging on the test set")
        judged, picture = _judge(folder, dataset)
        report(0.97, "registering")
        version = _register(run, dataset, arguments, outcome, judged, picture, folder)
    report(1.0, f"registered version {version.version}")
    return version


def _judge(folder: Path, dataset: Dataset) -> tuple[Evaluation, dict[str, Any]]:
    """Figures on the test set of what will serve, and the reference for drift."""
    classifier = SentimentClassifier(folder, settings.INFERENCE_BACKEND)
    probabilities = classifier.predict_proba(dataset.test.texts)
    judged = evaluate(dataset.test.labels, probabilities, dataset.labels)
    texts = [*dataset.validation.texts, *dataset.test.texts]
    # Posts that the model has not seen in training: its confidence there is that of live posts.
    picture = reference.build(texts, classifier.predict_proba(texts), dataset.labels)
    return judged, picture


def _register(
    run: TrainingRun,
    dataset: Dataset,
    arguments: TrainingArguments,
    outcome: TrainingOutcome,
    judged: Evaluation,
    picture: dict[str, Any],
    folder: Path,
) -> ModelVersion:
    parameters = {
        **vars(arguments),
        "base_model": outcome.settings.base_model,
        "dataset_digest": dataset.digest,
        "train_size": len(dataset.train),
    }
    registered = registry.register(
        folder,
        scheme_key=run.scheme.key,
        parameters=parameters,
        metrics=_figures("test", judged),
        history=[
            {"loss": epoch.loss, **_figures("validation", epoch.validation)}
            for epoch in outcome.history
        ],
    )
    version = ModelVersion(
        scheme=run.scheme,
        version=registered.version,
        run_id=registered.run_id,
        base_model=outcome.settings.base_model,
        metrics={
            "test": judged.as_dict(),
            "validation": outcome.validation.as_dict() if outcome.validation else {},
        },
        parameters=parameters,
        reference=picture,
        temperature=outcome.settings.temperature,
        dataset_digest=dataset.digest,
        train_size=len(dataset.train),
        validation_size=len(dataset.validation),
        test_size=len(dataset.test),
        artifact_uri=registered.artifact_uri,
        artifact_digests=artifact.digests(folder),
    )
    with transaction.atomic():
        version.save()
        provenance.record(version, dataset.posts)
        run.version, run.parameters = version, parameters
        run.save(update_fields=["version", "parameters"])
    return version


def _figures(prefix: str, judged: Evaluation) -> dict[str, float]:
    return {
        f"{prefix}_{name}": getattr(judged, name)
        for name in ("accuracy", "macro_f1", "macro_recall", "ece")
    }


def _judge_and_promote(run: TrainingRun, version: ModelVersion) -> None:
    """Hold the candidate against the champion; promote it when that is wanted."""
    champion = ModelVersion.objects.champions().filter(scheme=run.scheme).first()
    dataset = gather(run.scheme)
    verdict = gate.judge(
        dataset, serving.load(version), None if champion is None else serving.load(champion)
    )
    run.gate = verdict.as_dict()
    if not verdict.passed:
        _finish(run, TrainingRun.Status.REJECTED)
        return
    if champion is None or settings.AUTO_PROMOTE:
        promote(version, by=run.requested_by, reason=f"training run {run.pk}: {verdict.reason}")
    _finish(run, TrainingRun.Status.SUCCEEDED)


def _finish(run: TrainingRun, status: TrainingRun.Status, *, error: str = "") -> None:
    run.status, run.error, run.finished_at = status, error, timezone.now()
    if not error:
        run.progress = 1.0
    run.save(update_fields=["status", "error", "finished_at", "progress", "gate"])
    metrics.RETRAINING_RUNS.labels(status).inc()
    logger.info("training run %s ended: %s", run.pk, status)


class _Reporter:
    """Writes progress to the run's row, at most once a second, and to whoever watches."""

    def __init__(self, run: TrainingRun, watcher: Progress | None) -> None:
        self._run = run
        self._watcher = watcher
        self._saved_at = float("-inf")

    def __call__(self, share: float, message: str) -> None:
        if self._watcher is not None:
            self._watcher(share, message)
        if time.monotonic() - self._saved_at < SAVE_PROGRESS_SECONDS and share < 1:
            return
        self._saved_at = time.monotonic()
        self._run.progress, self._run.message = share, message
        self._run.heartbeat_at = timezone.now()
        self._run.save(update_fields=["progress", "message", "heartbeat_at"])
