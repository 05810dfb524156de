"""Training runs as rows: taken by one process, watched, interrupted, taken again, ended."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from ingestion.services.alerts import close_alert, raise_alert
from modeling import metrics
from modeling.ml.arguments import Epoch
from modeling.models import LabelScheme, TrainingRun
from modeling.signals import training_moved

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Status = TrainingRun.Status

SAVE_PROGRESS_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
# A run that has said nothing for so long is dead: its process was killed, or its machine.
SILENCE = timedelta(minutes=2)
# A run that nobody takes for so long, though nothing else is trained, is told of.
PATIENCE = timedelta(minutes=15)
ALERT = "training"
# A run that kills its process so often is given up: the next attempt would end alike.
MAX_FAILURES = 3
# Before so much is done, an estimate of the time left would be a guess.
ESTIMATE_FROM = 0.01
# A longer curve keeps every second point, and draws the next ones as far apart.
CURVE_POINTS = 240

# Shared with the children that a worker forks: its main process alone hears that it must end.
_stopping = RawValue(ctypes.c_bool, False)


class RunLost(Exception):
    """The run is no longer this process's: it was silent too long, and another one has it."""


def stop_all() -> None:
    """Ask every training of this process and its children to stop at its next step."""
    _stopping.value = True


def stopping() -> bool:
    return bool(_stopping.value)


def folder_of(run: TrainingRun) -> Path:
    """Where a run keeps its checkpoints and the model that it makes."""
    return Path(settings.VAR_DIR, "training", f"run-{run.pk}")


def take(run_id: int) -> TrainingRun | None:
    """Make this process the one that carries the run out; None when it is not to be had.

    A run that is new starts in an empty folder; an interrupted one finds what it left.
    """
    now = timezone.now()
    mine = {
        "status": Status.RUNNING,
        "worker": _worker(),
        "heartbeat_at": now,
        "attempts": F("attempts") + 1,
        "error": "",
    }
    runs = TrainingRun.objects.filter(pk=run_id)
    fresh = runs.filter(status=Status.QUEUED).update(**mine, started_at=now)
    if not fresh and not runs.filter(status=Status.INTERRUPTED).update(**mine):
        return None
    run = TrainingRun.objects.select_related("scheme").get(pk=run_id)
    if fresh:
        shutil.rmtree(folder_of(run), ignore_errors=True)
    close_alert(ALERT, _waiting_key(run.scheme), f"run {run.pk} is carried out by {run.worker}")
    _prune()
    training_moved.send_robust(sender=TrainingRun, run=run)
    return run


def recover_interrupted(scheme: LabelScheme) -> TrainingRun | None:
    """The scheme's run that waits to be taken again, if there is one.

    One whose process has died becomes such a run, or has failed when that happened too often.
    """
    run = scheme.runs.filter(status__in=[Status.RUNNING, Status.INTERRUPTED]).first()
    if run is None or run.status == Status.INTERRUPTED:
        return run
    if not _is_dead(run):
        return None
    place = f"at {run.progress:.0%}, {run.message}" if run.message else "before it had begun"
    try:
        if not interrupt_failed(run, f"the process {run.worker} died {place}"):
            died = f"it failed {run.failures + 1} times, the last time: its process died {place}"
            end(run, Status.FAILED, error=died)
            return None
    except RunLost:
        # Somebody else was faster by a moment, or the run speaks again.
        return None
    return run


def interrupt(run: TrainingRun, *, error: str = "") -> None:
    """Let go of the run; whoever takes it goes on from its checkpoint. Raises RunLost."""
    _change(run, status=Status.INTERRUPTED, error=error, seconds_left=None)
    logger.warning("training run %s is interrupted: %s", run.pk, error or "asked to stop")


def interrupt_failed(run: TrainingRun, error: str) -> bool:
    """Let go of a run that failed through no fault of its data, to be tried again; False, and
    nothing is changed, when that happened too often. Raises RunLost."""
    if run.failures + 1 >= MAX_FAILURES:
        return False
    _change(run, failures=run.failures + 1)
    interrupt(run, error=error)
    return True


