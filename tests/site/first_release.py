"""What an installation of the first release held: rows of each kind, written through the models of
its time. Run in a process of its own: `python -m tests.site.first_release migrate | fill | check`.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

# The migrations of the release that the changelog begins with.
FIRST_RELEASE = [
    ("ingestion", "0001_initial"),
    ("modeling", "0001_initial"),
    ("modeling", "0002_default_scheme"),
    ("dashboard", "0001_initial"),
]
OTHERS = ["admin", "auth", "contenttypes", "django_celery_beat", "sessions"]
MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
# Judged posts a minute, over some hours, so that they fill hours and days.
JUDGED = 40
TEXTS = ("the phone love today", "the train awful today", "the report meeting today")


def executor() -> Any:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    return MigrationExecutor(connection)


def migrate() -> None:
    run = executor()
    leaves = [node for node in run.loader.graph.leaf_nodes() if node[0] in OTHERS]
    run.migrate([*leaves, *FIRST_RELEASE])


def fill(artifact: str) -> dict[str, int]:
    """Rows of every kind that there was; how many there are, by table."""
    apps = executor().loader.project_state(FIRST_RELEASE).apps

    def model(label: str) -> Any:
        return apps.get_model(label).objects

    user = model("auth.User").create(username="ada")
    stream = model("ingestion.Stream").create(name="cats", source="x", query="cats")
    posts = _posts(model, stream)
    model("ingestion.Connection").create(source="x", received=50)
    model("ingestion.MonthlyUsage").create(source="x", month=MOMENT.date().replace(day=1))
    scheme = model("modeling.LabelScheme").get()
    champion, other = _versions(model, scheme, artifact)
    keys = {category.key: category for category in scheme.categories.all()}
    _judgements(model, posts, champion, keys)
    model("modeling.Annotation").create(
        post=posts[0], scheme=scheme, category=keys["positive"], annotator=user
    )
    ended = {"status": "succeeded", "version": champion, "finished_at": MOMENT, "progress": 1}
    model("modeling.TrainingRun").create(
        scheme=scheme, started_at=MOMENT, requested_by=user, **ended
    )
    model("modeling.Promotion").create(scheme=scheme, version=champion, promoted_by=user)
    model("modeling.QualityReport").create(
        scheme=scheme, model_version=champion, window_start=MOMENT, window_end=MOMENT, post_count=1
    )
    model("modeling.Experiment").create(scheme=scheme, champion=champion, challenger=other)
    return _counts(apps)


def _posts(model: Any, stream: Any) -> list[Any]:
    def post(number: int, **fields: Any) -> Any:
        values = {"text": TEXTS[number % 3], "lang": "en", "author_id": "7", **fields}
        created = MOMENT + timedelta(minutes=7 * number)
        row = model("ingestion.Post").create(
            source="x", external_id=str(number), created_at=created, received_at=created, **values
        )
        row.streams.add(stream)
        return row

    judged = [post(number) for number in range(JUDGED)]
    # A first version that an edit has replaced, a deleted post, and one that waits for a model.
    first = post(1000)
    post(1001, original_id="1000", edited_from=first)
    post(1002, text="", author_id="", deleted_at=MOMENT)
    return judged


def _versions(model: Any, scheme: Any, artifact: str) -> list[Any]:
    from pathlib import Path

    from modeling.ml.artifact import digests

    made = []
    for number, stage in ((1, "champion"), (2, "challenger")):
        made.append(
            model("modeling.ModelVersion").create(
                **{"scheme": scheme, "version": number, "run_id": f"run-{number}", "stage": stage},
                base_model="tiny",
                artifact_uri=artifact,
                artifact_digests=digests(Path(artifact)),
                metrics={"macro_f1": 0.7},
                promoted_at=MOMENT if number == 1 else None,
            )
        )
    return made


def _judgements(model: Any, posts: list[Any], champion: Any, keys: dict[str, Any]) -> None:
    for number, post in enumerate(posts):
        category = keys[("positive", "negative", "neutral")[number % 3]]
        model("modeling.Prediction").create(
            post=post,
            scheme=champion.scheme,
            model_version=champion,
            category=category,
            confidence=0.75,
            scores={"negative": 0.1, "neutral": 0.15, "positive": 0.75},
        )
        minute = post.created_at.replace(second=0)
        for stream in (None, post.streams.get()):
            model("dashboard.SentimentBucket").create(
                minute=minute, stream=stream, category=category, count=1, confidence_sum=0.75
            )


def _counts(apps: Any) -> dict[str, int]:
    return {
        model._meta.db_table: model.objects.count()
        for label in ("ingestion", "modeling", "dashboard", "auth")
        for model in apps.get_app_config(label).get_models(include_auto_created=True)
    }


def check() -> dict[str, Any]:
    """What the present program makes of it."""
    from django.apps import apps
    from django.db.models import Sum
    from django.test import Client

    from dashboard.models import SentimentBucket, SentimentPeriod
    from dashboard.rebuild import rebuild
    from ingestion.models import Post
    from modeling.models import Annotation, Prediction
    from modeling.services.classify import classify_pending, classify_texts

    counts = _counts(apps)
    differences = [str(one) for day in rebuild(mend=False) for one in day]
    periods = SentimentPeriod.objects.filter(stream=None).order_by("seconds")
    by_length = periods.values_list("seconds").annotate(Sum("count"), Sum("confidence_sum"))
    served = classify_texts(list(TEXTS), channel="command")
    client = Client(SERVER_NAME="localhost")
    listed = client.get("/api/v1/posts/?category=negative").json()["results"]
    return {
        "counts": counts,
        "differences": differences,
        "minutes": SentimentBucket.objects.filter(stream=None).aggregate(n=Sum("count"))["n"],
        "periods": {seconds: [count, total] for seconds, count, total in by_length},
        "version": served.version,
        "labels": [item.label for item in served.items],
        "classified": classify_pending(),
        "pending": Post.objects.current().exclude(predictions__is_serving=True).count(),
        "listed": sorted({post["text"] for post in listed}),
        "pages": {
            path: client.get(path, headers={"Accept": "text/html, */*"}).status_code
            for path in ("/?range=all", "/models/", "/models/1/", "/health", "/model/info")
        },
        "labelled": list(Annotation.objects.values_list("category__key", "annotator__username")),
        "judged": Prediction.objects.filter(model_version__version=1, confidence=0.75).count(),
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
    import_module("django").setup()
    step, *arguments = sys.argv[1:]
    said = {"migrate": migrate, "fill": fill, "check": check}[step](*arguments)  # type: ignore[operator]
    sys.stdout.write(json.dumps(said))
