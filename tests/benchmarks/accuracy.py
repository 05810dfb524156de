"""Train on TweetEval's 47,335 posts, and judge on posts of three kinds that nothing learns from.

`make bench-accuracy`. Of the training file 6,000 posts are the test set, and 2,000 choose the epoch
and calibrate confidence; the validation file and airline tweets, of which most are negative, judge
too. all-mpnet-base-v2, of twelve layers of 768, learns from the posts first and is the teacher.
`--alone` does without (a seventh of the time), `--teacher` takes another, `--distant` begins with
posts of Sentiment140, labelled by their emoticons. `--plain` is the simplest training, to compare
with; `--set layer_decay=0.9` changes an argument.
"""

import argparse
import ast
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from django.conf import settings

from modeling.ml import distill
from modeling.ml.arguments import Epoch, Labelled, SoftLabels, TrainingArguments, Watch
from modeling.ml.artifact import SETTINGS_FILE
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.ml.export import export_onnx
from modeling.ml.training import fine_tune
from tests.benchmarks import data, mpnet

TEST = 6000
HELD_OUT = 2000
UNLABELLED = 40_000
POLES = ("negative", "positive")
PLAIN = TrainingArguments(
    learning_rate=1.5e-4, epochs=2, batch_size=64, class_weights=False, label_smoothing=0.0
)
RECIPE = TrainingArguments(
    learning_rate=2e-4,
    layer_decay=0.9,
    epochs=2,
    batch_size=64,
    # Smoothing makes a model of few epochs less sure than it may be; the temperature does its work.
    label_smoothing=0.0,
    freeze_embeddings=False,
)
# Twice the layers, and each twice as wide: a lower rate, smaller batches.
TEACHER = replace(
    RECIPE,
    learning_rate=5e-5,
    layer_decay=0.95,
    epochs=1,
    batch_size=32,
    freeze_embeddings=True,
)
DISTANT = replace(PLAIN, epochs=1, label_smoothing=0.1)
SEED = 7

Set = tuple[str, Labelled]


def drawn(labelled: Labelled, size: int) -> Labelled:
    """`size` posts at random, always the same ones; all of them in another order if it is over."""
    rows = random.Random(SEED).sample(range(len(labelled)), min(size, len(labelled)))
    return Labelled([labelled.texts[i] for i in rows], [labelled.labels[i] for i in rows])


def split(labelled: Labelled, held_out: int) -> tuple[Labelled, Labelled]:
    """The posts after the first `held_out`, and those."""
    texts, labels = labelled.texts, labelled.labels
    return Labelled(texts[held_out:], labels[held_out:]), Labelled(
        texts[:held_out], labels[:held_out]
    )


