"""An example of everything that the schema names: one for each component, put wherever it is
sent or answered."""

from __future__ import annotations

from typing import Any

from api.exports import EXPORTS

MOMENT = "2026-03-02T09:30:00Z"
LATER = "2026-03-02T09:45:12Z"
SCORES = {"negative": 0.01, "neutral": 0.03, "positive": 0.96}
TRIGGERS: dict[str, dict[str, Any]] = {
    "labels": {"value": 212, "threshold": 200, "fired": True, "unlabelled_posts": 5210},
    "age_hours": {"value": 31.5, "threshold": 168, "fired": False},
    "mean_confidence": {
        "value": 0.81,
        "threshold": 0.55,
        "statistic": "mean_confidence",
        "mean_confidence": 0.81,
        "confidence_threshold": 0.55,
        "predictions": 1000,
        "estimated_accuracy": 0.79,
        "accuracy_threshold": 0.6,
        "report": "report 88, until 2026-03-02 09:00 UTC",
        "fired": False,
    },
    "drift": {
        "value": 0.04,
        "threshold": 0.25,
        "kind": "psi",
        "statistic": "words",
        "drifted": [],
        "report": "report 88, until 2026-03-02 09:00 UTC",
        "fired": False,
    },
}
QUIET_TRIGGERS = {
    **TRIGGERS,
    "labels": {"value": 12, "threshold": 200, "fired": False, "unlabelled_posts": 310},
}
GATE = {
    "passed": True,
    "reason": "not worse than version 3 on 1,204 held-out posts",
}

_PREDICTION = {
    "label": "positive",
    "confidence": 0.96,
    "scores": SCORES,
    "model_version": "4",
    "latency_ms": 4.1,
}
_STREAM = {
    "name": "Airlines",
    "source": "x",
    "query": "(@united OR @americanair) -is:retweet",
    "languages": ["en"],
    "is_active": True,
    "monthly_budget": 50_000,
    "over_budget": "pause",
}

REPORT = {
    "id": 51,
    "model_version": 4,
    "window_start": MOMENT,
    "window_end": LATER,
    "post_count": 812,
    "summary": {"verdict": "ok"},
    "statistics": {"length": {"value": 0.04, "threshold": 0.11, "is_drift": False}},
    "accuracy": {"estimated": 0.74, "low": 0.71, "high": 0.77, "is_trusted": True},
    "has_drift": False,
    "created_at": LATER,
}

