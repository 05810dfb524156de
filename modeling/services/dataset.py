"""What a model learns from and is judged on."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from ingestion.language_tags import primary
from ingestion.models import Post
from modeling import starter
from modeling.exceptions import NotEnoughData
from modeling.ml import text
from modeling.ml.arguments import Labelled
from modeling.ml.slices import Origin
from modeling.models import Annotation, LabelScheme
from modeling.services.annotate import majority
from modeling.services.label_files import LabelledRow, known_posts

TEST_PERCENT = 10
VALIDATION_PERCENT = 10
MINIMUM_SIZE = 100
MINIMUM_A_CATEGORY = 15
# Of each category: fewer teach nothing, choose no epoch, or judge nothing.
MINIMUM_A_SET = {"train": 2, "validation": 2, "test": 1}
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
    comes from, in the order of `test`; `origins` counts all texts by who labelled them, and
    `withdrawn` a file's rows that are left out because their posts are deleted here.
    """

    labels: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled
    digest: str
    posts: dict[int, str] = field(default_factory=dict)
    meta: tuple[Origin, ...] = ()
    origins: Mapping[str, int] = field(default_factory=dict)
    withdrawn: int = 0

    def describe(self) -> str:
        """How many texts, and from where; what was left out of a file."""
        parts = [
            f"{self.origins[origin]:,} {words}"
            for origin, words in (
                ("annotated", "annotated"),
                ("file", "of the file"),
                ("starter", "of the starter corpus"),
            )
            if self.origins.get(origin)
        ]
        told = f"{sum(self.origins.values()):,} texts ({', '.join(parts)})"
        if self.withdrawn:
            told += f"; rows of the file left out, as their posts are deleted: {self.withdrawn:,}"
        return told


@dataclass
class _Entry:
    """A text with its label ("" for a tie), and the posts that say it."""

    text: str
    label: str
    posts: set[int] = field(default_factory=set)
    origin: str = "annotated"


def gather(
    scheme: LabelScheme, *, as_of: datetime | None = None, rows: Sequence[LabelledRow] = ()
) -> Dataset:
    """Starter corpus (for the default scheme), `rows` of a file and annotations; the later win.

    An annotation labels the text that its person saw: an edited post's earlier version stays,
    with its label, while a deleted post goes with all that was said of it, here and in the file. A
    text on which the winning votes tie is left out, whatever others say of it. `as_of` gives the
    labels that were in force then. Raises NotEnoughData for too few texts, or too few of one
    category, in all or in one of the sets.
    """
    labels = tuple(scheme.categories.values_list("key", flat=True))
    by_text: dict[str, _Entry] = {}
    if scheme.key == LabelScheme.DEFAULT_KEY:
        for post in starter.labelled():
            by_text[text.digest(post.text)] = _Entry(post.text, post.label, origin="starter")
    from_file, withdrawn = _of_file(rows)
    for part in (from_file, _annotated(scheme, as_of)):
        for key, entry in part.items():
            if key in by_text:
                entry.posts |= by_text[key].posts
            by_text[key] = entry
    by_text = {key: entry for key, entry in by_text.items() if entry.label}
    _check(by_text, labels)
    return replace(_split(by_text, labels), withdrawn=withdrawn)


def split_name(key: str) -> str:
    """The set that a text belongs to, by the hash of its normalised form."""
    percent = int(key[:8], 16) % 100
    if percent < TEST_PERCENT:
        return "test"
    return "validation" if percent < TEST_PERCENT + VALIDATION_PERCENT else "train"


def _of_file(rows: Sequence[LabelledRow]) -> tuple[dict[str, _Entry], int]:
    """A file's texts with their majority label and the posts here that they are; and how many rows
    are left out because their posts are deleted."""
    votes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    entries: dict[str, _Entry] = {}
    withdrawn = 0
    for row, known in zip(rows, known_posts(rows), strict=True):
        post, is_deleted = known or (None, False)
        if is_deleted:
            withdrawn += 1
            continue
        key = text.digest(row.text)
        entry = entries.setdefault(key, _Entry(row.text, "", origin="file"))
        if post is not None:
            entry.posts.add(post)
        votes[key][row.origin, row.label] += 1
    return _labelled(entries, votes), withdrawn


def _annotated(scheme: LabelScheme, as_of: datetime | None) -> dict[str, _Entry]:
    """Text digest → text, its majority label and its posts; deleted ones are left out.

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
    return _labelled(entries, votes)


def _labelled(
    entries: dict[str, _Entry], votes: Mapping[str, Counter[tuple[str, str]]]
) -> dict[str, _Entry]:
    for key, entry in entries.items():
        entry.label = majority(votes[key])
    return entries


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
    _check_sets(by_text, labels)


def _check_sets(by_text: dict[str, _Entry], labels: tuple[str, ...]) -> None:
    """Which set a text is in goes by its hash: a small category may miss one altogether."""
    counts = Counter((entry.label, split_name(key)) for key, entry in by_text.items())
    scarce = [
        label
        for label in labels
        if any(counts[label, name] < least for name, least in MINIMUM_A_SET.items())
    ]
    if not scarce:
        return
    named = "; ".join(
        f"{label} has {', '.join(f'{counts[label, name]} in {name}' for name in MINIMUM_A_SET)}"
        for label in scarce
    )
    needed = ", ".join(f"{least} in {name}" for name, least in MINIMUM_A_SET.items())
    raise NotEnoughData(
        f"each category needs at least {needed}, and a text's hash decides where it goes: {named}. "
        f"Label more posts of {', '.join(scarce)}; of ten, one goes to test and one to validation"
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
        for post in entry.posts:
            # A file may know another text of a post: learned from once is learned from.
            if posts.get(post, "test") == "test":
                posts[post] = split
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
            languages=frozenset(primary(rows[pk][0]) for pk in entry.posts if pk in rows),
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
