"""Versions with real figures, trainings and reports, for the pages about the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np
from django.utils import timezone

from modeling.ml import plots
from modeling.ml.evaluation import evaluate
from modeling.ml.reference import build, make_sample
from modeling.ml.slices import slices
from modeling.models import LabelScheme, ModelVersion, Prediction, QualityReport, TrainingRun
from tests.conftest import LABELS, obvious_posts
from tests.dashboard.factories import make_post, make_posts


def judged_fields(share_right: float = 0.9, seed: int = 0) -> dict[str, Any]:
    """Metrics and reference of a model that is right on this share of the posts."""
    generator = np.random.default_rng(seed)
    texts, labels = obvious_posts()
    truth = np.asarray(labels)
    said = np.where(generator.random(len(truth)) < share_right, truth, (truth + 1) % len(LABELS))
    probabilities = np.full((len(truth), len(LABELS)), 0.1)
    probabilities[np.arange(len(truth)), said] = 0.8
    judged = evaluate(truth, probabilities, LABELS, slices(texts))
    bins = [asdict(item) for item in plots.reliability(truth, probabilities)]
    return {
        "metrics": {"test": judged.as_dict(), "validation": {}, "calibration": bins},
        "reference": build(make_sample(texts, probabilities), LABELS),
        "parameters": {"epochs": 8, "data": "180 texts (180 annotated)"},
        "train_size": 140,
        "test_size": len(truth),
    }


def champion_and_rival(
    make_version: Callable[..., ModelVersion],
) -> tuple[ModelVersion, ModelVersion]:
    """Version 1, which serves, and version 2, which passed the gate against it."""
    champion = make_version(1, stage=ModelVersion.Stage.CHAMPION, **judged_fields(0.8))
    verdict = gate_verdict(passed=True)
    return champion, make_version(2, gate=verdict, **judged_fields(0.95, seed=1))


def gate_verdict(*, passed: bool, champion: int | None = 1) -> dict[str, Any]:
    figures = {"accuracy": 0.95, "macro_f1": 0.94, "macro_recall": 0.93, "ece": 0.05}
    check = {
        **{"name": "slices", "passed": passed, "value": -0.2, "threshold": -0.05},
        "sentence": "accuracy falls too far on: <b>emoji</b>",
    }
    return {
        "passed": passed,
        "reason": "macro recall 0.930 against 0.800",
        "test_size": 180,
        "champion": champion,
        "judged_at": "2026-03-01T10:00:00+00:00",
        "figures": {"candidate": figures, "champion": {**figures, "macro_recall": 0.8}},
        "intervals": {"candidate": {"macro_recall": [0.9, 0.96]}},
        "checks": [check],
        "slices": [
            {
                **{"dimension": "emoji", "value": "yes", "size": 12, "is_judged": False},
                "candidate": {"accuracy": 0.9, "macro_recall": 0.8},
                "champion": {"accuracy": 0.7, "macro_recall": 0.6},
            }
        ],
    }


def differing_predictions(first: ModelVersion, second: ModelVersion, posts: int = 6) -> None:
    """Of which the versions differ on every second post; and one that only one of them judged."""
    keys = list(first.scheme.categories.all())
    for place, post in enumerate(make_posts(posts, "the <i>game</i>")):
        for version, category in ((first, keys[0]), (second, keys[place % 2])):
            Prediction.objects.create(
                post=post,
                scheme=first.scheme,
                model_version=version,
                category=category,
                confidence=0.75,
                scores={},
                is_serving=version == first,
            )
    Prediction.objects.create(
        post=make_post("alone"),
        scheme=first.scheme,
        model_version=first,
        category=keys[0],
        confidence=0.75,
        scores={},
    )


def a_run(scheme: LabelScheme, **fields: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "status": "failed",
        "triggers": {
            "labels": {"value": 120, "threshold": 100, "fired": True, "unlabelled_posts": 900},
            "drift": {"value": 0.31, "threshold": 0.25, "fired": False, "drifted": ["characters"]},
        },
    }
    return TrainingRun.objects.create(scheme=scheme, **{**values, **fields})


def a_report(scheme: LabelScheme, **fields: Any) -> QualityReport:
    now = timezone.now()
    values: dict[str, Any] = {
        "window_start": now - timedelta(hours=24),
        "window_end": now,
        "post_count": 800,
        "has_drift": True,
        "statistics": {
            "labels": {"psi": 0.02, "threshold": 0.25, "verdict": "ok"},
            "characters": {
                **{"psi": 0.4, "threshold": 0.25, "verdict": "drift"},
                **{"reference_mean": 87.2, "window_mean": 75.6},
            },
        },
        "summary": {
            **{"verdict": "drift", "sampled": 800, "mean_confidence": 0.76},
            "category_shares": {"negative": 0.5, "positive": 0.5},
            "reference": {"labels": {"negative": 30, "positive": 70}, "mean_confidence": 0.81},
        },
        "accuracy": {
            **{"estimated": 0.862, "low": 0.803, "high": 0.909, "is_trusted": False},
            **{"reason": "the posts are unlike", "true": 0.9, "true_low": 0.8, "true_high": 0.95},
            **{"labelled": 40, "estimated_on_labelled": 0.88},
        },
    }
    return QualityReport.objects.create(scheme=scheme, **{**values, **fields})
