"""Makes an empty installation ready to serve: safe to repeat."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from sentiment_site import bootstrap


class Command(BaseCommand):
    help = (
        "Migrates the database, creates roles and the default schedule, and builds the starter "
        "model when none serves. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--no-model", action="store_true", help="Leave the starter model out (no training)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            bootstrap.run(self.stderr, build_model=not options["no_model"])
        except ModelingError as error:
            raise CommandError(str(error)) from error
