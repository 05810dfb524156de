"""Trains, evaluates, logs and registers a candidate."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.management.progress import training_bar
from modeling.ml.training import TrainingError
from modeling.models import LabelScheme
from modeling.services import train


class Command(BaseCommand):
    help = (
        "Trains a candidate on the starter corpus and the annotations, judges it on the held-out "
        "posts, registers it, and promotes it when it passes the gate."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY, help="Key of the scheme.")
        parser.add_argument("--json", action="store_true", help="Print the run as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme has the key {options['scheme']!r}", returncode=2)
        try:
            run = train.request_training(scheme, reason="asked for on the command line")
            with training_bar() as progress:
                run = train.execute(run.pk, progress=progress)
        except (ModelingError, TrainingError) as error:
            raise CommandError(str(error)) from error
        version = run.version.version if run.version else None
        if options["json"]:
            row = {"run": run.pk, "status": run.status, "version": version, "gate": run.gate}
            self.stdout.write(json.dumps(row))
        else:
            reason = run.gate.get("reason", "")
            self.stdout.write(f"run {run.pk} {run.status}: version {version}, {reason}")
