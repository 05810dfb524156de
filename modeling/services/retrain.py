"""Deciding whether to retrain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Avg, Count, Exists, OuterRef
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
# Labels by which something is worth learning again: of those that start a training, one in so many.
NEWS_SHARE = 10
# Reports come hourly, and one may fail; what an older one tells of may be over.
FRESH = timedelta(hours=3)
CONFIDENCE_WINDOW = 1000
# The mean of fewer predictions says little: of 200 its standard error is 0.015.
CONFIDENCE_SAMPLE = 200
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
    threshold and whether it fired; `reason` says why it is so.
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
    if not force and (objection := _objection(scheme, triggers, fired)):
        return Decision("not_needed", triggers, reason=objection)
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


def _objection(scheme: LabelScheme, triggers: dict[str, dict[str, Any]], fired: list[str]) -> str:
    """Why nothing is trained now; empty when nothing is in the way."""
    if fired:
        return _cooling_down(scheme)
    held = [name for name, trigger in triggers.items() if trigger.get("held_back")]
    if held:
        return f"{', '.join(held)} would fire, but {triggers[held[0]]['held_back']}"
    return "no trigger fired"


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
    posts would only cost time. What that lacks stands in `held_back`.
    """
    champion = _champion(scheme)
    since = _last_training(scheme)
    new_labels = _labels_since(scheme, since)
    unlabelled = _unlabelled_since(scheme, since)
    lack = _lack_of_news(new_labels, unlabelled)
    report = _fresh_report(scheme, champion)
    return {
        "labels": {
            **_at_least(new_labels, settings.MIN_SAMPLES_FOR_RETRAIN),
            "unlabelled_posts": unlabelled,
        },
        "age_hours": _unless(lack, _at_least(_hours_since(since), settings.RETRAIN_INTERVAL_HOURS)),
        "mean_confidence": _unless(lack, _confidence(champion, report)),
        "drift": _unless(lack, _drift(report)),
    }


def label_progress(scheme: LabelScheme) -> dict[str, Any]:
    """The labels' own trigger: how many posts were labelled since the last training, of how many
    that one takes, and whether that fired."""
    labels = _labels_since(scheme, _last_training(scheme))
    return _at_least(labels, settings.MIN_SAMPLES_FOR_RETRAIN)


def _last_training(scheme: LabelScheme) -> datetime | None:
    """When the last run began that reached the gate. What it knew then, another would learn to the
    same end, also where the gate refused it; what came while it ran is new."""
    reached = [TrainingRun.Status.SUCCEEDED, TrainingRun.Status.REJECTED]
    last = scheme.runs.filter(status__in=reached).first()
    return (last.started_at or last.created_at) if last else None


def _labels_since(scheme: LabelScheme, since: datetime | None) -> int:
    labels = Annotation.objects.usable().filter(scheme=scheme)
    return (labels.since(since) if since else labels).values("post").distinct().count()


