"""Classifying: the one place where texts become judgements."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from uuid import uuid4

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from ingestion.models import Post
from ingestion.services.posts import hold
from ingestion.services.texts import keep_texts
from modeling import metrics, selectors, serving
from modeling.models import Category, LabelScheme, Prediction
from modeling.services import attempts
from modeling.services.annotate import UnknownCategory
from modeling.serving import Classification, Served
from modeling.signals import predictions_created

logger = logging.getLogger(__name__)

CHUNK = 256
# Ids that are looked through at once for posts without a prediction.
WINDOW = 50_000
# Who asks for the judgement of a text waits for it. Longer than so many seconds behind others is
# too long: better refused at once, and asked again.
PATIENCE_SECONDS = 0.4


@dataclass(frozen=True)
class Batch:
    """Judgements in the order of the texts, by one version."""

    version: str
    items: list[Classification]
    latency_ms: float


def classify_texts(
    texts: Sequence[str], *, channel: str, scheme_key: str = LabelScheme.DEFAULT_KEY
) -> Batch:
    """Judge texts by the champion; nothing is stored, but for `keep`.

    `channel` says who asked (api, stream, command, …) in the metrics. Raises NoChampion,
    ModelUnavailable or EngineOverloaded.
    """
    batch = _judge(serving.champion(scheme_key), texts, channel, PATIENCE_SECONDS)
    keep(texts, channel)
    return batch


async def aclassify_texts(
    texts: Sequence[str], *, channel: str, scheme_key: str = LabelScheme.DEFAULT_KEY
) -> Batch:
    """As `classify_texts`, for event loops: no thread waits."""
    served = await serving.achampion(scheme_key)
    started = time.perf_counter()
    items = await served.aclassify(texts, PATIENCE_SECONDS)
    batch = measured(served, items, time.perf_counter() - started, channel)
    if settings.STORE_API_TEXTS:
        await database_sync_to_async(keep)(texts, channel)
    return batch


def keep(texts: Sequence[str], channel: str) -> None:
    """Store what programs ask the API about, where STORE_API_TEXTS is on.

    An answer does not depend on it: what cannot be stored is counted in the log.
    """
    if channel != "api" or not settings.STORE_API_TEXTS:
        return
    try:
        keep_texts(texts)
    except DatabaseError as error:
        logger.error("%d texts of the API could not be stored: %s", len(texts), error)


def _judge(served: Served, texts: Sequence[str], channel: str, patience: float = math.inf) -> Batch:
    started = time.perf_counter()
    items = served.classify(texts, patience)
    return measured(served, items, time.perf_counter() - started, channel)


def measured(served: Served, items: list[Classification], seconds: float, channel: str) -> Batch:
    metrics.PREDICTION_SECONDS.labels(channel).observe(seconds)
    for item in items:
        metrics.PREDICTIONS.labels(item.label, served.version, channel).inc()
        metrics.CONFIDENCE.observe(item.confidence)
    return Batch(served.version, items, round(seconds * 1000, 3))


def classify_posts(
    post_ids: Iterable[int], *, channel: str = "stream", scheme_key: str = LabelScheme.DEFAULT_KEY
) -> int:
    """Store the champion's prediction for each of these posts that has none; return how many.

    Safe to repeat and to run in several processes at once: each post is classified exactly once.
    Raises NoChampion, ModelUnavailable, or UnknownCategory where the champion has learned another
    scheme than it is now.
    """
    scheme = LabelScheme.objects.get(key=scheme_key)
    categories = {category.key: category for category in scheme.categories.all()}
    pending = iter(post_ids)
    return sum(
        _classify_chunk(chunk, scheme, categories, channel) for chunk in _chunks(pending, CHUNK)
    )


def classify_pending(
    *,
    scheme_key: str = LabelScheme.DEFAULT_KEY,
    received_since: datetime | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Classify every saved post that has no prediction; return how many were stored.

    `progress` is told how many posts each chunk took. Bounded memory, however many there are.
    A post that makes the model fail, or the process die, costs no other its judgement: what a sweep
    left behind the next ones try alone, and set aside after `Attempt.MOST` attempts.
    """
    scheme = LabelScheme.objects.get(key=scheme_key)
    total = 0
    check_model = partial(_check_model, scheme)
    for number, ids in enumerate(_waiting(scheme, received_since)):
        if not number:
            # A model that fails, or dies, of any text is no fault of these posts: they are not
            # noted yet.
            check_model()
        together, alone = attempts.begin(scheme, ids)
        for group in filter(None, (together, *([post_id] for post_id in alone))):
            with attempts.noted(scheme, group, check_model):
                total += classify_posts(group, channel="pending", scheme_key=scheme_key)
        if progress is not None:
            progress(len(ids))
    attempts.tell(scheme)
    return total


