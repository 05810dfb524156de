"""The process's engine: loads the champion once, notices a new one, never drops a request."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection

from ingestion.models import Alert
from ingestion.services.alerts import close_alert, raise_alert
from modeling import metrics, registry
from modeling.cache import PredictionCache
from modeling.exceptions import EngineOverloaded, ModelUnavailable, NoChampion, RegistryError
from modeling.ml import artifact
from modeling.ml.artifact import ArtifactError
from modeling.ml.backends import DEFAULT_BACKEND
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.engine import EngineBusy, InferenceEngine, Judged
from modeling.models import LabelScheme, ModelVersion

logger = logging.getLogger(__name__)

# How long a process may go on with the old champion.
CHECK_SECONDS = 1.0
# In-flight requests of a replaced engine have long ended by then.
RETIRE_SECONDS = 30.0


@dataclass(frozen=True)
class Classification:
    """One text's judgement. `scores` maps every label to its probability; they sum to 1."""

    label: str
    confidence: float
    scores: dict[str, float]
    truncated: bool


def _identity(digests: Mapping[str, str]) -> str:
    """Of a version's files: its number may be another's in another database on the same Redis."""
    return blake2b(json.dumps(digests, sort_keys=True).encode(), digest_size=16).hexdigest()


class Served:
    """A loaded version, ready to classify."""

    def __init__(self, row: ModelVersion, classifier: SentimentClassifier) -> None:
        self.version_id = row.pk
        self.version = str(row.version)
        self.labels = classifier.labels
        self.backend = classifier.backend_name
        size = settings.PREDICTION_CACHE_SIZE
        namespace = f"{_identity(row.artifact_digests)}:{self.backend}"
        self.engine = InferenceEngine(
            classifier,
            workers=classifier.streams,
            cache=PredictionCache(namespace, size, settings.REDIS_URL) if size else None,
            on_batch=metrics.BATCH_SIZE.observe,
        )

    def classify(self, texts: Sequence[str], patience: float = math.inf) -> list[Classification]:
        """Judge raw texts, in order. Raises EngineOverloaded when too many wait already, or for
        longer than `patience` seconds."""
        return self._read(self._submit(texts, patience).result())

    async def aclassify(
        self, texts: Sequence[str], patience: float = math.inf
    ) -> list[Classification]:
        """As `classify`, for event loops: no thread waits."""
        return self._read(await asyncio.wrap_future(self._submit(texts, patience)))

    def _submit(self, texts: Sequence[str], patience: float) -> Future[Judged]:
        try:
            return self.engine.submit(texts, patience)
        except EngineBusy as error:
            raise EngineOverloaded(str(error)) from error
        finally:
            metrics.QUEUE_DEPTH.set(self.engine.queue_depth)

    def _read(self, judged: Judged) -> list[Classification]:
        # Python's own numbers: one by one, numpy's are slower.
        rows = judged.probabilities.tolist()
        best = judged.probabilities.argmax(axis=1).tolist() if rows else []
        return [
            Classification(
                label=self.labels[index],
                confidence=row[index],
                scores={label: round(p, 6) for label, p in zip(self.labels, row, strict=True)},
                truncated=truncated,
            )
            for row, index, truncated in zip(rows, best, judged.truncated, strict=True)
        ]


@dataclass
class _Slot:
    """What this process serves for one scheme, and when it last looked for something newer."""

    served: Served | None = None
    checked_at: float = float("-inf")
    error: str = ""
    # The state of the served version's files when they were last verified, and what was wrong.
    files: artifact.Fingerprint = ()
    damage: Exception | None = None
    # A thread is looking for something newer on behalf of an event loop.
    is_watched: bool = False

    def is_stale(self) -> bool:
        # What could not be loaded is not tried again by every request that waits for it.
        is_empty = self.served is None and not self.error
        return is_empty or time.monotonic() - self.checked_at > CHECK_SECONDS


_slots: dict[str, _Slot] = {}
_lock = threading.Lock()
_watcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="champion")


def champion(scheme_key: str = LabelScheme.DEFAULT_KEY) -> Served:
    """The champion of a scheme, loaded; looks for a new one at most once a second.

    A new champion that cannot be loaded leaves the old one serving and raises an alert; so does a
    database that is away, without one. Raises NoChampion when there is none, ModelUnavailable when
    the only one cannot be loaded.
    """
    slot = _slots.setdefault(scheme_key, _Slot())
    # Who already has a champion goes on with it while another thread loads the next.
    if slot.is_stale() and _lock.acquire(blocking=slot.served is None):
        try:
            if slot.is_stale():
                _refresh(slot, scheme_key)
        except DatabaseError as error:
            if slot.served is None:
                raise
            slot.checked_at = time.monotonic()
            logger.warning("cannot look for a new champion: %s", error)
        finally:
            _lock.release()
    if slot.served is None:
        raise ModelUnavailable(slot.error)
    return slot.served


