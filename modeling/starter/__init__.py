"""The starter corpus: posts written for this project, so that a fresh installation can judge.

`labelled/*.tsv` hold `label<TAB>text`, a domain each: what the starter model learns from.
`challenge/*.tsv`, in the same form, are subtler posts that it is only judged on. `demo/*.tsv` hold
unlabelled `author<TAB>text` in the order in which the demo replays them.
`docs/starter-corpus.md` tells how they were written.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class StarterPost:
    """One written post; `domain` is the name of its file."""

    label: str
    text: str
    domain: str


def labelled() -> list[StarterPost]:
    """Every post that the starter model learns from, in the order of the files."""
    return _labelled_in("labelled")


def challenge() -> list[StarterPost]:
    """Posts whose feeling is between the lines: irony, understatement, no telling word."""
    return _labelled_in("challenge")


def _labelled_in(folder: str) -> list[StarterPost]:
    return [
        StarterPost(row["label"], row["text"], path.stem)
        for path in sorted((FOLDER / folder).glob("*.tsv"))
        for row in _rows(path)
    ]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)


@dataclass(frozen=True)
class DemoPost:
    """One post of the demo's stories."""

    topic: str
    author: str
    text: str


def demo_topics() -> list[str]:
    """Names of the stories, from their file names."""
    return sorted(_topic(path) for path in (FOLDER / "demo").glob("*.tsv"))


def demo_posts(topic: str) -> list[DemoPost]:
    """A story's posts in the order in which they happened."""
    path = next(path for path in (FOLDER / "demo").glob("*.tsv") if _topic(path) == topic)
    return [DemoPost(topic, row["author"], row["text"]) for row in _rows(path)]


def _topic(path: Path) -> str:
    return path.stem.replace("_", " ").title()
