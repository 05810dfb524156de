"""Removes what is too old to keep."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from tqdm import tqdm

from modeling.services.retention import prune

LONGEST = 36_500


class Command(BaseCommand):
    help = (
        "Removes posts that arrived longer ago than so many days, with their predictions, and dead "
        "letters as old. Labelled posts stay unless told otherwise; charts keep their numbers."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=int, required=True, metavar="DAYS")
        parser.add_argument(
            "--labelled-too", action="store_true", help="Also posts that somebody labelled."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only count.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, older_than: int, **options: Any) -> None:
        if not 1 <= older_than <= LONGEST:
            raise CommandError(f"--older-than takes 1 to {LONGEST} days, not {older_than}")
        with tqdm(unit=" posts", disable=options["dry_run"]) as bar:
            pruned = prune(
                timezone.now() - timedelta(days=older_than),
                labelled_too=options["labelled_too"],
                dry_run=options["dry_run"],
                progress=bar.update,
            )
        if options["json"]:
            self.stdout.write(json.dumps(asdict(pruned)))
            return
        verb = "would go" if options["dry_run"] else "removed"
        self.stdout.write(
            f"{pruned.posts:,} posts and {pruned.dead_letters:,} dead letters {verb}; "
            f"{pruned.labelled:,} older posts stay, as they are labelled"
        )
