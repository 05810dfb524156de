"""Database, registry and model files as one consistent set."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sentiment_site.backup import BackupError, backup


class Command(BaseCommand):
    help = (
        "Writes database, model registry and model files to a new folder, as of one moment and "
        "while everything runs. It holds posts and accounts: guard it. The secret key is not in it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", help="A folder that is not there.")

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        started = time.monotonic()
        try:
            manifest = backup(folder, lambda line: self.stdout.write(f"    {line}"))
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{folder}: {len(manifest.files)} files in {time.monotonic() - started:.1f} s"
        )
