"""Which posts are too alike to ask about both.

Posts that read alike share a digest. Where the champion's embedder is loaded, what the champion
cannot tell apart counts as alike, too; it is loaded aside, because nobody should wait for it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from modeling import registry, serving
from modeling.exceptions import RegistryError
from modeling.ml import text
from modeling.ml.artifact import ArtifactError
from modeling.ml.embedding import Embedder
from modeling.models import LabelScheme, ModelVersion

logger = logging.getLogger(__name__)

# Cosine of the angle between two embeddings, from which on two posts teach the same.
ALIKE = 0.98
# Vectors that a process keeps, and texts that it embeds for one question at most.
KEPT = 4000
AT_ONCE = 64

Vector = NDArray[np.float32]


@lru_cache(maxsize=20_000)
def digest(post_text: str) -> str:
    """As `modeling.ml.text.digest`, remembered."""
    return text.digest(post_text)


class Embeddings:
    """Unit vectors of texts by one version, the newest kept."""

    def __init__(self, version: ModelVersion) -> None:
        self.version_id = version.pk
        self._kept: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()
        folder = registry.local_folder(version.artifact_uri, version.artifact_digests)
        self._embedder = Embedder(folder, serving.load(version))

    def of(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Digest → unit vector, of the first `AT_ONCE` texts that are new and all known ones."""
        with self._lock:
            by_key = {digest(one): one for one in texts}
            fresh = [key for key in by_key if key not in self._kept][:AT_ONCE]
            if fresh:
                rows = self._embedder.embed([by_key[key] for key in fresh])
                rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
                self._kept.update(zip(fresh, rows, strict=True))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return {key: self._kept[key] for key in by_key if key in self._kept}


_loaded: dict[str, Embeddings] = {}
# Scheme and version that are being loaded, or could not be.
_loading: set[tuple[str, int]] = set()
_guard = threading.Lock()


def embeddings(scheme: LabelScheme) -> Embeddings | None:
    """The champion's, where this process has them; else they are loaded for the next time."""
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
        load(scheme_key, version)
    except (ArtifactError, RegistryError) as error:
        # Without them posts that read alike still come once; this version is not tried again.
        logger.warning("no embeddings of version %s to label by: %s", version.version, error)
        return
    finally:
        connection.close()
    with _guard:
        _loading.discard((scheme_key, version.pk))


def reset() -> None:
    """Forget what is loaded: for tests."""
    with _guard:
        _loaded.clear()
        _loading.clear()


class Seen:
    """Texts that have been asked about, and what is too like one of them."""

    def __init__(self, texts: Iterable[str], source: Embeddings | None) -> None:
        self._source = source
        known = list(texts)
        self._digests = {digest(one) for one in known}
        self._vectors = list(source.of(known).values()) if source is not None else []
        self._ahead: dict[str, Vector] = {}

    def look_ahead(self, texts: Sequence[str]) -> None:
        """Embed at once what is going to be asked about one by one."""
        if self._source is not None:
            self._ahead |= self._source.of(texts[:AT_ONCE])

    def take(self, post_text: str) -> bool:
        """Whether a text is unlike all before it; then it is one of them."""
        key = digest(post_text)
        if key in self._digests:
            return False
        vector = self._ahead.get(key)
        if vector is not None:
            if self._vectors and float((np.stack(self._vectors) @ vector).max()) >= ALIKE:
                return False
            self._vectors.append(vector)
        self._digests.add(key)
        return True
