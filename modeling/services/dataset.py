"""What a model learns from and is judged on."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from ingestion.models import Post
from modeling import starter
from modeling.exceptions import NotEnoughData
from modeling.ml import text
from modeling.ml.arguments import Labelled
from modeling.ml.slices import Origin
from modeling.models import Annotation, LabelScheme
from modeling.services.label_files import LabelledRow

TEST_PERCENT = 10
VALIDATION_PERCENT = 10
MINIMUM_SIZE = 100
MINIMUM_A_CATEGORY = 15
# Rows a query: below SQLite's limit of parameters.
CHUNK = 500

# By the origin of a text that no stored post says.
WITHOUT_POSTS = {
    "starter": Origin(languages=frozenset({"en"}), sources=frozenset({"starter"})),
    "file": Origin(sources=frozenset({"file"})),
}


@dataclass(frozen=True)
class Dataset:
    """Texts split for good: a text never moves between the sets, whatever joins later.

    `labels` gives the meaning of label indices; `digest` changes with any text, label or split.
    `posts` tells the split of each post whose text is in it. `meta` tells where each test text
    comes from, in the order of `test`; `origins` counts all texts by who labelled them.
    """

    labels: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled
    digest: str
    posts: dict[int, str] = field(default_factory=dict)
    meta: tuple[Origin, ...] = ()
    origins: Mapping[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """How many texts, and from where."""
        parts = [
            f"{self.origins[origin]:,} {words}"
            for origin, words in (
                ("annotated", "annotated"),
                ("file", "of the file"),
                ("starter", "of the starter corpus"),
            )
            if self.origins.get(origin)
        ]
        return f"{sum(self.origins.values()):,} texts ({', '.join(parts)})"


@dataclass
class _Entry:
    """A text with its label, and the posts that say it."""

    text: str
    label: str
    posts: set[int] = field(default_factory=set)
    origin: str = "annotated"


def gather(
    scheme: LabelScheme, *, as_of: datetime | None = None, rows: Sequence[LabelledRow] = ()
) -> Dataset:
    """Starter corpus (for the default scheme), `rows` of a file and annotations; the later win.

    An annotation labels the text that its person saw: an edited post's earlier version stays,
    with its label, while a deleted post goes with all that was said of it. `as_of` gives the
    labels that were in force then. Raises NotEnoughData for too few texts, or too few of one
    category.
    """
    labels = tuple(scheme.categories.values_list("key", flat=True))
    by_text: dict[str, _Entry] = {}
    if scheme.key == LabelScheme.DEFAULT_KEY:
        for post in starter.labelled():
            by_text[text.digest(post.text)] = _Entry(post.text, post.label, origin="starter")
    by_text.update(_of_file(rows))
    by_text.update(_annotated(scheme, as_of))
    _check(by_text, labels)
    return _split(by_text, labels)


def split_name(key: str) -> str:
    """The set that a text belongs to, by the hash of its normalised form."""
    percent = int(key[:8], 16) % 100
    if percent < TEST_PERCENT:
        return "test"
    return "validation" if percent < TEST_PERCENT + VALIDATION_PERCENT else "train"


def _of_file(rows: Sequence[LabelledRow]) -> dict[str, _Entry]:
    """A file's texts with their majority label; ties are left out."""
    votes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    texts: dict[str, str] = {}
    for row in rows:
        key = text.digest(row.text)
        texts.setdefault(key, row.text)
        votes[key][(Annotation.Origin.IMPORT, row.label)] += 1
    return {
        key: _Entry(texts[key], winner, origin="file")
        for key, counted in votes.items()
        if (winner := _majority(counted))
    }


