"""Classifies texts from the command line, or saved posts that have no prediction."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from modeling import selectors
from modeling.exceptions import ModelingError
from modeling.models import LabelScheme
from modeling.services import classify

CHUNK = 256


class Command(BaseCommand):
    help = "Classifies the arguments, or the lines of standard input, or (--pending) saved posts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("texts", nargs="*", metavar="TEXT", help="Default: standard input.")
        parser.add_argument(
            "--pending", action="store_true", help="Classify saved posts without a prediction."
        )
        parser.add_argument("--json", action="store_true", help="One JSON object a line.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["pending"]:
                self._pending(as_json=options["json"])
            else:
                self._texts(options["texts"] or _lines(), as_json=options["json"])
        except ModelingError as error:
            raise CommandError(str(error)) from error

    def _texts(self, texts: Iterable[str], *, as_json: bool) -> None:
        source = iter(texts)
        while chunk := list(islice(source, CHUNK)):
            batch = classify.classify_texts(chunk, channel="command")
            for text, item in zip(chunk, batch.items, strict=True):
                if as_json:
                    row = {"text": text, **vars(item), "model_version": batch.version}
                    self.stdout.write(json.dumps(row, ensure_ascii=False))
                else:
                    self.stdout.write(f"{item.label:<10} {item.confidence:.3f}  {text}")

    def _pending(self, *, as_json: bool) -> None:
        scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
        total = selectors.unclassified_posts(scheme).count()
        with tqdm(total=total, unit=" posts", desc="classifying") as bar:
            done = classify.classify_pending(progress=bar.update)
        self.stdout.write(json.dumps({"classified": done}) if as_json else f"classified {done}")


def _lines() -> Iterator[str]:
    """Non-empty lines of standard input."""
    return (line for raw in sys.stdin if (line := raw.strip()))
