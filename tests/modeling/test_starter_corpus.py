"""The posts that were written for this project."""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from modeling import starter

TOKEN = re.compile(r"[\w'@#]+|[^\w\s]")
LABELS = {"negative", "neutral", "positive"}
WRITTEN = [*starter.labelled(), *starter.challenge()]


def near_duplicates(texts: list[str], threshold: float = 0.7) -> int:
    """Texts whose set of tokens overlaps an earlier one's by more than `threshold` (Jaccard)."""
    found = 0
    index: dict[str, list[int]] = defaultdict(list)
    sets = [frozenset(TOKEN.findall(text.lower())) for text in texts]
    spread = Counter(token for tokens in sets for token in tokens)
    for number, tokens in enumerate(sets):
        # Two sets that overlap so much share one of the rarest tokens of either.
        keys = sorted(tokens, key=lambda token: (spread[token], token))
        keys = keys[: len(tokens) - int(threshold * len(tokens)) + 1]
        near = {other for token in keys for other in index[token]}
        found += any(
            len(tokens & sets[other]) / len(tokens | sets[other]) > threshold for other in near
        )
        for token in keys:
            index[token].append(number)
    return found


def test_near_duplicates_are_found() -> None:
    texts = ["the train was late again today", "the train was late again today!", "a nice day"]
    assert near_duplicates(texts) == 1


def test_at_least_three_thousand_labelled_posts_and_no_class_under_a_quarter() -> None:
    counts = Counter(post.label for post in WRITTEN)
    assert sum(counts.values()) >= 3000
    assert set(counts) == LABELS
    assert min(counts.values()) / sum(counts.values()) >= 0.25


def test_what_the_model_learns_from_is_balanced_as_well() -> None:
    counts = Counter(post.label for post in starter.labelled())
    assert min(counts.values()) / sum(counts.values()) >= 0.25


def test_posts_have_three_to_sixty_words() -> None:
    assert [post.text for post in WRITTEN if not 3 <= len(post.text.split()) <= 60] == []


def test_at_most_one_percent_are_near_duplicates() -> None:
    texts = [post.text for post in WRITTEN]
    assert near_duplicates(texts) <= len(texts) / 100


def test_the_demo_has_stories_to_tell() -> None:
    stories = {topic: starter.demo_posts(topic) for topic in starter.demo_topics()}
    texts = [post.text for posts in stories.values() for post in posts]
    assert len(stories) >= 4
    assert len(texts) >= 1500
    assert all(post.author and post.text for posts in stories.values() for post in posts)
    assert near_duplicates(texts) <= len(texts) / 100


def test_none_was_copied_from_real_posts() -> None:
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    paths = sorted(folder.glob("*/*text.txt")) + sorted(folder.glob("sentiment140/*.txt"))
    if not paths:
        pytest.skip(f"no real posts at {folder}: set BENCH_DATA")
    real: set[tuple[str, ...]] = set()
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            real.update(sequences(line))
    copied = [post.text for post in WRITTEN if any(s in real for s in sequences(post.text))]
    # Sayings and lyrics that everybody quotes.
    assert len(copied) <= len(WRITTEN) / 1000, copied


def sequences(text: str, length: int = 8) -> list[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
