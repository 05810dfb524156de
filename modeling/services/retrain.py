"""Deciding whether to retrain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Avg, Exists, OuterRef
from django.utils import timezone

from ingestion.models import Post
from modeling.exceptions import TrainingInProgress
from modeling.models import (
    Annotation,
    LabelScheme,
    ModelVersion,
    Prediction,
    QualityReport,
    TrainingRun,
)
from modeling.services import runs
from modeling.services.train import request_training

# After a failed or rejected run the check waits: the same data would give the same end.
COOL_DOWN = timedelta(hours=6)
CONFIDENCE_WINDOW = 1000
# More unlabelled posts than this are told as this many: the count stays cheap.
MOST_COUNTED = 10_000
# What a run was asked for that its successors are asked for, too.
CARRIED = ("data", "data_host", "text_column", "label_column", "teacher", "arguments")
# In self-training the champion's opinion counts for less than people's: they correct it.
SELF_TRAINING_WEIGHT = 0.3


@dataclass(frozen=True)
class Decision:
    """The outcome of a check. `run` is the active or new run, if there is one.

    `status` is queued, running or not_needed; `triggers` maps each trigger to its value,
    threshold and whether it fired.
    """

    status: str
    triggers: dict[str, dict[str, Any]]
    run: TrainingRun | None = None
    is_new: bool = False
    reason: str = ""


def check(scheme: LabelScheme, *, force: bool = False, by: User | None = None) -> Decision:
    """Queue a training when a trigger fires or `force` is set; the caller starts a new run.

    At most one run of a scheme is active; asking during one returns that one. One that was cut
    short, or that no worker has heard of, goes on before anything new is asked for: it counts as
    new, for the caller to start. Starting a run twice is harmless.
    """
    triggers = evaluate_triggers(scheme)
    if (waiting := runs.recover_interrupted(scheme)) is not None:
        if runs.waits_in_vain(waiting):
            runs.tell_of_waiting(waiting)
        reason = f"run {waiting.pk} was cut short at {waiting.progress:.0%} and goes on"
        return Decision(TrainingRun.Status.QUEUED, triggers, waiting, is_new=True, reason=reason)
    if (active := _active(scheme)) is not None:
        return _during(active, triggers)
    fired = [name for name, trigger in triggers.items() if trigger["fired"]]
    if not force and not fired:
        return Decision("not_needed", triggers, reason="no trigger fired")
    if not force and (until := _cooling_down(scheme)) is not None:
        return Decision(
            "not_needed", triggers, reason=f"the last run failed; waiting until {until:%H:%M} UTC"
        )
    reason = f"triggered by {', '.join(fired)}" if fired else "forced"
    try:
        run = request_training(
            scheme,
            by=by,
            is_automatic=by is None and not force,
            triggers=triggers,
            reason=reason,
            options=_options(scheme),
        )
    except TrainingInProgress:
        # Another check was faster by a moment.
        if (active := _active(scheme)) is None:
            raise
        return _during(active, triggers)
    return Decision(run.status, triggers, run, is_new=True, reason=reason)


def _options(scheme: LabelScheme) -> dict[str, Any]:
    """What the champion's own training was asked for. With `SELF_TRAINING` the champion teaches
    its successor on posts without a label."""
    champion = _champion(scheme)
    if champion is None:
        return {}
    asked = scheme.runs.filter(version=champion).values_list("options", flat=True).first() or {}
    options = {name: asked[name] for name in CARRIED if name in asked}
    arguments = dict(options.pop("arguments", {}))
    if arguments.pop("distillation_weight", None) is not None:
        # It was self-training that named the teacher, which is one champion behind by now.
        options.pop("teacher", None)
    known = set(champion.reference.get("labels", ()))
    if settings.SELF_TRAINING and known == set(scheme.categories.values_list("key", flat=True)):
        options["teacher"] = str(champion.version)
        arguments["distillation_weight"] = SELF_TRAINING_WEIGHT
    return {**options, "arguments": arguments} if arguments else options


def _champion(scheme: LabelScheme) -> ModelVersion | None:
    return ModelVersion.objects.champions().filter(scheme=scheme).first()


def _active(scheme: LabelScheme) -> TrainingRun | None:
    return scheme.runs.filter(status__in=TrainingRun.ACTIVE).first()


def _during(run: TrainingRun, triggers: dict[str, dict[str, Any]]) -> Decision:
    """The active run; for the caller to start when no worker seems to have heard of it."""
    if run.status != TrainingRun.Status.QUEUED:
        return Decision(run.status, triggers, run, reason="a run is active already")
    if runs.waits_in_vain(run):
        runs.tell_of_waiting(run)
        reason = f"run {run.pk} was not taken by a worker and is handed over again"
    elif run.error:
        reason = f"run {run.pk} could not be handed to a worker before"
    else:
        return Decision(run.status, triggers, run, reason="a run is queued already")
    return Decision(run.status, triggers, run, is_new=True, reason=reason)


def evaluate_triggers(scheme: LabelScheme) -> dict[str, dict[str, Any]]:
    """Each trigger's value, threshold and verdict, now.

    All but the labels' own need something new to learn from: training again on the very same
    posts would only cost time. With `SELF_TRAINING`, new posts without a label are enough.
    """
    champion = ModelVersion.objects.champions().filter(scheme=scheme).first()
    since = _last_success(scheme)
    new_labels = _labels_since(scheme, since)
    unlabelled = _unlabelled_since(scheme, since)
    is_news = bool(new_labels or (settings.SELF_TRAINING and unlabelled))
    report = scheme.reports.filter(model_version=champion).first() if champion else None
    return {
        "labels": {
            **_at_least(new_labels, settings.MIN_SAMPLES_FOR_RETRAIN),
            "unlabelled_posts": unlabelled,
        },
        "age_hours": _if(is_news, _at_least(_hours_since(since), settings.RETRAIN_INTERVAL_HOURS)),
        "mean_confidence": _if(is_news, _confidence(champion, report)),
        "drift": _if(is_news, _drift(report)),
    }


def label_progress(scheme: LabelScheme) -> dict[str, Any]:
    """The labels' own trigger: how many posts were labelled since the last training, of how many
    that one takes, and whether that fired."""
    labels = _labels_since(scheme, _last_success(scheme))
    return _at_least(labels, settings.MIN_SAMPLES_FOR_RETRAIN)


def _last_success(scheme: LabelScheme) -> datetime | None:
    last = scheme.runs.filter(status=TrainingRun.Status.SUCCEEDED).first()
    return last.created_at if last else None


def _labels_since(scheme: LabelScheme, since: datetime | None) -> int:
    labels = Annotation.objects.usable().filter(scheme=scheme)
    return (labels.since(since) if since else labels).values("post").distinct().count()


def _if(is_news: bool, trigger: dict[str, Any]) -> dict[str, Any]:
    return {**trigger, "fired": trigger["fired"] and is_news}


def _unlabelled_since(scheme: LabelScheme, since: datetime | None) -> int:
    """Posts collected since then that nobody has labelled; counted up to a bound."""
    posts = Post.objects.current()
    if since is not None:
        posts = posts.filter(received_at__gt=since)
    labelled = Annotation.objects.current().filter(scheme=scheme, post=OuterRef("pk"))
    return posts.filter(~Exists(labelled))[:MOST_COUNTED].count()


def _confidence(champion: ModelVersion | None, report: QualityReport | None) -> dict[str, Any]:
    """Fires on mean confidence, or on the accuracy that the newest report estimates, where the
    estimate can be trusted."""
    mean = _mean_confidence(champion)
    accuracy = report.accuracy if report else {}
    estimated = accuracy.get("estimated") if accuracy.get("is_trusted") else None
    return {
        "value": mean,
        "threshold": settings.MIN_MEAN_CONFIDENCE,
        "estimated_accuracy": estimated,
        "accuracy_threshold": settings.MIN_ESTIMATED_ACCURACY,
        "fired": (mean is not None and mean < settings.MIN_MEAN_CONFIDENCE)
        or (estimated is not None and estimated < settings.MIN_ESTIMATED_ACCURACY),
    }


def _drift(report: QualityReport | None) -> dict[str, Any]:
    entries = report.statistics if report else {}
    return {
        "value": max((entry["psi"] for entry in entries.values() if "psi" in entry), default=None),
        "threshold": settings.DRIFT_PSI_THRESHOLD,
        "drifted": [name for name, entry in entries.items() if entry.get("verdict") == "drift"],
        "fired": bool(report and report.has_drift),
    }


def _at_least(value: float | None, threshold: float) -> dict[str, Any]:
    return {
        "value": value,
        "threshold": threshold,
        "fired": value is not None and value >= threshold,
    }


def _hours_since(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return round((timezone.now() - moment).total_seconds() / 3600, 2)


def _mean_confidence(champion: ModelVersion | None) -> float | None:
    """Of the champion's newest predictions; None before it has made any."""
    if champion is None:
        return None
    newest = Prediction.objects.serving().filter(model_version=champion).order_by("-id")
    mean = newest[:CONFIDENCE_WINDOW].aggregate(mean=Avg("confidence"))["mean"]
    return None if mean is None else round(mean, 4)


def _cooling_down(scheme: LabelScheme) -> datetime | None:
    last = scheme.runs.exclude(status__in=TrainingRun.ACTIVE).first()
    if last is None or last.finished_at is None:
        return None
    if last.status not in {TrainingRun.Status.FAILED, TrainingRun.Status.REJECTED}:
        return None
    until = last.finished_at + COOL_DOWN
    return until if until > timezone.now() else None
