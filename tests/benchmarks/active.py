"""How many labels the labelling queue saves: the queue's own choice beside random choice.

`make bench ARGS=active`. Both begin with the starter model and a pool of TweetEval's training
tweets that nobody has labelled. Posts are drawn by the labelling queue itself, with each strategy
of BENCH_STRATEGIES, and get their true labels; after each of BENCH_LABELS a training runs as
`manage.py train` does, its version serves, and the pool is judged anew. Judged is each version on
4,000 other training tweets and the 2,000 validation tweets, of which nothing learns or is drawn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks import data

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from modeling.models import LabelScheme, ModelVersion

ROUNDS = [int(count) for count in os.environ.get("BENCH_LABELS", "300,600,1200").split(",")]
STRATEGIES = os.environ.get("BENCH_STRATEGIES", "balanced,random").split(",")
SEED = int(os.environ.get("BENCH_SEED", "0"))
POOL = int(os.environ.get("BENCH_POOL", "4000"))
JUDGED_ON = 4000

Curve = dict[int, dict[str, float]]


def main() -> None:
    data.folder()
    curves: dict[str, Curve] = {}
    for strategy in STRATEGIES:
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                **os.environ,
                "VAR_DIR": folder,
                "ENV_FILE": os.devnull,
                "DATABASE_URL": "",
                "REDIS_URL": "",
                "LABELLING_STRATEGY": strategy,
                # Each label is of a post of its own.
                "LABELLING_OVERLAP": "0",
                "LABELLING_GOLD": "0",
            }
            result = Path(folder) / "curve.json"
            for command in (
                ["manage.py", "bootstrap"],
                ["-m", __spec__.name, "measure", str(result)],
            ):
                subprocess.run([sys.executable, *command], env=environment, check=True)
            curves[strategy] = {int(count): row for count, row in json.loads(result.read_text())}
        report(curves)


def report(curves: dict[str, Curve]) -> None:
    """The curves so far, and how many labels reach what random choice reaches with all."""
    print(f"\n| labels | {' | '.join(curves)} | by category, in the same order |")
    print("|" + "---|" * (len(curves) + 2))
    for count in (0, *ROUNDS):
        rows = [curve[count] for curve in curves.values()]
        figures = " | ".join(f"{row['macro_recall']:.3f}" for row in rows)
        shares = ", ".join("/".join(f"{row[name]:.0f}" for name in data.LABELS) for row in rows)
        print(f"| {count:,} | {figures} | {shares} |")
    if "random" not in curves:
        return
    for strategy, curve in curves.items():
        for count in ROUNDS:
            goal = curves["random"][count]["macro_recall"]
            if strategy != "random" and (needed := labels_for(goal, curve)) is not None:
                print(f"{strategy}: {needed:,.0f} labels reach {goal:.3f}, random's with {count:,}")
    print(flush=True)


def labels_for(goal: float, curve: Curve) -> float | None:
    """The number of labels at which a curve first reaches `goal`, between its points on a line."""
    before: tuple[int, float] | None = None
    for count, row in sorted(curve.items()):
        value = row["macro_recall"]
        if value >= goal:
            if before is None:
                return count
            return before[0] + (count - before[0]) * (goal - before[1]) / (value - before[1])
        before = count, value
    return None


def measure(result: Path) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")
    import_module("django").setup()
    from django.contrib.auth.models import User

    from modeling.models import Annotation, LabelScheme, ModelVersion

    tweets = data.tweeteval("train")
    order = np.random.default_rng(SEED).permutation(len(tweets))
    truth = _fill(tweets, order[:POOL])
    held = [int(i) for i in order[POOL : POOL + JUDGED_ON]]
    validation = data.tweeteval("val")
    texts = [tweets.texts[i] for i in held] + list(validation.texts)
    labels = [tweets.labels[i] for i in held] + list(validation.labels)
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    ann = User.objects.create_user("ann")
    curve: list[tuple[int, dict[str, float]]] = []
    for count in (0, *ROUNDS):
        _label(ann, scheme, truth, count)
        version = _train(scheme) if count else ModelVersion.objects.champions().get(scheme=scheme)
        row = _judge(version, texts, labels)
        said = Annotation.objects.current().filter(scheme=scheme)
        row |= {name: said.filter(category__key=name).count() for name in data.LABELS}
        curve.append((count, row))
        result.write_text(json.dumps(curve))
        print(f"  {count} labels: {row}", flush=True)


def _fill(tweets: Any, chosen: Any) -> dict[int, str]:
    """The pool as posts, judged; the true label of each."""
    from django.utils import timezone

    from ingestion.models import Post

    now = timezone.now()
    rows = [
        Post(source="file", external_id=str(i), text=tweets.texts[i], created_at=now)
        for i in map(int, chosen)
    ]
    Post.objects.bulk_create(rows, batch_size=500)
    _classify()
    numbers = Post.objects.values_list("pk", "external_id")
    return {pk: data.LABELS[tweets.labels[int(number)]] for pk, number in numbers}


def _classify() -> None:
    from modeling.models import LabelScheme
    from modeling.selectors import unclassified_posts
    from modeling.services.classify import classify_posts

    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    while ids := list(unclassified_posts(scheme).values_list("pk", flat=True)[:500]):
        classify_posts(ids)


def _label(ann: User, scheme: LabelScheme, truth: dict[int, str], count: int) -> None:
    """Answers the queue until `count` posts are labelled."""
    from modeling.models import Annotation, ModelVersion
    from modeling.services import likeness, queue
    from modeling.services.annotate import annotate

    if not count:
        return
    # At once, where a web process would do without until it is loaded.
    likeness.load(scheme.key, ModelVersion.objects.champions().get(scheme=scheme))
    categories = {category.key: category for category in scheme.categories.all()}
    done = Annotation.objects.current().filter(scheme=scheme, annotator=ann).count()
    while done < count:
        for one in queue.draw(ann, scheme, count=min(20, count - done)):
            annotate(one.post, categories[truth[one.post_id]], annotator=ann)
            done += 1


def _train(scheme: LabelScheme) -> ModelVersion:
    """Trains on all labels; the version serves, whatever the gate says of it, and judges the pool:
    the curve is that of the labels."""
    from modeling.models import Annotation, Prediction
    from modeling.services import train
    from modeling.services.promote import promote

    run = train.execute(train.request_training(scheme).pk)
    if run.version is None:
        sys.exit(f"the training failed: {run.error}")
    promote(run.version, reason="benchmark", override=True)
    labelled = Annotation.objects.current().filter(scheme=scheme)
    unlabelled = Prediction.objects.exclude(post__in=labelled.values("post"))
    unlabelled.delete()
    _classify()
    return run.version


def _judge(version: ModelVersion, texts: list[str], labels: list[int]) -> dict[str, float]:
    from modeling import registry
    from modeling.ml.classifier import SentimentClassifier
    from modeling.ml.evaluation import evaluate

    folder = registry.local_folder(version.artifact_uri, version.artifact_digests)
    classifier = SentimentClassifier(folder, "onnx-int8")
    parts = [classifier.predict_proba(texts[i : i + 500]) for i in range(0, len(texts), 500)]
    judged = evaluate(labels, np.concatenate(parts), data.LABELS)
    return {"macro_recall": judged.macro_recall, "macro_f1": judged.macro_f1}


if __name__ == "__main__":
    measure(Path(sys.argv[2])) if sys.argv[1:2] == ["measure"] else main()
