"""Makes the champion before the present one serve again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.models import LabelScheme
from modeling.services.promote import rollback


class Command(BaseCommand):
    help = "Promotes the previous champion again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme has the key {options['scheme']!r}", returncode=2)
        try:
            version = rollback(scheme)
        except ModelingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"version {version.version} is the champion again")
