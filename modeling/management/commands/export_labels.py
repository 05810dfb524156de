"""Writes the labelled posts to a file."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError

from modeling.models import LabelScheme
from modeling.services.annotate import labelled_rows
from modeling.services.label_files import as_csv, as_jsonl


class Command(BaseCommand):
    help = "Writes every label in force as CSV or JSONL, in the form that import_labels reads."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="Default: standard output.")
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--format", choices=("csv", "jsonl"), help="Default: by the name.")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme has the key {options['scheme']!r}", returncode=2)
        path: Path | None = options["file"]
        is_json = options["format"] == "jsonl" or (
            options["format"] is None and path is not None and path.suffix in {".jsonl", ".ndjson"}
        )
        rows = labelled_rows(scheme)
        if path is None:
            _write(sys.stdout, rows, is_json=is_json)
            return
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                count = _write(file, rows, is_json=is_json)
        except OSError as error:
            raise CommandError(str(error), returncode=2) from error
        self.stderr.write(f"{count} labels written to {path}")


def _write(file: IO[str], rows: Iterable[dict[str, str]], *, is_json: bool) -> int:
    # A CSV file's first line is its header.
    count = 0 if is_json else -1
    for line in (as_jsonl if is_json else as_csv)(rows):
        file.write(line)
        count += 1
    return count
