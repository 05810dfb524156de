"""Celery tasks: thin, and safe to run twice."""

import logging
from contextlib import suppress
from datetime import timedelta

from celery import shared_task
from celery.exceptions import Reject
from celery.signals import worker_shutting_down
from django.utils import timezone

from modeling.exceptions import NoChampion, RegistryError
from modeling.models import LabelScheme, TrainingRun
from modeling.services import classify, promote, quality, retrain, runs
from modeling.services import train as training

# How far back the frequent sweep looks, in hours; older leftovers are `classify --pending`'s.
SWEEP = 1.0
# Aliases of promotions older than this were looked at often enough.
LATELY = timedelta(hours=1)

logger = logging.getLogger(__name__)


@shared_task(name="modeling.classify_posts")
def classify_posts(post_ids: list[int]) -> int:
    with suppress(NoChampion):
        return classify.classify_posts(post_ids)
    # A fresh installation: the sweep after the starter model is built takes them.
    return 0


@shared_task(name="modeling.classify_pending")
def classify_pending(hours: float = SWEEP) -> int:
    with suppress(NoChampion):
        return classify.classify_pending(received_since=timezone.now() - timedelta(hours=hours))
    return 0


@shared_task(name="modeling.train")
def train(run_id: int) -> str:
    status = training.execute(run_id).status
    if status == TrainingRun.Status.INTERRUPTED and runs.stopping():
        # Back to the queue: the next worker goes on from the checkpoint.
        raise Reject(f"training run {run_id} was interrupted", requeue=True)
    return status


@worker_shutting_down.connect
def stop_training(**kwargs: object) -> None:
    """A worker that was asked to end waits for its tasks: a training must not take hours of it."""
    runs.stop_all()


@shared_task(name="modeling.check_quality")
def check_quality() -> None:
    for scheme in LabelScheme.objects.filter(versions__stage="champion"):
        quality.build_report(scheme)


@shared_task(name="modeling.check_retraining")
def check_retraining() -> None:
    for scheme in LabelScheme.objects.filter(versions__stage="champion"):
        _repair_alias(scheme)
        decision = retrain.check(scheme)
        if decision.is_new and decision.run is not None:
            train.delay(decision.run.pk)


def _repair_alias(scheme: LabelScheme) -> None:
    """A process may have died between a promotion's commit and MLflow's alias."""
    if not scheme.promotions.filter(promoted_at__gte=timezone.now() - LATELY).exists():
        return
    try:
        promote.sync_alias(scheme)
    except RegistryError as error:
        logger.warning("%s; the database row says what serves", error)
