"""Trainings and quality reports as rows that templates can show; no queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from dashboard import languages
from dashboard.model_pages import words as told
from dashboard.model_pages.tables import number
from modeling.models import QualityReport, TrainingRun
from modeling.services import truth
from modeling.words import statistic_name

TRIGGERS = {
    "labels": (_("New labels"), _("posts labelled since the last training")),
    "age_hours": (_("Age"), _("hours since the last training")),
    "mean_confidence": (_("Confidence"), _("mean of the champion's newest predictions")),
    "drift": (_("Drift"), _("largest PSI of the newest quality report")),
}
# Of these the trigger fires below its threshold.
FALLING = {"mean_confidence"}
KINDS = {"psi": "PSI", "mmd": "MMD", "auc": "AUC"}
VERDICTS = {
    "ok": _("The posts resemble the version's reference."),
    "drift": _("The posts differ from the version's reference."),
    "too_few": _("Too few different posts to tell."),
    "no_reference": _("The version has no reference to hold posts against."),
}
ALIKE, DRIFT = pgettext_lazy("report", "alike"), pgettext_lazy("report", "drift")
# State, and what it is called.
OUTCOMES = {"ok": ("passed", ALIKE), "drift": ("failed", DRIFT)}
UNJUDGED = ("unknown", pgettext_lazy("report", "not judged"))


@dataclass(frozen=True)
class TriggerRow:
    """One reason to train, with its value and from where on it counts."""

    name: str
    hint: str
    value: str
    threshold: str
    has_fired: bool
    # It would, but there is too little that no training knows.
    is_held_back: bool
    note: str


def triggers(stored: Mapping[str, Mapping[str, Any]]) -> list[TriggerRow]:
    """Each trigger in words; those of an older kind keep their names."""
    return [_trigger(name, entry) for name, entry in stored.items()]


def _trigger(name: str, entry: Mapping[str, Any]) -> TriggerRow:
    words, hint = TRIGGERS.get(name, (name.replace("_", " "), ""))
    limit = gettext("below %(threshold)s") if name in FALLING else gettext("from %(threshold)s")
    return TriggerRow(
        str(words),
        _hint(entry, name, str(hint)),
        value=number(entry.get("value")),
        threshold=limit % {"threshold": number(entry.get("threshold"))},
        has_fired=bool(entry.get("fired")),
        is_held_back=bool(entry.get("held_back")),
        note=_note(entry),
    )


def _hint(entry: Mapping[str, Any], name: str, usual: str) -> str:
    """What the value is of; records of old do not tell, and knew but one thing."""
    statistic = entry.get("statistic") or name
    if statistic == name:
        return usual
    if statistic == "estimated_accuracy":
        return gettext("Estimated accuracy, without labels")
    return f"{KINDS.get(entry.get('kind', ''), '')}: {statistic_name(statistic)}"


def _note(entry: Mapping[str, Any]) -> str:
    if entry.get("drifted"):
        moved = ", ".join(statistic_name(name) for name in entry["drifted"])
        return gettext("moved: %(statistics)s") % {"statistics": moved}
    accuracy = entry.get("estimated_accuracy")
    if accuracy is not None and entry.get("statistic") != "estimated_accuracy":
        return gettext("estimated accuracy %(accuracy)s, fires below %(threshold)s") % {
            "accuracy": number(accuracy),
            "threshold": number(entry.get("accuracy_threshold")),
        }
    if posts := entry.get("unlabelled_posts"):
        said = ngettext(
            "%(posts)s post waits for a label", "%(posts)s posts wait for a label", posts
        )
        return said % {"posts": languages.number(posts)}
    return ""


@dataclass(frozen=True)
class DriftRow:
    """One comparison of a report. `before` and `now` are means, empty where there are none;
    `reach` is the value over its threshold."""

    name: str
    kind: str
    value: float
    threshold: float
    before: str
    now: str
    is_drift: bool

    @property
    def reach(self) -> float:
        return self.value / self.threshold if self.threshold else 0.0


def drift(report: QualityReport) -> list[DriftRow]:
    """Every statistic, those that moved most first."""
    rows = [_drift_row(name, entry, report.summary) for name, entry in report.statistics.items()]
    return sorted(rows, key=lambda row: (not row.is_drift, -row.reach))


def _drift_row(name: str, entry: Mapping[str, Any], summary: Mapping[str, Any]) -> DriftRow:
    kind = next((kind for kind in KINDS if kind in entry), "psi")
    before, now = entry.get("reference_mean"), entry.get("window_mean")
    if name == "confidence" and before is None:
        before = (summary.get("reference") or {}).get("mean_confidence")
        now = summary.get("mean_confidence")
    return DriftRow(
        statistic_name(name),
        KINDS[kind],
        float(entry.get(kind, 0.0)),
        float(entry.get("threshold", 0.0)),
        "" if before is None else number(float(before)),
        "" if now is None else number(float(now)),
        entry.get("verdict") == "drift",
    )


@dataclass(frozen=True)
class LabelRow:
    """A category's share: in the reference, and in the window."""

    key: str
    name: str
    before: float | None
    now: float


