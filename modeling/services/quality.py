"""The state of the incoming posts against what the champion was trained on."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.utils import timezone

from ingestion.signals import alert_raised
from modeling import metrics
from modeling.exceptions import NoChampion
from modeling.ml import reference, text
from modeling.models import LabelScheme, ModelVersion, Prediction, QualityReport

DEFAULT_WINDOW = timedelta(hours=24)
# Features cost a tenth of a millisecond a post; beyond this many the picture does not change.
SAMPLE = 2000
# Below this many posts chance alone moves a ten-bin histogram past the threshold.
MINIMUM_FOR_DRIFT = 200


def build_report(scheme: LabelScheme, *, window: timedelta = DEFAULT_WINDOW) -> QualityReport:
    """Judge the posts that were classified in the last `window` and store the report.

    Raises NoChampion when nothing serves. Drift raises an alert; its end closes it.
    """
    champion = ModelVersion.objects.champions().filter(scheme=scheme).first()
    if champion is None:
        raise NoChampion("no model serves yet: run `python manage.py bootstrap`")
    end = timezone.now()
    start = end - window
    predictions = (
        Prediction.objects.serving().of_current_posts().filter(scheme=scheme, created_at__gte=start)
    )
    rows = list(
        predictions.order_by("-id").values_list(
            "post__text", "category__key", "confidence", "post__lang", "post__source"
        )[:SAMPLE]
    )
    statistics = _statistics(champion, rows)
    report = QualityReport.objects.create(
        scheme=scheme,
        model_version=champion,
        window_start=start,
        window_end=end,
        post_count=predictions.count(),
        statistics=statistics,
        summary=_summary(rows),
        has_drift=any(entry["verdict"] == "drift" for entry in statistics.values()),
    )
    _publish(report)
    return report


def _statistics(champion: ModelVersion, rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Name → PSI, Jensen–Shannon distance, threshold and verdict."""
    if not rows or not champion.reference:
        return {}
    distances = reference.compare(
        champion.reference,
        [row[0] for row in rows],
        np.array([row[2] for row in rows]),
        Counter(row[1] for row in rows),
    )
    threshold = settings.DRIFT_PSI_THRESHOLD
    enough = len(rows) >= MINIMUM_FOR_DRIFT
    return {
        name: {
            **{key: round(value, 4) for key, value in entry.items()},
            "threshold": threshold,
            "verdict": _verdict(entry["psi"], threshold, enough),
        }
        for name, entry in distances.items()
    }


def _verdict(psi: float, threshold: float, enough: bool) -> str:
    if not enough:
        return "too_few"
    return "drift" if psi > threshold else "ok"


def _summary(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    if not rows:
        return {"sampled": 0}
    count = len(rows)
    digests = Counter(text.digest(row[0]) for row in rows)
    return {
        "sampled": count,
        "categories": dict(Counter(row[1] for row in rows)),
        "languages": dict(Counter(row[3] or "unknown" for row in rows).most_common(10)),
        "sources": dict(Counter(row[4] for row in rows)),
        "duplicate_share": round(1 - len(digests) / count, 4),
        "mean_confidence": round(float(np.mean([row[2] for row in rows])), 4),
        "mean_length": round(float(np.mean([len(row[0]) for row in rows])), 1),
    }


def _publish(report: QualityReport) -> None:
    for name, entry in report.statistics.items():
        metrics.DRIFT.labels(name).set(entry["psi"])
    drifted = [name for name, e in report.statistics.items() if e["verdict"] == "drift"]
    before = report.scheme.reports.exclude(pk=report.pk).first()
    was_drifting = before is not None and before.has_drift
    if report.has_drift or was_drifting:
        message = "incoming posts resemble the training data again"
        if report.has_drift:
            message = f"incoming posts differ from the training data in: {', '.join(drifted)}"
        alert_raised.send_robust(
            sender=QualityReport, kind="drift", message=message, active=report.has_drift
        )
