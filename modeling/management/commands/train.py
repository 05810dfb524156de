"""Trains, evaluates, logs and registers a candidate."""

import json
import socket
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.management.interrupts import stopped_by_signals
from modeling.exceptions import ModelingError
from modeling.management.progress import training_bar
from modeling.ml.arguments import SCHEDULES, TrainingError
from modeling.ml.artifact import ArtifactError
from modeling.ml.base_model import BaseModelError
from modeling.models import LabelScheme, TrainingRun
from modeling.services import runs, train

# Options that become training arguments, if given: they win over the environment's.
ARGUMENTS = (
    ("base_model", str, "Hub name or folder of the encoder."),
    ("epochs", int, "Passes over the data."),
    ("batch_size", int, "Texts a batch."),
    ("learning_rate", float, "Highest learning rate."),
    ("max_length", int, "Tokens a text."),
    ("layer_decay", float, "Share of a layer's learning rate that the one below gets."),
    ("patience", int, "Epochs without a better macro recall before it ends; 0: never."),
    ("seed", int, "Another seed gives another model."),
)


class Command(BaseCommand):
    help = (
        "Trains a candidate on the annotations (and the starter corpus, in the default scheme), "
        "judges it on the held-out posts, registers it, and promotes it when it passes the gate. "
        "SIGTERM and Ctrl-C leave it interrupted; --resume goes on. Exit code: 0 it ended, also "
        "when the gate rejected it, 1 it failed or was interrupted, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY, help="Key of the scheme.")
        parser.add_argument(
            "--data", type=Path, metavar="FILE", help="Train on these labels too: CSV or JSONL."
        )
        parser.add_argument("--text-column", default="text", help="Of --data.")
        parser.add_argument("--label-column", default="label", help="Of --data.")
        parser.add_argument(
            "--teacher",
            metavar="VERSION|NAME",
            help="Learn from this model's opinion too, also of unlabelled posts: a version's "
            "number, a hub name or a folder.",
        )
        for name, kind, words in ARGUMENTS:
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=words)
        parser.add_argument("--schedule", choices=SCHEDULES, help="How the learning rate falls.")
        before = parser.add_mutually_exclusive_group()
        before.add_argument("--resume", action="store_true", help="Go on with what was cut short.")
        before.add_argument("--discard", action="store_true", help="Give up what was cut short.")
        parser.add_argument("--json", action="store_true", help="Print the run as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme has the key {options['scheme']!r}", returncode=2)
        stop = threading.Event()
        try:
            run = self._run(scheme, options)
            with stopped_by_signals(stop), training_bar() as progress:
                run = train.execute(run.pk, progress=progress, should_stop=stop.is_set)
        except (ModelingError, TrainingError, ArtifactError, BaseModelError, OSError) as error:
            raise CommandError(str(error)) from error
        self._show(run, options["json"])
        if run.is_active:
            raise CommandError(f"run {run.pk} is {run.status}: `train --resume` goes on with it")

    def _run(self, scheme: LabelScheme, options: dict[str, Any]) -> TrainingRun:
        asked = self._asked(options)
        waiting = runs.recover_interrupted(scheme)
        if options["resume"]:
            if waiting is None:
                raise CommandError(f"no training of {scheme.key!r} was cut short", returncode=2)
            if asked:
                raise CommandError(
                    "--resume goes on with what the run was asked for: leave out "
                    f"{', '.join([*asked, *asked.get('arguments', {})])}, or --discard it",
                    returncode=2,
                )
            return waiting
        if waiting is not None and not options["discard"]:
            raise CommandError(
                f"run {waiting.pk} was cut short at {waiting.progress:.0%}: --resume goes on "
                "with it, --discard gives it up"
            )
        if waiting is not None:
            runs.discard(waiting)
        if "data" in asked:
            # For whoever goes on with it elsewhere.
            asked["data_host"] = socket.gethostname()
        return train.request_training(scheme, reason="asked for on the command line", options=asked)

    def _asked(self, options: dict[str, Any]) -> dict[str, Any]:
        """What goes to the run's row: only what was given."""
        names = [*(name for name, _, _ in ARGUMENTS), "schedule"]
        arguments = {name: options[name] for name in names if options[name] is not None}
        asked: dict[str, Any] = {"arguments": arguments} if arguments else {}
        if options["teacher"]:
            asked["teacher"] = options["teacher"]
        if options["data"]:
            if not options["data"].is_file():
                raise CommandError(f"there is no file {options['data']}", returncode=2)
            asked |= {
                "data": str(options["data"].resolve()),
                "text_column": options["text_column"],
                "label_column": options["label_column"],
            }
        try:
            train.check_arguments(arguments)
        except TrainingError as error:
            raise CommandError(str(error), returncode=2) from error
        return asked

    def _show(self, run: TrainingRun, as_json: bool) -> None:
        version = run.version.version if run.version else None
        if as_json:
            row = {
                "run": run.pk,
                "status": run.status,
                "version": version,
                "attempts": run.attempts,
                "progress": run.progress,
                "data": run.parameters.get("data", ""),
                "history": run.history,
                "gate": run.gate,
            }
            self.stdout.write(json.dumps(row))
            return
        about = f"version {version}" if version else f"{run.progress:.0%}, {run.message}"
        reason = run.gate.get("reason", "")
        trained_on = f"; trained on {data}" if (data := run.parameters.get("data")) else ""
        self.stdout.write(f"run {run.pk} {run.status}: {about}, {reason}{trained_on}")