def train(
    name: str, posts: Labelled, labels: tuple[str, ...], arguments: TrainingArguments, folder: Path,
    soft: SoftLabels | None = None, held_out: int = HELD_OUT,
) -> None:  # fmt: skip
    learned, chosen_on = split(posts, held_out)
    started = time.monotonic()
    print(f"{name}: {len(learned):,} posts, {arguments}", flush=True)
    with tqdm(total=100, bar_format="{percentage:3.0f}% |{bar:30}| {elapsed} {desc}") as bar:

        def show(share: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(round(share * 100) - bar.n)

        def note(history: Sequence[Epoch]) -> None:
            judged = history[-1].validation
            bar.write(
                f"  epoch {len(history)}: loss {history[-1].loss:.4f}, macro recall "
                f"{judged.macro_recall:.4f} on {len(chosen_on):,} held-out posts"
            )

        watch = Watch(on_epoch=note)
        fine_tune(
            learned, chosen_on, labels, arguments, folder, show, soft_labels=soft, watch=watch
        )
    print(f"  {name} took {time.monotonic() - started:.0f} s", flush=True)


def opinions(source: str, posts: Labelled, unlabelled: int, held_out: int) -> SoftLabels:
    """What the teacher thinks of the posts to learn, and of some without labels."""
    learned, _ = split(posts, held_out)
    teacher = distill.load(source)
    further = drawn(data.sentiment140(), unlabelled).texts if unlabelled else ()

    def judge(texts: Sequence[str]) -> NDArray[np.float32]:
        with tqdm(bar_format="{elapsed} {desc}") as bar:
            return distill.opinions(teacher, texts, data.LABELS, bar.set_description_str)

    return SoftLabels(judge(learned.texts), further, judge(further) if further else None)


def row(name: str, judged: Evaluation) -> str:
    low, high = judged.intervals["macro_recall"]
    recalls = " ".join(f"{scores.recall:.3f}" for scores in judged.per_class.values())
    return (
        f"{name:<30} {judged.macro_recall:.4f} ({low:.3f}–{high:.3f}) {judged.macro_f1:>9.4f} "
        f"{judged.accuracy:>9.4f} {judged.ece:>7.4f}   {recalls}"
    )


def show(folder: Path, sets: Sequence[Set]) -> None:
    """The table: the model in `folder`, in float and in int8, on each set."""
    export_onnx(folder)
    print(f"{'':<30} macro recall (95 %)    macro F1  accuracy     ECE   recall neg neu pos")
    for backend in ("torch", "onnx-int8"):
        classifier = SentimentClassifier(folder, backend)
        for name, real in sets:
            probabilities = classifier.predict_proba(real.texts)
            judged = evaluate(np.asarray(real.labels), probabilities, data.LABELS)
            print(row(f"{name}, {backend}", judged), flush=True)


def others() -> list[Set]:
    """Sets that are no part of the training file."""
    return [
        ("validation", data.tweeteval("val")),
        ("airline, 3,000", drawn(data.airline(), 3000)),
    ]


def teacher_of(posts: Labelled, folder: Path, held_out: int) -> str:
    """The model in `folder`, where all-mpnet-base-v2 is trained first if there is none; "" where
    that cannot be fetched."""
    if not (folder / SETTINGS_FILE).is_file():
        encoder = mpnet.fetch(settings.VAR_DIR / "benchmarks" / "all-mpnet-base-v2")
        if encoder is None:
            return ""
        arguments = replace(TEACHER, base_model=str(encoder))
        train("teacher", posts, data.LABELS, arguments, folder, held_out=held_out)
    return str(folder)


def changed(arguments: TrainingArguments, pairs: list[str]) -> TrainingArguments:
    values = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        values[name] = value if name in ("base_model", "schedule") else ast.literal_eval(value)
    return replace(arguments, **values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="The simplest training.")
    parser.add_argument("--posts", type=int, default=0, help="Of the training file; 0: all.")
    parser.add_argument("--distant", type=int, default=0, help="Sentiment140 posts to begin with.")
    parser.add_argument("--alone", action="store_true", help="Without a teacher.")
    parser.add_argument(
        "--teacher", type=Path, metavar="FOLDER",
        help="The model there teaches; without one all-mpnet-base-v2 is trained into it.",
    )  # fmt: skip
    parser.add_argument(
        "--unlabelled", type=int, default=UNLABELLED,
        help="Sentiment140 posts that the teacher judges beside the labelled ones.",
    )  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="ARGUMENT=VALUE")
    parser.add_argument("--folder", type=Path, help="Keep the trained model here.")
    options = parser.parse_args()
    posts = drawn(data.tweeteval("train"), options.posts or 10**9)
    posts, test = split(posts, min(TEST, len(posts) // 5))
    held_out = min(HELD_OUT, len(posts) // 5)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary, "model")
        arguments = changed(PLAIN if options.plain else RECIPE, options.set)
        if options.distant:
            first = Path(temporary, "distant")
            begin = replace(DISTANT, base_model=arguments.base_model)
            distant = drawn(data.sentiment140(), options.distant + HELD_OUT)
            poles = Labelled(distant.texts, [label // 2 for label in distant.labels])
            train("distant supervision", poles, POLES, begin, first)
            arguments = replace(arguments, base_model=str(first))
        soft = None
        if not (options.alone or options.plain):
            chosen = options.teacher or Path(temporary, "teacher")
            if teacher := teacher_of(posts, chosen, held_out):
                soft = opinions(teacher, posts, options.unlabelled, held_out)
        train("fine-tuning", posts, data.LABELS, arguments, folder, soft, held_out)
        print(f"trained in {time.monotonic() - started:.0f} s")
        show(folder, [(f"held out, {len(test):,}", test), *others()])


if __name__ == "__main__":
    main()