def end(run: TrainingRun, status: Status, *, error: str = "") -> None:
    """Write the end down, remove the run's checkpoints, and let people know by an alert when it
    failed, or the gate refused what was trained by itself. Raises RunLost."""
    _end(run, status, error)
    try:
        _tell(run)
    except DatabaseError:
        # The run has ended whether or not people can be told.
        logger.exception("training run %s: no alert about its end", run.pk)


def discard(run: TrainingRun) -> None:
    """Give an interrupted run up. Raises RunLost when it has been taken."""
    # No alert: who gives a run up knows of it.
    _end(run, Status.FAILED, "given up")
    close_alert(ALERT, _waiting_key(run.scheme), f"run {run.pk} was given up")


def waits_in_vain(run: TrainingRun) -> bool:
    """Whether nobody has taken the run for PATIENCE, and that not because another one is trained:
    of any scheme, for they share their workers."""
    now = timezone.now()
    if (run.heartbeat_at or run.created_at) > now - PATIENCE:
        return False
    trained = Q(status=Status.RUNNING, heartbeat_at__gt=now - SILENCE)
    # Whoever has just ended one may be about to take the next.
    return not TrainingRun.objects.filter(trained | Q(finished_at__gt=now - PATIENCE)).exists()


def was_told_of(run: TrainingRun) -> bool:
    """Whether workers were sent a message about the run before, as far as one can know."""
    if run.status == Status.QUEUED:
        return not run.error and run.created_at <= timezone.now() - PATIENCE
    return True


def tell_of_waiting(run: TrainingRun) -> None:
    """Raise the alert that no worker takes the run; it is over when one does."""
    raise_alert(
        ALERT,
        f"run {run.pk} of {run.scheme.key!r} has waited since "
        f"{run.heartbeat_at or run.created_at:%Y-%m-%d %H:%M} UTC for a worker: is one listening "
        "on the queue `train`?",
        _waiting_key(run.scheme),
    )


def note_queueing(run: TrainingRun, error: str = "") -> None:
    """Note on a queued run why no worker could be told of it; nothing once one could."""
    if run.status == Status.QUEUED and run.error != error:
        # A worker that has taken it meanwhile was told.
        with suppress(RunLost):
            _change(run, error=error)


def _waiting_key(scheme: LabelScheme) -> str:
    """Not the key of what ended badly: both may stand at a time."""
    return f"{scheme.key}: waiting"


def _end(run: TrainingRun, status: Status, error: str) -> None:
    progress = run.progress if error else 1.0
    _change(
        run,
        status=status,
        error=error,
        finished_at=timezone.now(),
        seconds_left=None,
        progress=progress,
        gate=run.gate,
    )
    shutil.rmtree(folder_of(run), ignore_errors=True)
    metrics.RETRAINING_RUNS.labels(status).inc()
    logger.info("training run %s ended: %s", run.pk, status)


def _tell(run: TrainingRun) -> None:
    key = run.scheme.key
    if run.status == Status.FAILED:
        raise_alert(ALERT, f"run {run.pk} of {key!r} failed: {run.error}", key)
    elif run.status == Status.REJECTED and run.is_automatic:
        reason = run.gate.get("reason", "")
        raise_alert(ALERT, f"run {run.pk} of {key!r}: candidate was not better: {reason}", key)
    elif run.status == Status.SUCCEEDED:
        close_alert(ALERT, key, f"run {run.pk} of {key!r} succeeded")


def _change(run: TrainingRun, **values: Any) -> None:
    if not _as_known(run).update(**values):
        raise RunLost(f"training run {run.pk} is carried out by another process now")
    for name, value in values.items():
        setattr(run, name, value)
    training_moved.send_robust(sender=TrainingRun, run=run)


def _as_known(run: TrainingRun) -> QuerySet[TrainingRun]:
    """The row, as long as nobody else has taken it."""
    return TrainingRun.objects.filter(
        pk=run.pk, status=run.status, worker=run.worker, attempts=run.attempts
    )


def _worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"[-100:]