def labels(report: QualityReport, names: Mapping[str, str]) -> list[LabelRow]:
    """Which labels moved, in the scheme's order."""
    known = (report.summary.get("reference") or {}).get("labels") or {}
    total = sum(known.values())
    shares = report.summary.get("category_shares") or {}
    keys = [key for key in names if key in known or key in shares]
    return [
        LabelRow(
            key,
            names[key],
            known.get(key, 0) / total if total else None,
            float(shares.get(key, 0.0)),
        )
        for key in keys
    ]


@dataclass(frozen=True)
class ReportStory:
    """A report in one sentence. `state` is passed, failed or unknown."""

    state: str
    verdict: str
    words: str
    moved: str


def report(row: QualityReport) -> ReportStory:
    verdict = str(row.summary.get("verdict", "no_reference"))
    moved = [statistic.name for statistic in drift(row) if statistic.is_drift]
    state, outcome = OUTCOMES.get(verdict, UNJUDGED)
    return ReportStory(
        state=state,
        verdict=str(outcome),
        words=str(VERDICTS.get(verdict, verdict)),
        moved=", ".join(moved),
    )


@dataclass(frozen=True)
class AccuracyStory:
    """Accuracy as it is guessed without labels, and as labels tell it later; all are shares.
    `reason` is English, as it was stored. Labelled posts that are not of a random draw were chosen,
    mostly for being hard."""

    estimated: float | None
    low: float | None
    high: float | None
    is_trusted: bool
    reason: str
    true: float | None
    true_low: float | None
    true_high: float | None
    labelled: int
    expected: float | None
    is_random: bool


def accuracy(row: QualityReport) -> AccuracyStory:
    told = row.accuracy
    return AccuracyStory(
        told.get("estimated"),
        told.get("low"),
        told.get("high"),
        bool(told.get("is_trusted")),
        str(told.get("reason", "")),
        told.get("true"),
        told.get("true_low"),
        told.get("true_high"),
        int(told.get("labelled", 0)),
        told.get("estimated_on_labelled"),
        told.get("drawn") == truth.RANDOM,
    )


STATES = {
    TrainingRun.Status.SUCCEEDED: "passed",
    TrainingRun.Status.REJECTED: "failed",
    TrainingRun.Status.FAILED: "failed",
}


def run_state(run: TrainingRun) -> str:
    """passed, failed, or unknown while it goes on."""
    return STATES.get(TrainingRun.Status(run.status), "unknown")


def asker(run: TrainingRun) -> str:
    """Who or what wanted the training."""
    if run.requested_by is not None:
        return str(run.requested_by.get_username())
    return gettext("the retraining check") if run.is_automatic else gettext("a command")


def teacher(run: TrainingRun | None) -> str:
    """What a training learned from beside labels; empty for nothing."""
    named = run.options.get("teacher") if run is not None else None
    if not named:
        return ""
    return told.version_name(named) if str(named).isdecimal() else str(named)


def lineage(run: TrainingRun | None) -> Iterator[tuple[str, str]]:
    """What a training was given, as (name, value)."""
    if run is None:
        return
    yield gettext("Asked for by"), asker(run)
    if run.reason:
        yield gettext("Because"), told.english(run.reason)
    if named := teacher(run):
        yield gettext("Teacher"), named
    if data := run.options.get("data"):
        yield gettext("File"), str(data)


def progress(run: TrainingRun) -> dict[str, Any]:
    """How a run fares, as its page follows it; `message` and `error` are English."""
    return {
        "run": run.pk,
        "status": run.status,
        "words": str(told.STATUSES[TrainingRun.Status(run.status)]),
        "is_active": run.is_active,
        "progress": round(run.progress, 4),
        "message": run.message,
        "loss": None if run.loss is None else round(run.loss, 4),
        "seconds_left": None if run.seconds_left is None else round(run.seconds_left),
        "epochs": len(run.history),
        "curve": run.losses[-1][0] if run.losses else 0,
        "error": run.error,
    }
