"""The words that set one group of posts apart from the others."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from math import log, sqrt

from modeling.ml import text

# A word in fewer posts than this says more about one author than about a topic.
MINIMUM_POSTS = 3


@lru_cache(maxsize=4096)
def _words(post: str) -> frozenset[str]:
    """Live pages look at the same newest posts again and again."""
    return frozenset(text.words(post))


def distinctive(
    posts: Iterable[tuple[str, str]],
    *,
    limit: int = 12,
    find: Callable[[str], Collection[str]] = _words,
) -> dict[str, list[tuple[str, int, float]]]:
    """For each group of (group, text) pairs its words with count and z-score, strongest first.

    Log-odds ratio with an informative Dirichlet prior, here the words of all posts (Monroe,
    Colaresi & Quinn 2008, "Fightin' Words"). A word counts once a post. `find` tells a text's
    words, or whatever else is counted.
    """
    groups: dict[str, Counter[str]] = {}
    for group, post in posts:
        groups.setdefault(group, Counter()).update(find(post))
    overall: Counter[str] = Counter()
    for counts in groups.values():
        overall.update(counts)
    return {group: _ranked(counts, overall)[:limit] for group, counts in groups.items()}


def _ranked(counts: Mapping[str, int], overall: Counter[str]) -> list[tuple[str, int, float]]:
    total, here = overall.total(), sum(counts.values())
    elsewhere = total - here
    if not elsewhere:
        return [(word, n, 0.0) for word, n in Counter(counts).most_common() if n >= MINIMUM_POSTS]
    # The prior weighs as much as a tenth of the smaller side.
    strength = max(min(here, elsewhere) / 10, 1.0)
    scored = []
    for word, count in counts.items():
        # A word that is all there is sets nothing apart.
        if count < MINIMUM_POSTS or overall[word] == total:
            continue
        prior = strength * overall[word] / total
        other = overall[word] - count
        inside = log((count + prior) / (here + strength - count - prior))
        outside = log((other + prior) / (elsewhere + strength - other - prior))
        z = (inside - outside) / sqrt(1 / (count + prior) + 1 / (other + prior))
        if z > 1:
            scored.append((word, count, round(z, 2)))
    return sorted(scored, key=lambda item: -item[2])