def _is_dead(run: TrainingRun) -> bool:
    if run.heartbeat_at is None or run.heartbeat_at < timezone.now() - SILENCE:
        return True
    host, _, pid = run.worker.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _prune() -> None:
    """Remove what runs that have ended left behind, for want of a process that could."""
    active = TrainingRun.objects.filter(status__in=TrainingRun.ACTIVE)
    kept = {folder_of(run).name for run in active}
    for folder in Path(settings.VAR_DIR, "training").glob("run-*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def heartbeat(run: TrainingRun) -> Iterator[None]:
    """Shows that the process lives, in phases too that report nothing for minutes."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            try:
                _as_known(run).update(heartbeat_at=timezone.now())
            except DatabaseError as error:
                logger.warning("training run %s: no heartbeat: %s", run.pk, error)
            finally:
                connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat-{run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Reporter:
    """Writes progress to the run's row, at most once a second, and to whoever watches.

    A database that is away costs the row's freshness, not the training. Raises RunLost when
    another process has taken the run.
    """

    def __init__(self, run: TrainingRun, watcher: Progress | None) -> None:
        self._run = run
        self._watcher = watcher
        self._saved_at = float("-inf")
        self._latest: tuple[float, str] | None = None
        self._began: tuple[float, float] | None = None
        self._losses: list[list[float]] = list(run.losses)
        self._latest_losses: list[float] = []
        self._epochs = self._gap = 0.0

    def __call__(self, share: float, message: str) -> None:
        """What goes on within a phase."""
        if self._watcher is not None:
            self._watcher(share, message)
        if time.monotonic() - self._saved_at >= SAVE_PROGRESS_SECONDS:
            self._save(share, message)
        else:
            self._latest = share, message

    def phase(self, share: float, message: str) -> None:
        """What begins now: always written."""
        if self._watcher is not None:
            self._watcher(share, message)
        self._save(share, message)

    def flush(self) -> None:
        """Write what was told since the row was last written."""
        if self._latest is not None:
            self._save(*self._latest)

    def on_loss(self, epochs: float, loss: float) -> None:
        """A step's loss; one point of the curve each time that the row is written."""
        self._epochs = epochs
        self._latest_losses.append(loss)

    def on_epoch(self, history: Sequence[Epoch]) -> None:
        self._write(history=[_epoch(number, epoch) for number, epoch in enumerate(history, 1)])

    def _save(self, share: float, message: str) -> None:
        self._saved_at, self._latest = time.monotonic(), None
        self._draw()
        self._write(
            progress=share,
            message=message[:500],
            loss=self._losses[-1][1] if self._losses else self._run.loss,
            losses=self._losses,
            seconds_left=self._seconds_left(share),
            heartbeat_at=timezone.now(),
        )

    def _draw(self) -> None:
        if not self._latest_losses:
            return
        # A run that goes on from a checkpoint draws anew what it does again.
        self._losses = [point for point in self._losses if point[0] < self._epochs]
        if self._losses and self._epochs - self._losses[-1][0] < self._gap:
            return
        mean = sum(self._latest_losses) / len(self._latest_losses)
        self._latest_losses.clear()
        self._losses.append([round(self._epochs, 4), round(mean, 5)])
        if len(self._losses) > CURVE_POINTS:
            self._losses = self._losses[::-2][::-1]
            self._gap = self._epochs / len(self._losses)

    def _seconds_left(self, share: float) -> float | None:
        # From where this attempt began: the time of earlier ones says nothing about its speed.
        now = time.monotonic()
        self._began = self._began or (now, share)
        began_at, began_share = self._began
        done = share - began_share
        return (now - began_at) / done * (1 - share) if done > ESTIMATE_FROM else None

    def _write(self, **values: Any) -> None:
        try:
            _change(self._run, **values)
        except DatabaseError as error:
            logger.warning("training run %s: progress not saved: %s", self._run.pk, error)
            connection.close_if_unusable_or_obsolete()


def _epoch(number: int, epoch: Epoch) -> dict[str, float]:
    judged = epoch.validation
    return {
        "epoch": number,
        "loss": round(epoch.loss, 5),
        "macro_recall": judged.macro_recall,
        "macro_f1": judged.macro_f1,
        "accuracy": judged.accuracy,
        "ece": judged.ece,
    }
