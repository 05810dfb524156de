"""The gate: no model reaches the public that is worse than the one that serves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.services.dataset import Dataset

# A candidate may be this much below the champion's macro recall: less is within the noise.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may serve, why, and the figures behind it."""

    passed: bool
    reason: str
    test_size: int
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    dataset: Dataset, candidate: SentimentClassifier, champion: SentimentClassifier | None
) -> Verdict:
    """Hold both against the same held-out posts. Without a champion every candidate passes."""
    ours = _evaluate(dataset, candidate)
    figures = {"candidate": _summary(ours)}
    if champion is None:
        return Verdict(True, "the first version", ours.size, figures)
    theirs = _evaluate(dataset, champion)
    figures["champion"] = _summary(theirs)
    difference = ours.macro_recall - theirs.macro_recall
    passed = difference >= -TOLERANCE
    reason = (
        f"macro recall {ours.macro_recall:.3f} against {theirs.macro_recall:.3f} "
        f"on {ours.size} held-out posts ({difference:+.3f})"
    )
    return Verdict(passed, reason, ours.size, figures)


def _evaluate(dataset: Dataset, classifier: SentimentClassifier) -> Evaluation:
    probabilities = classifier.predict_proba(dataset.test.texts)
    # A version may order its outputs in another way than the scheme does now.
    order = [classifier.labels.index(label) for label in dataset.labels]
    return evaluate(dataset.test.labels, probabilities[:, order], dataset.labels)


def _summary(judged: Evaluation) -> dict[str, float]:
    return {
        name: round(getattr(judged, name), 4)
        for name in ("accuracy", "macro_f1", "macro_recall", "ece")
    }
