"""A backup, brought into an empty installation."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sentiment_site.backup import BackupError, restore


class Command(BaseCommand):
    help = (
        "Restores what `backup` wrote into an empty database and an empty VAR_DIR, migrates it to "
        "this release, and checks that the champion judges as it did."
    )
    # Before there is anything to check.
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="What `backup` wrote.")

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        started = time.monotonic()
        try:
            restore(folder, lambda line: self.stdout.write(f"    {line}"))
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{folder}: restored in {time.monotonic() - started:.1f} s")
