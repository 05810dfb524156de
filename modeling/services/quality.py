"""The state of the incoming posts against those at the time of the champion's training."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Mod
from django.utils import timezone
from numpy.typing import NDArray

from ingestion.language_tags import primary
from ingestion.services.alerts import close_alert, raise_alert
from modeling import metrics, registry, serving
from modeling.exceptions import NoChampion, RegistryError
from modeling.ml import drift, features, reference, text
from modeling.ml.artifact import ArtifactError
from modeling.ml.embedding import Embedder
from modeling.ml.estimate import Correction, estimate_accuracy
from modeling.ml.reference import Sample
from modeling.models import LabelScheme, ModelVersion, Prediction, QualityReport
from modeling.services.truth import fill_in_truth
from modeling.words import english_names

logger = logging.getLogger(__name__)

DEFAULT_WINDOW = timedelta(hours=24)
# Of a window, so many posts are counted, and so many different ones compared: embedding them
# takes about three seconds on one core.
SAMPLE = 5000
COMPARED = 1000
# Of fewer different posts nothing can be told.
MINIMUM_WINDOW = 50
# Of a window that says one thing over and over, the accuracy is that of one answer.
LARGEST_SHARE = 0.5

TOO_FEW, NO_REFERENCE = "too_few", "no_reference"


class Row(NamedTuple):
    """A classified post of the window."""

    text: str
    category: str
    confidence: float
    language: str
    source: str


@dataclass(frozen=True)
class Comparison:
    """A window against a reference. `verdict` is ok, drift, too_few or no_reference.

    `means` gives the mean of each feature and of confidence: in the reference, in the window.
    `telltale` weighs the features by what sets the window apart, where it has drifted. `unlike`
    names in what it differs from the labelled posts that confidence was calibrated on; None where
    that cannot be told.
    """

    verdict: str
    statistics: Mapping[str, drift.Statistic]
    means: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    telltale: Mapping[str, float] = field(default_factory=dict)
    unlike: Sequence[str] | None = None

    @property
    def has_drift(self) -> bool:
        return self.verdict == "drift"

    @property
    def drifted(self) -> list[str]:
        return _drifted(self.statistics)


def build_report(scheme: LabelScheme, *, window: timedelta = DEFAULT_WINDOW) -> QualityReport:
    """Judge the posts that the champion classified in the last `window` and store the report.

    Raises NoChampion when nothing serves. Drift raises an alert; two reports without it in a row
    close it. Earlier reports are told what labels have come in since.
    """
    champion = ModelVersion.objects.champions().filter(scheme=scheme).first()
    if champion is None:
        raise NoChampion("no model serves yet: run `python manage.py bootstrap`")
    end = timezone.now()
    start = end - window
    in_window = (
        Prediction.objects.serving().of_current_posts().filter(scheme=scheme, created_at__gte=start)
    )
    rows = _sample(champion, start)
    digests = [text.digest(row.text) for row in rows]
    sample, embedder, problem = _reference(champion)
    # A text that is repeated a hundred times is one opinion, told as a share of its own.
    distinct = list(dict(zip(digests, rows, strict=True)).values())
    compared = _compare_rows(champion, distinct, sample, embedder)
    report = QualityReport.objects.create(
        scheme=scheme,
        model_version=champion,
        window_start=start,
        window_end=end,
        post_count=in_window.count(),
        statistics={
            name: _as_json(entry, compared.means.get(name))
            for name, entry in compared.statistics.items()
        },
        summary={
            **_summary(rows, Counter(digests), champion.reference),
            "verdict": compared.verdict,
            "telltale": dict(compared.telltale),
            **problem,
        },
        accuracy=estimate(sample, np.array([row.confidence for row in rows]), digests, compared),
        has_drift=compared.has_drift,
    )
    _publish(report, compared)
    fill_in_truth(scheme)
    report.refresh_from_db(fields=["accuracy"])
    return report


def _sample(champion: ModelVersion, start: datetime) -> list[Row]:
    """At most SAMPLE of the champion's own judgements, spread over the window."""
    # What an earlier champion thought of posts says nothing against this one's reference.
    own = (
        Prediction.objects.serving()
        .of_current_posts()
        .filter(model_version=champion, created_at__gte=start)
    )
    step = -(-own.count() // SAMPLE)
    if step > 1:
        own = own.annotate(turn=Mod(F("id"), step)).filter(turn=random.randrange(step))
    found = own.order_by("-id").values_list(
        "post__text", "category__key", "confidence", "post__lang", "post__source"
    )
    return [Row(*row) for row in found[:SAMPLE]]


def _reference(champion: ModelVersion) -> tuple[Sample | None, Embedder | None, dict[str, str]]:
    """The champion's reference, what embeds posts for it, and what is in the way of either."""
    try:
        folder = registry.local_folder(champion.artifact_uri, champion.artifact_digests)
        sample = Sample.read(folder)
        if sample is None or not sample.embeddings.shape[1]:
            return sample, None, {}
        return sample, Embedder(folder, serving.load(champion)), {}
    except (ArtifactError, OSError, RegistryError) as error:
        logger.warning("version %s gives no reference: %s", champion.version, error)
        return None, None, {"problem": str(error)}


def _compare_rows(
    champion: ModelVersion,
    distinct: Sequence[Row],
    sample: Sample | None,
    embedder: Embedder | None,
) -> Comparison:
    chosen = random.sample(distinct, min(COMPARED, len(distinct)))
    if sample is None:
        return Comparison(NO_REFERENCE, {})
    if len(chosen) < MINIMUM_WINDOW or len(sample.ordinary) < reference.MINIMUM:
        return Comparison(TOO_FEW, {})
    labels = champion.reference.get("label_order") or list(champion.reference["labels"])
    texts = [row.text for row in chosen]
    return compare(
        sample,
        features.matrix(texts),
        np.array([row.confidence for row in chosen]),
        np.array([labels.index(row.category) for row in chosen]),
        None if embedder is None else embedder.embed(texts) @ sample.projection,
    )


def compare(
    sample: Sample,
    values: NDArray[np.floating],
    confidence: NDArray[np.floating],
    labels: NDArray[np.integer],
    vectors: NDArray[np.floating] | None,
) -> Comparison:
    """Features, confidence, labels and projected embeddings of a window's posts, against the
    reference's."""
    window = _Side(values, confidence, labels, vectors)
    ordinary, labelled = sample.ordinary, sample.labelled
    own = _side(ordinary)
    statistics = _statistics(own, window)
    unlike: list[str] | None = None
    if len(labelled) >= reference.MINIMUM:
        has_arrivals = ordinary is not sample
        unlike = _drifted(_statistics(_side(labelled), window) if has_arrivals else statistics)
    before, now = own.columns(), window.columns()
    means = {name: (float(before[name].mean()), float(now[name].mean())) for name in before}
    if not _drifted(statistics):
        return Comparison("ok", statistics, means, unlike=unlike)
    del before["confidence"], now["confidence"]
    return Comparison("drift", statistics, means, drift.telltale(before, now), unlike)


class _Side(NamedTuple):
    """Reference or window: features, confidence, labels and, where there are such, embeddings."""

    values: NDArray[np.floating]
    confidence: NDArray[np.floating]
    labels: NDArray[np.integer]
    vectors: NDArray[np.floating] | None

    def columns(self) -> dict[str, NDArray[np.floating]]:
        named = zip(features.NAMES, self.values.T, strict=True)
        return {**dict(named), "confidence": self.confidence}


def _side(sample: Sample) -> _Side:
    probabilities = sample.probabilities
    return _Side(
        sample.features,
        probabilities.max(axis=1),
        probabilities.argmax(axis=1),
        sample.embeddings,
    )


def _statistics(own: _Side, window: _Side) -> dict[str, drift.Statistic]:
    return drift.compare(
        own.columns(),
        window.columns(),
        (own.labels, window.labels),
        None if own.vectors is None or window.vectors is None else (own.vectors, window.vectors),
        limits=drift.Limits(psi=settings.DRIFT_PSI_THRESHOLD),
    )


def _drifted(statistics: Mapping[str, drift.Statistic]) -> list[str]:
    return [name for name, entry in statistics.items() if entry.is_drift]


def estimate(
    sample: Sample | None,
    confidence: NDArray[np.floating],
    texts: Sequence[str],
    compared: Comparison,
) -> dict[str, Any]:
    """The share of right answers without labels, its interval, and whether to believe it.

    `texts` has an entry for each post, the same for posts that say the same.
    """
    if not len(confidence):
        return {}
    known_confidence, known_right = np.zeros(0), np.zeros(0, dtype=bool)
    if sample is not None:
        known = sample.labelled
        known_confidence = known.probabilities.max(axis=1).astype(np.float64)
        known_right = known.probabilities.argmax(axis=1) == known.truth
    found = estimate_accuracy(confidence, known_confidence, known_right, texts)
    correction = Correction.fit(known_confidence, known_right)
    largest = max(Counter(texts).values()) / len(texts)
    reason = "; ".join([*_distrust(compared), *_repetition(largest)])
    return {
        "estimated": round(found.accuracy, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "is_trusted": not reason,
        "reason": reason,
        "size": len(confidence),
        # By which labelled posts are expected to be right, when there are some.
        "correction": {
            name: [round(value, 6) for value in values] for name, values in vars(correction).items()
        },
    }


def _distrust(compared: Comparison) -> Iterator[str]:
    if compared.verdict == NO_REFERENCE:
        yield "the version has no reference to hold its confidence against"
    elif compared.verdict == TOO_FEW:
        yield "too few posts to tell whether they are like those that the model knows"
    elif compared.unlike is None:
        yield "too few labelled posts were held back to calibrate the confidence on"
    elif compared.unlike:
        named = english_names(compared.unlike)
        yield f"the posts are unlike the labelled ones that confidence was calibrated on: {named}"


def _repetition(largest: float) -> Iterator[str]:
    if largest > LARGEST_SHARE:
        yield f"one text makes up {largest:.0%} of the posts, and all hangs on its one answer"


def _as_json(entry: drift.Statistic, means: tuple[float, float] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        entry.kind: round(entry.value, 4),
        "threshold": round(entry.threshold, 4),
        "p_value": round(entry.p_value, 4),
        "verdict": "drift" if entry.is_drift else "ok",
    }
    if entry.jensen_shannon is not None:
        shown["jensen_shannon"] = round(entry.jensen_shannon, 4)
    if means is not None:
        shown["reference_mean"], shown["window_mean"] = (round(mean, 4) for mean in means)
    return shown


def _summary(rows: Sequence[Row], texts: Counter[str], known: Mapping[str, Any]) -> dict[str, Any]:
    if not rows:
        return {"sampled": 0}
    count = len(rows)
    categories = Counter(row.category for row in rows)
    languages = Counter(primary(row.language) or "unknown" for row in rows)
    confidence = np.array([row.confidence for row in rows])
    shown = ("size", "labels", "mean_confidence", "mean_length", "confidence_histogram")
    return {
        "sampled": count,
        "categories": dict(categories),
        "category_shares": _shares(categories, count),
        "languages": dict(languages.most_common(10)),
        "language_shares": _shares(languages, count),
        "sources": dict(Counter(row.source for row in rows)),
        "duplicate_share": round(1 - len(texts) / count, 4),
        "empty_share": round(sum(not text.normalise(row.text) for row in rows) / count, 4),
        "mean_confidence": round(float(confidence.mean()), 4),
        "confidence_histogram": drift.confidence_histogram(confidence),
        "mean_length": round(float(np.mean([len(row.text) for row in rows])), 1),
        "reference": {name: known[name] for name in shown if name in known},
    }


def _shares(counts: Counter[str], total: int) -> dict[str, float]:
    return {name: round(number / total, 4) for name, number in counts.most_common(10)}


def _publish(report: QualityReport, compared: Comparison) -> None:
    for name, entry in compared.statistics.items():
        metrics.DRIFT.labels(name).set(entry.ratio)
    key = report.scheme.key
    if compared.has_drift:
        named = english_names(compared.drifted)
        raise_alert(
            "drift", f"incoming posts differ from the champion's reference in: {named}", key=key
        )
    elif compared.verdict == "ok" and _was_ok(report):
        close_alert("drift", key, "incoming posts resemble the champion's reference again")


def _was_ok(report: QualityReport) -> bool:
    """Whether the report before found no drift; a quiet hour is no sign of either.

    Each report draws its posts anew: near a threshold, one report alone would open and close an
    alert every hour.
    """
    told = report.scheme.reports.filter(summary__verdict__in=["ok", "drift"])
    before = told.exclude(pk=report.pk).only("has_drift").first()
    return before is not None and not before.has_drift
