"""Makes the champion before the present one serve again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.management.versions import command_line_actor, find_scheme
from modeling.models import LabelScheme
from modeling.services.promote import rollback


class Command(BaseCommand):
    help = "Promotes the previous champion again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--reason", default="", help="Kept in the promotion ledger.")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = find_scheme(options["scheme"])
        try:
            version = rollback(scheme, actor=command_line_actor(), reason=options["reason"])
        except ModelingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"version {version.version} is the champion again")
