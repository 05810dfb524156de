"""The bare engine beside the transformers pipeline at batch 32, and what int8 costs in accuracy.

`make bench ARGS=engine`. Both take the same real tweets in turn, many short rounds, so that a busy
machine slows both alike. Needs the champion of `VAR_DIR` (`make run` builds one).
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from django.conf import settings

from modeling import registry
from modeling.ml import backends
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.engine import InferenceEngine
from modeling.ml.evaluation import evaluate
from modeling.models import ModelVersion
from tests.benchmarks import data

ROUNDS = 5
COUNT = 512
BATCH = 32


def pipeline_of(folder: str) -> Callable[[Sequence[str]], object]:
    import torch
    from transformers import pipeline

    torch.set_num_threads(settings.INFERENCE_THREADS)
    classify = pipeline("text-classification", model=folder, top_k=None, device="cpu")
    return lambda texts: classify(list(texts), batch_size=BATCH, truncation=True, max_length=80)


def main() -> None:
    row = ModelVersion.objects.champions().first()
    if row is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    folder = registry.local_folder(row.artifact_uri, row.artifact_digests)
    streams = settings.INFERENCE_THREADS
    runners: dict[str, Callable[[Sequence[str]], object]] = {
        "transformers pipeline, batch 32": pipeline_of(str(folder))
    }
    recall: dict[str, float] = {}
    labelled = data.tweeteval("val")
    for name in backends.BACKENDS:
        if name == "torch":
            continue
        try:
            classifier = SentimentClassifier(folder, name, threads=1, streams=streams)
        except ArtifactError as error:
            print(f"SKIPPED {name}: {error}")
            continue
        engine = InferenceEngine(classifier, workers=streams)
        runners[f"engine, {name}"] = engine.predict
        judged = evaluate(
            labelled.labels, engine.predict(labelled.texts).probabilities, data.LABELS
        )
        recall[f"engine, {name}"] = judged.macro_recall
    texts = data.tweeteval("train").texts
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(ROUNDS):
        chosen = texts[number * COUNT : (number + 1) * COUNT]
        for name, run in runners.items():
            started = time.perf_counter()
            run(chosen)
            rates[name].append(COUNT / (time.perf_counter() - started))
    base = rates["transformers pipeline, batch 32"]
    print(f"{COUNT} tweets in the order they come, median of {ROUNDS} rounds, {streams} threads")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        points = f"   macro recall {recall[name]:.4f}" if name in recall else ""
        print(f"  {name:<34} {statistics.median(found):>7,.0f} texts/s   {ratio:5.2f} x{points}")


if __name__ == "__main__":
    main()