async def achampion(scheme_key: str = LabelScheme.DEFAULT_KEY) -> Served:
    """As `champion`, for event loops: only the first call of a process waits for a model.

    Later ones get what serves; a thread looks for something newer meanwhile.
    """
    slot = _slots.setdefault(scheme_key, _Slot())
    if slot.served is None:
        return await asyncio.get_running_loop().run_in_executor(_watcher, _look, scheme_key)
    if slot.is_stale() and not slot.is_watched:
        slot.is_watched = True
        _watcher.submit(_look_again, slot, scheme_key)
    return slot.served


def _look(scheme_key: str) -> Served:
    try:
        return champion(scheme_key)
    finally:
        # No request ends in this thread, which is when Django would close it.
        connection.close()


def _look_again(slot: _Slot, scheme_key: str) -> None:
    try:
        _look(scheme_key)
    except Exception:  # nobody waits for what comes of this thread
        slot.checked_at = time.monotonic()
        logger.exception("cannot look for a new champion")
    finally:
        slot.is_watched = False


def _refresh(slot: _Slot, scheme_key: str) -> None:
    row = ModelVersion.objects.champions().of_scheme(scheme_key).first()
    slot.checked_at = time.monotonic()
    if row is None:
        if slot.served is None:
            raise NoChampion("no model serves yet: run `python manage.py bootstrap`")
        return
    if slot.served is not None and slot.served.version_id == row.pk:
        if damage := _damage(slot, row):
            _note_error(slot, row, scheme_key, damage)
        elif slot.error:
            slot.error = ""
            close_alert("model", scheme_key, f"version {row.version} serves again")
        return
    files = _fingerprint(row)
    try:
        fresh = Served(row, load(row))
    except (ArtifactError, RegistryError) as error:
        _note_error(slot, row, scheme_key, error)
        # To fetch and to verify may have taken longer than until the next look.
        slot.checked_at = time.monotonic()
        return
    slot.error = ""
    # What stands may be of a process that is gone.
    close_alert("model", scheme_key, f"version {row.version} is loaded")
    if slot.served is not None:
        _retire(slot.served)
    slot.served, slot.files, slot.damage = fresh, files, None
    logger.info("serving version %s with %s", fresh.version, fresh.backend)


def _damage(slot: _Slot, row: ModelVersion) -> Exception | None:
    """What is wrong with the files of the version that serves from memory.

    A process that starts now could not serve it: that must be known before all of them restart.
    Digests are computed only when a file's size or time has changed.
    """
    files = _fingerprint(row)
    if files != slot.files:
        slot.files, slot.damage = files, None
        try:
            registry.local_folder(row.artifact_uri, row.artifact_digests)
        except (ArtifactError, RegistryError) as error:
            slot.damage = error
    return slot.damage


def _fingerprint(row: ModelVersion) -> artifact.Fingerprint:
    folder = registry.folder_of(row.artifact_uri, row.artifact_digests)
    return artifact.fingerprint(folder, row.artifact_digests)


def backend_name() -> str:
    """What versions run on: INFERENCE_BACKEND, or what stands for it where it is not set."""
    return settings.INFERENCE_BACKEND or DEFAULT_BACKEND


def load(row: ModelVersion) -> SentimentClassifier:
    """A version's classifier, which has judged a word. Raises ArtifactError or RegistryError."""
    folder = registry.local_folder(row.artifact_uri, row.artifact_digests)
    # Batches side by side on one thread each do more than one batch on all threads.
    classifier = SentimentClassifier(
        folder, settings.INFERENCE_BACKEND, threads=1, streams=settings.INFERENCE_THREADS
    )
    classifier.try_out()
    return classifier


def _note_error(slot: _Slot, row: ModelVersion, scheme_key: str, error: Exception) -> None:
    message = f"version {row.version} cannot be loaded: {error}"
    if message != slot.error:
        raise_alert("model", message, key=scheme_key, severity=Alert.Severity.CRITICAL)
    slot.error = message


def _retire(served: Served) -> None:
    timer = threading.Timer(RETIRE_SECONDS, served.engine.close)
    timer.daemon = True
    timer.start()


def status(scheme_key: str = LabelScheme.DEFAULT_KEY) -> dict[str, Any]:
    """What this process serves now; loads nothing."""
    slot = _slots.get(scheme_key, _Slot())
    served = slot.served
    return {
        "version": served.version if served else None,
        "loaded": served is not None,
        "backend": served.backend if served else None,
        "error": slot.error,
    }


def reset() -> None:
    """Forget every loaded model, as if this process had just begun."""
    # Who looks for something newer at this moment would load a model again afterwards.
    _watcher.submit(bool).result()
    with _lock:
        for slot in _slots.values():
            if slot.served is not None:
                slot.served.engine.close()
        _slots.clear()
