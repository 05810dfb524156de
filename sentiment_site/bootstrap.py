"""What must be there before anything serves: tables, roles, schedule, a model."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from dashboard import roles
from modeling.management.progress import training_bar
from modeling.models import LabelScheme, ModelVersion
from modeling.services import runs, train

# Name → task, seconds between runs, arguments. Seeded once: operators edit them in the admin.
SCHEDULE: dict[str, tuple[str, int, dict[str, float]]] = {
    "Keep streams alive": ("ingestion.ensure_streams", 15, {}),
    "Classify pending posts": ("modeling.classify_pending", 10, {}),
    # Those that an outage of the workers, or a clock that was wrong, has left behind.
    "Classify what a day has left": ("modeling.classify_pending", 3600, {"hours": 26}),
    # Those that a broker or a receiver that was away has left behind.
    "Send waiting alerts": ("ingestion.send_alerts", 60, {}),
    "Check data quality": ("modeling.check_quality", 3600, {}),
    "Check whether to retrain": ("modeling.check_retraining", 900, {}),
}


def run(out: Any, *, build_model: bool = True) -> None:
    """Do whatever is still to do, saying so on `out` (anything with `write`).

    Raises ModelingError.
    """
    print("==> Migrating the database", file=out, flush=True)
    call_command("migrate", verbosity=0, interactive=False)
    create_roles()
    create_schedule()
    if build_model:
        build_starter_model(out)


def create_roles() -> None:
    """Groups with their permissions; permissions that an operator added are left alone."""
    roles.create(Group.objects, Permission.objects)


def create_schedule() -> None:
    """Periodic tasks that are missing; those that operators edited are left alone."""
    there = set(PeriodicTask.objects.values_list("name", flat=True))
    for name, (task, seconds, arguments) in SCHEDULE.items():
        if name in there:
            continue
        # A run that no worker took before the next one is due is dropped, not piled up.
        defaults = {
            "task": task,
            "interval": _every(seconds),
            "expire_seconds": seconds,
            "kwargs": json.dumps(arguments),
        }
        PeriodicTask.objects.get_or_create(name=name, defaults=defaults)


def _every(seconds: int) -> IntervalSchedule:
    """No constraint keeps an operator, or two first starts at once, from making one twice: any of
    them will do."""
    every = {"every": seconds, "period": IntervalSchedule.SECONDS}
    known = IntervalSchedule.objects.filter(**every).first()
    return known or IntervalSchedule.objects.create(**every)


def build_starter_model(out: Any) -> ModelVersion:
    """The champion, trained on the starter corpus when there is none yet."""
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    champion = ModelVersion.objects.champions().filter(scheme=scheme).first()
    if champion is not None:
        return champion
    print("==> Building the starter model (once)", file=out, flush=True)
    # An earlier start may have been cut short in the middle of it.
    run = runs.recover_interrupted(scheme) or train.request_training(scheme, reason="starter model")
    with training_bar() as progress:
        train.execute(run.pk, progress=progress)
    version = ModelVersion.objects.champions().get(scheme=scheme)
    test = version.metrics["test"]
    print(
        f"    version {version.version}: macro recall {test['macro_recall']:.3f} on "
        f"{test['size']} held-out starter posts",
        file=out,
    )
    return version
