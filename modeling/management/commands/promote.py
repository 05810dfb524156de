"""Makes a version the champion."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import GateRefused, ModelingError
from modeling.management.versions import command_line_actor, find_version
from modeling.ml.artifact import ArtifactError
from modeling.models import LabelScheme
from modeling.services.promote import promote


class Command(BaseCommand):
    help = (
        "Makes a version the champion; every process serves it within seconds, no restart. A "
        "version that was not yet held against the present champion is judged first. Exit code 1 "
        "when the gate refuses it, or its files cannot be loaded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", help="Version number.")
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--reason", default="", help="Kept in the promotion ledger.")
        parser.add_argument(
            "--override-gate", action="store_true", help="Promote what the gate refuses; say why."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        version = find_version(options["version"], options["scheme"])
        try:
            entry = promote(
                version,
                actor=command_line_actor(),
                reason=options["reason"],
                override=options["override_gate"],
            )
        except GateRefused as error:
            raise CommandError(f"{error} (--override-gate --reason WHY promotes it)") from error
        except (ModelingError, ArtifactError) as error:
            raise CommandError(str(error)) from error
        what = "is the champion now" if entry else "is the champion already"
        self.stdout.write(f"version {version.version} {what}")