# Component → an example. Requests come first.
COMPONENTS: dict[str, Any] = {
    "PredictRequest": {"text": "I love this amazing product!"},
    "BatchRequest": {"texts": ["Great service!", "Two hours late again"]},
    "AnnotationRequest": {"post": 1201, "category": "negative"},
    "StreamRequest": _STREAM,
    "PatchedStreamRequest": {"monthly_budget": 80_000},
    "TrialRequest": {"query": "late OR delayed", "languages": ["en"], "source": "x", "limit": 10},
    "PromoteRequest": {"reason": "better on the shared test set", "override": False},
    "RollbackRequest": {"scheme": "sentiment", "reason": "more wrong on quotes than it was"},
    "RetrainRequest": {"force": False},
    "PredictionResult": _PREDICTION,
    "BatchResult": {
        "predictions": [_PREDICTION],
        "model_version": "4",
        "latency_ms": 9.7,
    },
    "Stream": {
        "id": 3,
        **_STREAM,
        "held_at": None,
        "held_reason": "",
        "sample_percent": None,
        "rule_id": "1790315420153323520",
        "last_error": "",
        "posts_today": 1410,
        "posts_month": 20_144,
        "posts_total": 93_020,
        "last_post_at": LATER,
        "cost_month_usd": 100.72,
        "note": "",
        "created_at": MOMENT,
        "updated_at": MOMENT,
    },
    "StreamVerdict": {
        "valid": False,
        "reason": "X: missing EOF at ')' (at position 24)",
        "note": "",
    },
    "TrialResult": {
        "tried": 1000,
        "matched": 41,
        "share": 0.041,
        "examples": ["two hours late again"],
        "unsupported": [],
        "of": "the newest stored posts",
        "posts_per_day": 310.0,
        "cost_month_usd": 46.5,
    },
    "Post": {
        "id": 1201,
        "source": "x",
        "external_id": "1790315420153323521",
        "text": "two hours late again, thanks a lot",
        "lang": "en",
        "author_id": "2244994945",
        "author_username": "traveller",
        "author_name": "A traveller",
        "created_at": MOMENT,
        "received_at": MOMENT,
        "conversation_id": "1790315420153323521",
        "original_id": "",
        "edited_from": None,
        "is_superseded": False,
        "references": [],
        "metrics": {"like_count": 3},
        "streams": [3],
    },
    "Prediction": {
        "id": 1197,
        "post": 1201,
        "category": "negative",
        "confidence": 0.91,
        "scores": {"negative": 0.91, "neutral": 0.06, "positive": 0.03},
        "model_version": "4",
        "is_serving": True,
        "created_at": MOMENT,
    },
    "Annotation": {
        "id": 88,
        "post": 1201,
        "category": "negative",
        "annotator": "ann",
        "origin": "human",
        "created_at": LATER,
        "replaced_at": None,
    },
    "ModelVersion": {
        "id": 4,
        "scheme": "sentiment",
        "version": 4,
        "stage": "champion",
        "base_model": "all-MiniLM-L6-v2",
        "metrics": {"test": {"macro_recall": 0.741, "accuracy": 0.734, "ece": 0.028}},
        "parameters": {"epochs": 2, "learning_rate": 0.0002},
        "temperature": 1.3,
        "dataset_digest": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "train_size": 9_640,
        "validation_size": 1_198,
        "test_size": 1_204,
        "forgotten_posts": 0,
        "gate": GATE,
        "run_id": "0f4e3c9b7d1a4c58a5d2b7a8e9c01234",
        "created_at": MOMENT,
        "promoted_at": LATER,
    },
    "Promotion": {
        "id": 7,
        "scheme": "sentiment",
        "version": 4,
        "previous": 3,
        "actor": "ann",
        "reason": "better on the shared test set",
        "promoted_at": LATER,
    },
    "TrainingRun": {
        "id": 12,
        "status": "succeeded",
        "is_automatic": True,
        "triggers": TRIGGERS,
        "reason": "triggered by labels",
        "options": {},
        "parameters": {"epochs": 2, "learning_rate": 0.0002},
        "progress": 1.0,
        "message": "registered version 4",
        "loss": 0.41,
        "seconds_left": 0,
        "history": [{"epoch": 1, "loss": 0.63}, {"epoch": 2, "loss": 0.41}],
        "attempts": 1,
        "error": "",
        "version": 4,
        "gate": GATE,
        "created_at": MOMENT,
        "started_at": MOMENT,
        "finished_at": LATER,
    },
    "Experiment": {
        "id": 2,
        "champion": 3,
        "challenger": 4,
        "mode": "shadow",
        "share": 0.1,
        "started_at": MOMENT,
        "stopped_at": None,
        "result": {},
    },
    "QualityReport": REPORT,
    "NewestReport": {"status": "ok", "age_seconds": 540, "is_stale": False, **REPORT},
    "Alert": {
        "id": 9,
        "kind": "stream",
        "key": "x",
        "severity": "critical",
        "message": "X is not streamed: 401, look at the bearer token",
        "raised_at": MOMENT,
        "closed_at": None,
        "closing_message": "",
    },
    "Connection": {
        "source": "x",
        "status": "connected",
        "covered_until": LATER,
        "connected_at": MOMENT,
        "last_event_at": LATER,
        "next_attempt_at": None,
        "received": 93_311,
        "saved": 93_020,
        "duplicates": 289,
        "malformed": 2,
        "reconnects": 4,
        "spilled_bytes": 0,
        "last_error": "",
        "updated_at": LATER,
    },
    "Gap": {
        "id": 5,
        "source": "x",
        "started_at": MOMENT,
        "ended_at": LATER,
        "cause": "stalled",
        "detail": "nothing came for 30 s",
        "state": "filled",
        "filled_by": "recent search",
        "recovered": 127,
        "expected": None,
        "completeness": 1.0,
        "attempts": 1,
        "next_attempt_at": None,
        "note": "",
    },
    "DeadLetter": {
        "id": 6,
        "source": "x",
        "received_at": MOMENT,
        "reason": "it is not JSON",
        "excerpt": '{"data": {"id": "17903',
        "size": 22,
        "is_whole": True,
        "replayed_at": None,
        "outcome": "",
    },
    "DailyUsage": {
        "id": 31,
        "source": "x",
        "day": "2026-03-02",
        "stream": 3,
        "posts_read": 1410,
        "looked_up": 120,
        "cost_usd": 7.65,
    },
}
_EXPORTS = {export.media_type: export for export in EXPORTS}


def add_examples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: every body that has no example gets that of its component; lists as
    files are strings, and have the same row."""
    for path in result["paths"].values():
        for operation in path.values():
            for body in (operation.get("requestBody", {}), *operation["responses"].values()):
                _add(body)
    return result


def _add(body: dict[str, Any]) -> None:
    for kind, media in body.get("content", {}).items():
        name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
        row = name.removeprefix("Paginated").removesuffix("List")
        if kind in _EXPORTS and row in COMPONENTS:
            pieces = _EXPORTS[kind]().write([[COMPONENTS[row]]])
            media["schema"] = {"type": "string"}
            media["example"] = b"".join(pieces).decode()
        elif "example" not in media and "examples" not in media:
            found = _example(name, row)
            if found is not None:
                media["example"] = found


def _example(name: str, row: str) -> Any:
    if name.startswith("Paginated"):
        return {"next": None, "previous": None, "results": [COMPONENTS[row]]}
    # Of the two that it may be, the one that says more.
    name = {"Quality": "NewestReport", "StreamOrVerdict": "Stream"}.get(name, name)
    return COMPONENTS.get(name)
