"""Kinds of posts that a model is judged on separately: a good mean may hide a bad corner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import emoji
import numpy as np
from numpy.typing import NDArray

from modeling.ml.features import NEGATION

# Smaller slices are shown but not judged: one post more or less moves them by over two points.
MINIMUM_SIZE = 50

# In characters: the first is about ten words, the second the length of an early tweet.
SHORT, LONG = 60, 140


@dataclass(frozen=True)
class Origin:
    """Where a text comes from. Several posts may say the same, hence several of each.

    `posts` are database ids: what tells whether a version has learned from the text.
    """

    languages: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    posts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Slice:
    """The posts (a mask over all) whose `dimension` is `value`."""

    dimension: str
    value: str
    members: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return int(self.members.sum())


def slices(texts: Sequence[str], origins: Sequence[Origin] = ()) -> list[Slice]:
    """Every slice that has a post: by language, source and stream (where `origins` tells them),
    length, emoji and negation (English words for it)."""
    values: dict[tuple[str, str], list[int]] = {}
    for index, text in enumerate(texts):
        origin = origins[index] if origins else Origin()
        for key in _values(text, origin):
            values.setdefault(key, []).append(index)
    found = []
    for (dimension, value), members in sorted(values.items()):
        mask = np.zeros(len(texts), dtype=bool)
        mask[members] = True
        found.append(Slice(dimension, value, mask))
    return found


def _values(text: str, origin: Origin) -> Iterator[tuple[str, str]]:
    for dimension, named in (
        ("language", origin.languages),
        ("source", origin.sources),
        ("stream", origin.streams),
    ):
        for value in named:
            yield dimension, value or "unknown"
    length = "short" if len(text) < SHORT else "medium" if len(text) < LONG else "long"
    yield "length", length
    yield "emoji", _yes(not text.isascii() and emoji.emoji_count(text) > 0)
    yield "negation", _yes(NEGATION.search(text) is not None)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