def _lack_of_news(new_labels: int, unlabelled: int) -> str:
    """What is missing to learn anything new; empty when nothing is."""
    wanted = max(1, settings.MIN_SAMPLES_FOR_RETRAIN // NEWS_SHARE)
    posts = settings.MIN_SAMPLES_FOR_RETRAIN
    if new_labels >= wanted or (settings.SELF_TRAINING and unlabelled >= posts):
        return ""
    unlabelled_too = f", and {unlabelled} of {posts} without a label"
    return (
        f"only {new_labels} of the {wanted} newly labelled posts that it takes came in"
        f"{unlabelled_too if settings.SELF_TRAINING else ''}"
    )


def _unless(lack: str, trigger: dict[str, Any]) -> dict[str, Any]:
    if not (lack and trigger["fired"]):
        return trigger
    return {**trigger, "fired": False, "held_back": lack}


def _unlabelled_since(scheme: LabelScheme, since: datetime | None) -> int:
    """Posts collected since then that nobody has labelled; counted up to a bound."""
    posts = Post.objects.current()
    if since is not None:
        posts = posts.filter(received_at__gt=since)
    labelled = Annotation.objects.current().filter(scheme=scheme, post=OuterRef("pk"))
    most = max(MOST_COUNTED, settings.MIN_SAMPLES_FOR_RETRAIN)
    return posts.filter(~Exists(labelled))[:most].count()


def _fresh_report(scheme: LabelScheme, champion: ModelVersion | None) -> QualityReport | None:
    if champion is None:
        return None
    fresh = scheme.reports.filter(window_end__gte=timezone.now() - FRESH)
    return fresh.filter(model_version=champion).first()


def _named(report: QualityReport | None) -> str:
    if report is None:
        return f"none within {FRESH // timedelta(hours=1)} hours"
    return f"report {report.pk}, until {report.window_end:%Y-%m-%d %H:%M} UTC"


def _confidence(champion: ModelVersion | None, report: QualityReport | None) -> dict[str, Any]:
    """Fires on mean confidence, or on the accuracy that the newest report estimates, where the
    estimate can be trusted. `statistic` names the one that `value` is of: the furthest below."""
    mean, count = _mean_confidence(champion)
    accuracy = report.accuracy if report else {}
    estimated = accuracy.get("estimated") if accuracy.get("is_trusted") else None
    figures = {
        "mean_confidence": (mean, settings.MIN_MEAN_CONFIDENCE),
        "estimated_accuracy": (estimated, settings.MIN_ESTIMATED_ACCURACY),
    }
    below = {
        name: value / threshold
        for name, (value, threshold) in figures.items()
        if value is not None
        and value < threshold
        and (name != "mean_confidence" or count >= CONFIDENCE_SAMPLE)
    }
    shown = min(below, key=lambda name: below[name], default="mean_confidence")
    value, threshold = figures[shown]
    return {
        "value": value,
        "threshold": threshold,
        "statistic": shown,
        "mean_confidence": mean,
        "confidence_threshold": settings.MIN_MEAN_CONFIDENCE,
        "predictions": count,
        "estimated_accuracy": estimated,
        "accuracy_threshold": settings.MIN_ESTIMATED_ACCURACY,
        "report": _named(report),
        "fired": bool(below),
    }


def _drift(report: QualityReport | None) -> dict[str, Any]:
    """Fires on drift in the newest report. `statistic` names the one that went furthest, which
    `value`, its `kind` (psi, mmd, auc) and `threshold` are of."""
    entries = report.statistics if report else {}
    return {
        "value": None,
        "threshold": settings.DRIFT_PSI_THRESHOLD,
        "kind": "psi",
        "statistic": "",
        **_furthest(entries),
        "drifted": [name for name, entry in entries.items() if entry.get("verdict") == "drift"],
        "report": _named(report),
        "fired": bool(report and report.has_drift),
    }


def _furthest(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The statistic with the largest share of its threshold; nothing without statistics."""
    found = [
        {"value": entry[kind], "threshold": entry["threshold"], "kind": kind, "statistic": name}
        for name, entry in entries.items()
        for kind in ("psi", "mmd", "auc")
        if kind in entry and entry.get("threshold")
    ]
    return max(found, key=lambda one: one["value"] / one["threshold"], default={})


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


def _mean_confidence(champion: ModelVersion | None) -> tuple[float | None, int]:
    """Of the champion's newest predictions, and of how many; None before it has made any."""
    if champion is None:
        return None, 0
    newest = Prediction.objects.serving().filter(model_version=champion).order_by("-id")
    told = newest[:CONFIDENCE_WINDOW].aggregate(mean=Avg("confidence"), count=Count("id"))
    return None if told["mean"] is None else round(told["mean"], 4), told["count"]


def _cooling_down(scheme: LabelScheme) -> str:
    """Until when the check waits after a run that failed or was rejected; empty once it is over."""
    last = scheme.runs.exclude(status__in=TrainingRun.ACTIVE).first()
    if last is None or last.finished_at is None:
        return ""
    ends = {
        TrainingRun.Status.FAILED: "failed",
        TrainingRun.Status.REJECTED: "was rejected by the gate",
    }
    end, until = ends.get(TrainingRun.Status(last.status)), last.finished_at + COOL_DOWN
    if end is None or until <= timezone.now():
        return ""
    return f"run {last.pk} {end}: the check waits until {until:%Y-%m-%d %H:%M} UTC"