def _annotated(scheme: LabelScheme, as_of: datetime | None) -> dict[str, _Entry]:
    """Text digest → text, its majority label and its posts; ties and deleted ones are left out.

    A review overrules what it settles, and people overrule imported labels of the same text.
    """
    votes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    entries: dict[str, _Entry] = {}
    usable = Annotation.objects.usable() if as_of is None else Annotation.objects.usable_at(as_of)
    annotations = (
        usable.filter(scheme=scheme)
        .order_by("pk")
        .values_list("post_id", "post__text", "category__key", "origin")
    )
    for post_id, post_text, category, origin in annotations.iterator(chunk_size=2000):
        key = text.digest(post_text)
        entries.setdefault(key, _Entry(post_text, "")).posts.add(post_id)
        votes[key][(origin, category)] += 1
    result = {}
    for key, counted in votes.items():
        if winner := _majority(counted):
            entries[key].label = winner
            result[key] = entries[key]
    return result


def _majority(votes: Counter[tuple[str, str]]) -> str | None:
    counted: Counter[str] = Counter()
    for kind in (Annotation.Origin.REVIEW, Annotation.Origin.HUMAN, Annotation.Origin.IMPORT):
        counted = Counter({c: n for (origin, c), n in votes.items() if origin == kind})
        if counted:
            break
    ranked = counted.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return None
    return ranked[0][0]


def _check(by_text: dict[str, _Entry], labels: tuple[str, ...]) -> None:
    counts = Counter(entry.label for entry in by_text.values())
    if len(by_text) < MINIMUM_SIZE:
        raise NotEnoughData(
            f"{len(by_text)} labelled posts are too few to train on: "
            f"label at least {MINIMUM_SIZE - len(by_text)} more"
        )
    scarce = [label for label in labels if counts[label] < MINIMUM_A_CATEGORY]
    if scarce:
        named = ", ".join(f"{label} ({counts[label]})" for label in scarce)
        raise NotEnoughData(
            f"each category needs {MINIMUM_A_CATEGORY} labelled posts; too few: {named}"
        )


def _split(by_text: dict[str, _Entry], labels: tuple[str, ...]) -> Dataset:
    sets: dict[str, tuple[list[str], list[int]]] = {
        name: ([], []) for name in ("train", "validation", "test")
    }
    posts: dict[int, str] = {}
    held_out: list[_Entry] = []
    seal = hashlib.sha256()
    # Sorted by hash: the order of rows in the database must not change the model.
    for key in sorted(by_text):
        entry, split = by_text[key], split_name(key)
        seal.update(f"{key}\t{entry.label}\n".encode())
        texts, numbers = sets[split]
        texts.append(entry.text)
        numbers.append(labels.index(entry.label))
        posts |= dict.fromkeys(entry.posts, split)
        if split == "test":
            held_out.append(entry)
    return Dataset(
        labels,
        train=Labelled(*sets["train"]),
        validation=Labelled(*sets["validation"]),
        test=Labelled(*sets["test"]),
        digest=seal.hexdigest(),
        posts=posts,
        meta=_origins(held_out),
        origins=Counter(entry.origin for entry in by_text.values()),
    )


def _origins(entries: list[_Entry]) -> tuple[Origin, ...]:
    """Where each text comes from, by the posts that say it, if there are any."""
    ids = sorted(set().union(*(entry.posts for entry in entries)))
    rows: dict[int, tuple[str, str]] = {}
    streams: dict[int, set[str]] = defaultdict(set)
    for start in range(0, len(ids), CHUNK):
        part = Post.objects.filter(pk__in=ids[start : start + CHUNK])
        rows |= {
            pk: (lang, source) for pk, lang, source in part.values_list("pk", "lang", "source")
        }
        named = part.filter(streams__isnull=False).values_list("pk", "streams__name")
        for pk, name in named:
            streams[pk].add(name)
    return tuple(
        Origin(
            languages=frozenset(rows[pk][0] for pk in entry.posts if pk in rows),
            sources=frozenset(rows[pk][1] for pk in entry.posts if pk in rows),
            streams=frozenset(name for pk in entry.posts for name in streams.get(pk, ())),
            posts=frozenset(entry.posts),
        )
        if entry.posts
        else WITHOUT_POSTS[entry.origin]
        for entry in entries
    )


def counts(data: Labelled, labels: tuple[str, ...]) -> dict[str, int]:
    """Texts of each label."""
    numbers = np.bincount(np.asarray(data.labels, dtype=int), minlength=len(labels))
    return dict(zip(labels, numbers.tolist(), strict=True))
