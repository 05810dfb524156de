"""Which posts are too alike to ask about both, and which are most unlike.

Near duplicates share a digest or most of their words. Where the champion's embedder is loaded, it
spreads the questions over what the champion sees in posts; it is loaded aside, because nobody
should wait for it. Its embeddings alone tell no duplicates: they lie close by sentiment.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from modeling import registry, serving
from modeling.exceptions import RegistryError
from modeling.ml import text
from modeling.ml.artifact import ArtifactError
from modeling.ml.embedding import Embedder
from modeling.models import LabelScheme, ModelVersion

logger = logging.getLogger(__name__)

# Of the words of two near duplicates, so many are in both (Jaccard).
ALIKE = 0.8
# Vectors that a process keeps, and texts that are spread out, and embedded, at once.
KEPT = 4000
AT_ONCE = 32

Vector = NDArray[np.float32]


@lru_cache(maxsize=20_000)
def digest(post_text: str) -> str:
    """As `modeling.ml.text.digest`, remembered."""
    return text.digest(post_text)


@lru_cache(maxsize=20_000)
def _words(post_text: str) -> frozenset[str]:
    return frozenset(text.normalise(post_text).lower().split())


class Embeddings:
    """Unit vectors of texts by one version; those that were asked for last are kept."""

    def __init__(self, version: ModelVersion) -> None:
        self.version_id = version.pk
        self._kept: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()
        folder = registry.local_folder(version.artifact_uri, version.artifact_digests)
        self._embedder = Embedder(folder, serving.load(version))

    def known(self, texts: Iterable[str]) -> list[Vector]:
        """Of those texts that have been embedded before."""
        keys = [digest(one) for one in texts]
        with self._lock:
            return [self._kept[key] for key in keys if key in self._kept]

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row a text, at most `AT_ONCE` of them."""
        by_key = {digest(one): one for one in texts}
        with self._lock:
            fresh = [key for key in by_key if key not in self._kept]
            # What is asked for now is not what makes room for the rest of it.
            for key in by_key.keys() - set(fresh):
                self._kept.move_to_end(key)
            if fresh:
                rows = self._embedder.embed([by_key[key] for key in fresh])
                rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
                self._kept.update(zip(fresh, rows, strict=True))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return np.stack([self._kept[digest(one)] for one in texts])


_loaded: dict[str, Embeddings] = {}
# Scheme and version that are being loaded, or could not be.
_loading: set[tuple[str, int]] = set()
_guard = threading.Lock()


def embeddings(scheme: LabelScheme) -> Embeddings | None:
    """The champion's, where this process has them; else they are loaded for the next time, unless
    LABELLING_EMBEDDINGS is off."""
    if not settings.LABELLING_EMBEDDINGS:
        return None
    version = ModelVersion.objects.champions().filter(scheme=scheme).first()
    if version is None:
        return None
    known = _loaded.get(scheme.key)
    if known is not None and known.version_id == version.pk:
        return known
    with _guard:
        if (scheme.key, version.pk) in _loading:
            return None
        _loading.add((scheme.key, version.pk))
    threading.Thread(
        target=_load, args=(scheme.key, version), name="embeddings", daemon=True
    ).start()
    return None


def load(scheme_key: str, version: ModelVersion) -> None:
    """Have `version`'s embeddings ready. Raises ArtifactError or RegistryError."""
    _loaded[scheme_key] = Embeddings(version)


def _load(scheme_key: str, version: ModelVersion) -> None:
    try:
        fresh = Embeddings(version)
    except (ArtifactError, RegistryError) as error:
        # Without them posts that read alike still come once; this version is not tried again.
        logger.warning("no embeddings of version %s to label by: %s", version.version, error)
        return
    finally:
        connection.close()
    with _guard:
        # Unless it was forgotten meanwhile.
        if (scheme_key, version.pk) in _loading:
            _loading.discard((scheme_key, version.pk))
            _loaded[scheme_key] = fresh


def reset() -> None:
    """Forget what is loaded: for tests."""
    with _guard:
        _loaded.clear()
        _loading.clear()


class Seen:
    """Texts that have been asked about, what is too like one of them, and what is least like."""

    def __init__(self, texts: Iterable[str], source: Embeddings | None) -> None:
        self._source = source
        known = list(texts)
        self._digests = {digest(one) for one in known}
        self._words = [_words(one) for one in known]
        self._vectors = source.known(known) if source is not None else []

    def take(self, post_text: str) -> bool:
        """Whether a text is no near duplicate of one before it; then it is one of them."""
        key, words = digest(post_text), _words(post_text)
        if key in self._digests or any(_is_alike(words, other) for other in self._words):
            return False
        self._digests.add(key)
        self._words.append(words)
        return True

    def spread(self, texts: Sequence[str]) -> list[int]:
        """The places of at most `AT_ONCE` texts, each next one the least like all before it (greedy
        k-centre, Sener and Savarese 2018); as they are where no embedder is loaded."""
        places = list(range(len(texts)))
        if self._source is None or len(texts) < 2:
            return places
        vectors = self._source.of(texts)
        closest = np.full(len(texts), -1.0, dtype=np.float32)
        if self._vectors:
            closest = (vectors @ np.stack(self._vectors).T).max(axis=1)
        order: list[int] = []
        while places:
            best = min(places, key=lambda place: float(closest[place]))
            places.remove(best)
            order.append(best)
            closest = np.maximum(closest, vectors @ vectors[best])
        return order


def _is_alike(words: frozenset[str], others: frozenset[str]) -> bool:
    both = len(words & others)
    return both >= ALIKE * (len(words) + len(others) - both) > 0
