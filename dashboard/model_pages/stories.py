"""Trainings and quality reports as rows that templates can show; no queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.model_pages.tables import number
from modeling.models import QualityReport, TrainingRun

TRIGGERS = {
    "labels": ("New labels", "posts labelled since the last training"),
    "age_hours": ("Age", "hours since the last training"),
    "mean_confidence": ("Confidence", "mean of the champion's newest predictions"),
    "drift": ("Drift", "largest PSI of the newest quality report"),
}
# Of these the trigger fires below its threshold.
FALLING = {"mean_confidence"}
STATISTICS = {
    "characters": "Length in characters",
    "words": "Words",
    "upper_share": "Share of capitals",
    "exclamations": "Exclamation marks",
    "questions": "Question marks",
    "emoji": "Emoji",
    "emoji_polarity": "Mood of emoji",
    "hashtags": "Hashtags",
    "mentions": "Mentions",
    "links": "Links",
    "elongations": "Stretched words",
    "negations": "Negations",
    "lexicon_score": "Mood by dictionary",
    "confidence": "Confidence",
    "labels": "Labels given",
    "embedding": "Meaning (embedding)",
    "domain_classifier": "All together (classifier)",
}
KINDS = {"psi": "PSI", "mmd": "MMD", "auc": "AUC"}
VERDICTS = {
    "ok": "The posts resemble those that the model was trained on.",
    "drift": "The posts differ from those that the model was trained on.",
    "too_few": "Too few different posts to tell.",
    "no_reference": "The version has no reference to hold posts against.",
}


@dataclass(frozen=True)
class TriggerRow:
    """One reason to train, with its value and from where on it counts."""

    name: str
    hint: str
    value: str
    threshold: str
    has_fired: bool
    note: str


def triggers(stored: Mapping[str, Mapping[str, Any]]) -> list[TriggerRow]:
    """Each trigger in words; those of an older kind keep their names."""
    return [
        TriggerRow(
            *TRIGGERS.get(name, (name.replace("_", " "), "")),
            value=number(entry.get("value")),
            threshold=f"{'below' if name in FALLING else 'from'} {number(entry.get('threshold'))}",
            has_fired=bool(entry.get("fired")),
            note=_note(entry),
        )
        for name, entry in stored.items()
    ]


def _note(entry: Mapping[str, Any]) -> str:
    if entry.get("drifted"):
        return "moved: " + ", ".join(statistic_name(name).lower() for name in entry["drifted"])
    if entry.get("estimated_accuracy") is not None:
        return (
            f"estimated accuracy {number(entry['estimated_accuracy'])}, "
            f"fires below {number(entry.get('accuracy_threshold'))}"
        )
    if entry.get("unlabelled_posts"):
        return f"{entry['unlabelled_posts']:,} posts wait for a label"
    return ""


def statistic_name(name: str) -> str:
    return STATISTICS.get(name, name.replace("_", " "))


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
    moved = [statistic.name.lower() for statistic in drift(row) if statistic.is_drift]
    return ReportStory(
        state={"ok": "passed", "drift": "failed"}.get(verdict, "unknown"),
        verdict={"ok": "alike", "drift": "drift"}.get(verdict, "not judged"),
        words=VERDICTS.get(verdict, verdict),
        moved=", ".join(moved),
    )


@dataclass(frozen=True)
class AccuracyStory:
    """Accuracy as it is guessed without labels, and as labels tell it later; all are shares."""

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
    return "the retraining check" if run.is_automatic else "a command"


def lineage(run: TrainingRun | None) -> Iterator[tuple[str, str]]:
    """What a training was given, as (name, value)."""
    if run is None:
        return
    yield "Asked for by", asker(run)
    if run.reason:
        yield "Because", run.reason
    if teacher := run.options.get("teacher"):
        yield "Teacher", f"version {teacher}" if str(teacher).isdecimal() else str(teacher)
    if data := run.options.get("data"):
        yield "File", str(data)


def progress(run: TrainingRun) -> dict[str, Any]:
    """How a run fares, as its page follows it."""
    return {
        "run": run.pk,
        "status": run.status,
        "words": run.get_status_display(),
        "is_active": run.is_active,
        "progress": round(run.progress, 4),
        "message": run.message,
        "loss": None if run.loss is None else round(run.loss, 4),
        "seconds_left": None if run.seconds_left is None else round(run.seconds_left),
        "epochs": len(run.history),
        "curve": run.losses[-1][0] if run.losses else 0,
        "error": run.error,
    }
