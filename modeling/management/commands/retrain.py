"""Runs the retraining check now."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.management.progress import training_bar
from modeling.ml.arguments import TrainingError
from modeling.ml.artifact import ArtifactError
from modeling.ml.base_model import BaseModelError
from modeling.models import LabelScheme
from modeling.services import retrain, train


class Command(BaseCommand):
    help = "Trains when a trigger fires, in this process, with progress; says why if none does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--force", action="store_true", help="Skip the triggers, not the gate.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
        decision = retrain.check(scheme, force=options["force"])
        status = decision.status
        if decision.is_new and decision.run is not None:
            try:
                with training_bar() as progress:
                    status = train.execute(decision.run.pk, progress=progress).status
            except (ModelingError, TrainingError, ArtifactError, BaseModelError, OSError) as error:
                raise CommandError(str(error)) from error
        if options["json"]:
            row = {
                "status": status,
                "reason": decision.reason,
                "run": decision.run.pk if decision.run else None,
                "triggers": decision.triggers,
            }
            self.stdout.write(json.dumps(row))
            return
        self.stdout.write(f"{status}: {decision.reason}")
        for name, trigger in decision.triggers.items():
            mark = "fired" if trigger["fired"] else "-"
            self.stdout.write(
                f"  {name:<16} {trigger['value']} (threshold {trigger['threshold']}) {mark}"
            )
