"""Train the starter model and judge it on real labelled posts, beside two baselines.

`make bench-starter`, or `python -m tests.benchmarks.starter`. The model learns only from the
starter corpus; the real posts (TweetEval's validation file) are only judged.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from modeling import starter
from modeling.ml import features
from modeling.ml.arguments import Labelled
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.ml.export import export_onnx
from modeling.ml.text import digest, normalise
from modeling.ml.training import fine_tune
from modeling.services.dataset import split_name
from modeling.services.train import arguments_from_settings
from tests.benchmarks import data


def starter_sets() -> dict[str, Labelled]:
    """The starter corpus, split as a training of the program splits it."""
    sets: dict[str, tuple[list[str], list[int]]] = {}
    for post in starter.labelled():
        texts, labels = sets.setdefault(split_name(digest(post.text)), ([], []))
        texts.append(post.text)
        labels.append(data.LABELS.index(post.label))
    return {name: Labelled(*columns) for name, columns in sets.items()}


def vader(real: Labelled) -> NDArray[np.float64]:
    """One-hot predictions by VADER's published thresholds (±0.05)."""
    scores = np.array([features.lexicon_score(text) for text in real.texts])
    return np.eye(3)[np.where(scores <= -0.05, 0, np.where(scores >= 0.05, 2, 1))]


def tf_idf(train: Labelled, real: Labelled) -> NDArray[np.float64]:
    """Words and word pairs, logistic regression with balanced classes."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(max_iter=2000, class_weight="balanced", C=3),
    )
    pipeline.fit([normalise(text) for text in train.texts], train.labels)
    return pipeline.predict_proba([normalise(text) for text in real.texts])


def fine_tuned(sets: dict[str, Labelled], folder: Path) -> None:
    with tqdm(total=100, bar_format="{percentage:3.0f}% |{bar:30}| {elapsed} {desc}") as bar:

        def show(share: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(round(share * 100) - bar.n)

        fine_tune(
            sets["train"], sets["validation"], data.LABELS, arguments_from_settings(), folder, show
        )


def row(name: str, judged: Evaluation) -> str:
    recalls = " ".join(f"{scores.recall:.2f}" for scores in judged.per_class.values())
    return (
        f"{name:<34} {judged.macro_recall:>12.4f} {judged.macro_f1:>9.4f} "
        f"{judged.accuracy:>9.4f} {judged.ece:>7.4f}   {recalls}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="Keep the trained model here.")
    options = parser.parse_args()
    real, sets = data.tweeteval("val"), starter_sets()
    print({name: len(labelled) for name, labelled in sets.items()}, f"judged on {len(real)} posts")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        started = time.monotonic()
        fine_tuned(sets, folder)
        trained = time.monotonic() - started
        export_onnx(folder)
        exported = time.monotonic() - started - trained
        print(f"\ntrained in {trained:.0f} s, exported in {exported:.0f} s")
        print(f"{'':<34} macro recall  macro F1  accuracy     ECE   recall neg neu pos")
        print(row("VADER", evaluate(real.labels, vader(real), data.LABELS)))
        judged = evaluate(real.labels, tf_idf(sets["train"], real), data.LABELS)
        print(row("TF-IDF + logistic regression", judged))
        for backend in ("onnx", "onnx-int8"):
            classifier = SentimentClassifier(folder, backend)
            probabilities = classifier.predict_proba(real.texts)
            judged = evaluate(real.labels, probabilities, data.LABELS)
            print(row(f"starter model, {backend}", judged))
            own = sets["test"]
            judged = evaluate(own.labels, classifier.predict_proba(own.texts), data.LABELS)
            print(row(f"  on held-out starter posts ({len(own)})", judged))
            hard = starter.challenge()
            truth = [data.LABELS.index(post.label) for post in hard]
            judged = evaluate(
                truth, classifier.predict_proba([post.text for post in hard]), data.LABELS
            )
            print(row(f"  on the challenge set ({len(hard)})", judged))


if __name__ == "__main__":
    main()