def _check_model(scheme: LabelScheme) -> None:
    """Have a harmless text judged, one that no cache knows. Raises whatever the model raises."""
    serving.champion(scheme.key).classify([f"all is well {uuid4().hex}"])


def _waiting(scheme: LabelScheme, received_since: datetime | None) -> Iterator[list[int]]:
    """Ids of posts without a prediction, oldest first, in chunks.

    All of them are looked for window by window: to compare the whole table with all judgements for
    each chunk would take seconds once there are millions.
    """
    pending = selectors.unclassified_posts(scheme, received_since=received_since)
    if received_since is not None:
        yield from _after(0, pending)
        return
    ends = Post.objects.aggregate(first=Min("pk"), newest=Max("pk"))
    for start in range((ends["first"] or 1) - 1, ends["newest"] or 0, WINDOW):
        yield from _after(start, pending.filter(pk__lte=start + WINDOW))


def _after(last: int, pending: QuerySet[Post]) -> Iterator[list[int]]:
    while ids := list(pending.filter(pk__gt=last).values_list("pk", flat=True)[:CHUNK]):
        yield ids
        last = ids[-1]


def _classify_chunk(
    post_ids: Sequence[int], scheme: LabelScheme, categories: dict[str, Category], channel: str
) -> int:
    rows = list(
        selectors.unclassified_posts(scheme).filter(pk__in=post_ids).values_list("pk", "text")
    )
    if not rows:
        return 0
    # The model runs before the transaction: no lock is held while it thinks.
    served = serving.champion(scheme.key)
    judged = _judge(served, [text for _, text in rows], channel)
    _check_labels(judged, scheme, categories)
    now = timezone.now()
    predictions = [
        Prediction(
            post_id=post_id,
            scheme=scheme,
            model_version_id=served.version_id,
            category=categories[item.label],
            confidence=item.confidence,
            scores=item.scores,
            created_at=now,
        )
        for (post_id, _), item in zip(rows, judged.items, strict=True)
    ]
    return _store(predictions, scheme)


def _check_labels(judged: Batch, scheme: LabelScheme, categories: dict[str, Category]) -> None:
    """Raise UnknownCategory for a label that the scheme has lost: no post is to blame for that."""
    unknown = sorted({item.label for item in judged.items} - categories.keys())
    if unknown:
        raise UnknownCategory(
            f"version {judged.version} answers {', '.join(map(repr, unknown))}, which "
            f"{scheme.key!r} does not have ({', '.join(categories)}): add it, or promote a version "
            "that has learned the scheme as it is"
        )


@transaction.atomic
def _store(predictions: list[Prediction], scheme: LabelScheme) -> int:
    """Insert those whose post is still unclassified.

    Whoever holds the posts decides: a second process finds its predictions made, and a deletion
    or an edit comes either before them or after.
    """
    ids = [prediction.post_id for prediction in predictions]
    hold(ids)
    still = set(
        selectors.unclassified_posts(scheme).filter(pk__in=ids).values_list("pk", flat=True)
    )
    fresh = [prediction for prediction in predictions if prediction.post_id in still]
    Prediction.objects.bulk_create(fresh)
    if fresh:
        predictions_created.send(sender=Prediction, predictions=fresh)
    return len(fresh)


def _chunks(items: Iterator[int], size: int) -> Iterator[list[int]]:
    while chunk := list(islice(items, size)):
        yield chunk
