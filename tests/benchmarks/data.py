"""Public labelled posts that the benchmarks read; `docs/benchmarks.md` says where to get them."""

import csv
import os
import sys
from pathlib import Path

from modeling.ml.arguments import Labelled

LABELS = ("negative", "neutral", "positive")


def folder() -> Path:
    """The folder that BENCH_DATA names; ends the program with a hint when there is none."""
    path = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    if not path.is_dir():
        sys.exit(
            f"SKIPPED: no benchmark data at {path}. Set BENCH_DATA to a folder of public labelled "
            "posts; docs/benchmarks.md says where they come from."
        )
    return path


def tweeteval(name: str) -> Labelled:
    """A file pair of TweetEval's sentiment task: `train` or `val`."""
    base = folder() / "tweeteval"
    texts = (base / f"{name}_text.txt").read_text(encoding="utf-8").splitlines()
    labels = (base / f"{name}_labels.txt").read_text(encoding="utf-8").split()
    return Labelled(texts, [int(label) for label in labels])


def airline() -> Labelled:
    """Tweets to US airlines, with the label that most annotators gave."""
    with (folder() / "airline" / "Tweets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return Labelled(
        [row["text"] for row in rows], [LABELS.index(row["airline_sentiment"]) for row in rows]
    )


def sentiment140() -> Labelled:
    """Tweets of 2009, labelled by the emoticons that they held: right most of the time, and none
    is neutral."""
    base = folder() / "sentiment140"
    texts, labels = [], []
    for label in ("negative", "positive"):
        # Some tweets hold characters that splitlines takes for the end of a line.
        lines = (base / f"{label}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        texts += lines
        labels += [LABELS.index(label)] * len(lines)
    return Labelled(texts, labels)
