"""How often drift is told where there is none, and missed where there is; and whether the accuracy
that is estimated without labels holds.

`make bench ARGS=drift`. TweetEval's validation tweets are not of the same source as its training
tweets: 28 % of the latter hold a link, of the former next to none, and the report finds that. So
false alarms are counted within either file: 2,000 training tweets against windows of the others,
and half of the validation tweets against windows of the other half. Airline tweets are held against
all validation tweets. The starter model has seen none of them.

`BENCH_MODEL` names the folder of a trained model; without it the champion of VAR_DIR is used.
`BENCH_WINDOWS` (200) and `BENCH_POOL` (tweets that windows are drawn from) make it shorter.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from django.conf import settings
from tqdm import tqdm

from modeling import registry
from modeling.ml import features
from modeling.ml.arguments import Labelled
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.embedding import Embedder
from modeling.ml.estimate import wilson
from modeling.ml.reference import LIMIT, Sample, make_sample
from modeling.models import LabelScheme, ModelVersion
from modeling.services import quality
from tests.benchmarks import data

WINDOWS = 200
SIZES = (200, 300, 500, 1000, 2000, 5000)
# The reference is kept out of it.
SAME_POOL = 12_000
AIRLINE_SIZES = (100, 200, 300, 500, 1000)


@dataclass(frozen=True)
class Pool:
    """Posts, judged once: windows are drawn from them."""

    features: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    truth: NDArray[np.int64]

    def draw(self, size: int, generator: np.random.Generator) -> "Pool":
        rows = generator.choice(len(self.truth), size, replace=False)
        return Pool(
            self.features[rows], self.probabilities[rows], self.embeddings[rows], self.truth[rows]
        )

    def half(self, which: int) -> "Pool":
        """Every other post, from the first or the second on."""
        return Pool(
            self.features[which::2],
            self.probabilities[which::2],
            self.embeddings[which::2],
            self.truth[which::2],
        )


def pool_size() -> int:
    return int(os.environ.get("BENCH_POOL", SAME_POOL))


def model_folder() -> Path:
    if folder := os.environ.get("BENCH_MODEL"):
        return Path(folder)
    version = ModelVersion.objects.champions().get(scheme__key=LabelScheme.DEFAULT_KEY)
    return registry.local_folder(version.artifact_uri, version.artifact_digests)


def judge(name: str, posts: Labelled, classifier: SentimentClassifier, embedder: Embedder) -> Pool:
    """Embeds and classifies all posts, in steps that show progress."""
    parts, vectors = [], []
    for start in tqdm(range(0, len(posts), 500), desc=name, unit="×500 posts"):
        texts = posts.texts[start : start + 500]
        parts.append(classifier.predict_proba(texts))
        vectors.append(embedder.embed(texts))
    return Pool(
        features.matrix(posts.texts),
        np.concatenate(parts),
        np.concatenate(vectors),
        np.array(posts.labels),
    )


def some(posts: Labelled, count: int) -> Labelled:
    rows = np.random.default_rng(1).permutation(len(posts))[:count]
    return Labelled([posts.texts[i] for i in rows], [posts.labels[i] for i in rows])


def report(sample: Sample, window: Pool) -> quality.Comparison:
    vectors = window.embeddings @ sample.projection
    confidence, labels = window.probabilities.max(axis=1), window.probabilities.argmax(axis=1)
    # As the report does it, which compares so many at most.
    kept = slice(quality.COMPARED)
    return quality.compare(
        sample, window.features[kept], confidence[kept], labels[kept], vectors[kept]
    )


def table(title: str, sample: Sample, pool: Pool, sizes: tuple[int, ...], windows: int) -> None:
    print(f"\n{title}")
    print("  window   reports   drift told   95 % interval    seconds a report")
    for size in sizes:
        generator = np.random.default_rng(size)
        told, started = 0, time.monotonic()
        for _ in tqdm(range(windows), desc=str(size), leave=False):
            told += report(sample, pool.draw(size, generator)).has_drift
        low, high = wilson(told, windows)
        seconds = (time.monotonic() - started) / windows
        print(
            f"  {size:>6}   {windows:>7}   {told / windows:>9.1%}   {low:>6.1%} – {high:<6.1%} "
            f"  {seconds:>8.2f}",
            flush=True,
        )


def accuracy(title: str, sample: Sample, pool: Pool, size: int = 2000) -> None:
    window = pool.draw(min(size, len(pool.truth)), np.random.default_rng(3))
    compared = report(sample, window)
    confidence = window.probabilities.max(axis=1)
    estimated = quality.estimate(sample, confidence, [*map(str, range(len(confidence)))], compared)
    true = float((window.probabilities.argmax(axis=1) == window.truth).mean())
    verdict = "trusted" if estimated["is_trusted"] else f"NOT trusted: {estimated['reason']}"
    print(
        f"  {title:<22} estimated {estimated['estimated']:.3f} "
        f"({estimated['low']:.3f} – {estimated['high']:.3f}), true {true:.3f}: {verdict}"
    )


def as_sample(pool: Pool, posts: Labelled) -> Sample:
    """All of the pool, in its order: it is no more than a reference holds."""
    return make_sample(posts.texts, pool.probabilities, posts.labels, lambda texts: pool.embeddings)


def linked(posts: Labelled) -> float:
    return sum("http" in text for text in posts.texts) / len(posts)


def main() -> None:
    folder = model_folder()
    classifier = SentimentClassifier(folder, settings.INFERENCE_BACKEND, os.cpu_count() or 1)
    embedder = Embedder(folder, classifier, os.cpu_count() or 1)
    windows = int(os.environ.get("BENCH_WINDOWS", WINDOWS))
    known, training = data.tweeteval("val"), some(data.tweeteval("train"), LIMIT + pool_size())
    first = Labelled(training.texts[:LIMIT], training.labels[:LIMIT])
    rest = Labelled(training.texts[LIMIT:], training.labels[LIMIT:])
    print(f"with a link: validation {linked(known):.1%}, training {linked(training):.1%} of tweets")
    validation = judge("validation", known, classifier, embedder)
    reference = judge("training, reference", first, classifier, embedder)
    same = judge("training, windows", rest, classifier, embedder)
    airline = judge("airline", some(data.airline(), pool_size() // 2), classifier, embedder)
    known_sample, sample = as_sample(validation, known), as_sample(reference, first)
    sizes = tuple(size for size in SIZES if size <= len(rest))
    table(
        "Same source: training tweets against 2,000 others (false alarms)",
        sample,
        same,
        sizes,
        windows,
    )
    half = validation.half(0)
    table(
        "Same source: validation tweets against the other half (false alarms)",
        as_sample(half, Labelled(known.texts[::2], known.labels[::2])),
        validation.half(1),
        (200, 300, 500),
        windows,
    )
    table(
        "Airline tweets against validation tweets (detected)",
        known_sample,
        airline,
        tuple(size for size in AIRLINE_SIZES if size <= len(airline.truth)),
        windows,
    )
    table(
        "Training tweets against validation tweets, which hold no links",
        known_sample,
        same,
        (300,),
        windows,
    )
    print("\nStatistics of one window of 300:  same source / airline")
    generator = np.random.default_rng(5)
    one = report(sample, same.draw(300, generator))
    other = report(known_sample, airline.draw(300, generator))
    for name, entry in one.statistics.items():
        theirs = other.statistics[name]
        print(
            f"  {name:<18} {entry.kind} {entry.value:.3f} (threshold {entry.threshold:.3f}) / "
            f"{theirs.value:.3f} ({theirs.threshold:.3f}) {'drift' if theirs.is_drift else 'ok'}"
        )
    print("\nAccuracy without labels")
    accuracy("same source", sample, same)
    accuracy("airline", known_sample, airline)


if __name__ == "__main__":
    main()
