"""Takes labelled posts from a file."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from modeling.models import LabelScheme
from modeling.services import label_files


class Command(BaseCommand):
    help = (
        "Saves the posts of a labelled CSV, TSV or JSONL file (gzip too) and their labels. A row "
        "with `source` and `id` labels that post; an `id` alone is taken for the post's where the "
        "text is the same. Rows of one post are votes, and where they tie it gets no label. Safe "
        "to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--text-column", default="text")
        parser.add_argument("--label-column", default="label")
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme has the key {options['scheme']!r}", returncode=2)
        labels = list(scheme.categories.values_list("key", flat=True))
        try:
            rows = label_files.read(
                options["file"], options["text_column"], options["label_column"], labels
            )
            with tqdm(total=len(rows), unit=" posts", desc="importing") as bar:
                done = label_files.import_rows(scheme, rows, progress=bar.update)
        except (label_files.LabelFileError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        if options["json"]:
            row = {
                "rows": len(rows),
                "posts_saved": done.saved,
                "labels_changed": done.changed,
                "posts_tied": done.tied,
            }
            self.stdout.write(json.dumps(row))
        else:
            self.stdout.write(f"{len(rows)} rows: {done}")
