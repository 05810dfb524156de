"""Celery tasks: thin, and safe to run twice."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from celery import shared_task
from celery.exceptions import OperationalError, Reject
from celery.signals import worker_shutting_down
from django.db.models import Q, QuerySet
from django.utils import timezone

from ingestion.services.alerts import close_alert, raise_alert
from modeling.exceptions import BrokerAway, NoChampion, RegistryError
from modeling.models import LabelScheme, TrainingRun
from modeling.services import classify, promote, quality, retrain, runs
from modeling.services import train as training

# How far back the frequent sweep looks, in hours; older leftovers are `classify --pending`'s.
SWEEP = 1.0
_SERVES = Q(versions__stage="champion")

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


def hand_over(run: TrainingRun) -> None:
    """Tell the workers of a run. Raises BrokerAway: the run is kept, and the next check tells."""
    message = train.s(run.pk)
    if runs.was_told_of(run):
        # Told again by each check, in vain, workers would try an interrupted run as often at once.
        message.set(expires=runs.PATIENCE.total_seconds())
    try:
        message.delay()
    except OperationalError as error:
        said = f"the message broker cannot be reached: run {run.pk} is kept and starts when it can"
        runs.note_queueing(run, said)
        raise BrokerAway(said) from error
    runs.note_queueing(run)


@shared_task(name="modeling.check_quality")
def check_quality() -> None:
    _for_each_scheme("quality check", _check_quality, LabelScheme.objects.filter(_SERVES))


def _check_quality(scheme: LabelScheme) -> None:
    try:
        quality.build_report(scheme)
    except Exception as error:
        said = f"the quality check of {scheme.key!r} failed: {type(error).__name__}: {error}"
        raise_alert("quality", said, scheme.key)
        raise
    close_alert("quality", scheme.key, f"the quality check of {scheme.key!r} works again")


@shared_task(name="modeling.check_retraining")
def check_retraining() -> None:
    # A scheme's first run may have been cut short, before there was a champion.
    schemes = LabelScheme.objects.filter(_SERVES | Q(runs__status__in=TrainingRun.ACTIVE))
    _for_each_scheme("retraining check", _check_retraining, schemes.distinct())


def _check_retraining(scheme: LabelScheme) -> None:
    decision = retrain.check(scheme)
    if decision.is_new and decision.run is not None:
        hand_over(decision.run)
    _repair_alias(scheme)


def _repair_alias(scheme: LabelScheme) -> None:
    """A process may have died between a promotion's commit and MLflow's alias, or MLflow may have
    been away for days."""
    if not scheme.promotions.exists():
        return
    try:
        promote.sync_alias(scheme)
    except RegistryError as error:
        logger.warning("%s; the database row says what serves", error)


def _for_each_scheme(
    what: str, work: Callable[[LabelScheme], None], schemes: QuerySet[LabelScheme]
) -> None:
    """Each, whatever becomes of the others; raises what went wrong at the end."""
    errors = []
    for scheme in schemes:
        try:
            work(scheme)
        except Exception as error:
            logger.exception("the %s of %r failed", what, scheme.key)
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"the {what} failed", errors)
