"""Makes a version the champion."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from modeling.management.versions import find_version
from modeling.models import LabelScheme
from modeling.services.promote import promote


class Command(BaseCommand):
    help = "Makes a version the champion; every process serves it within seconds, no restart."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", help="Version number.")
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--reason", default="command line")

    def handle(self, *args: Any, **options: Any) -> None:
        version = find_version(options["version"], options["scheme"])
        entry = promote(version, reason=options["reason"])
        what = "is the champion now" if entry else "is the champion already"
        self.stdout.write(f"version {version.version} {what}")
