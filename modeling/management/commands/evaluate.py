"""Judges a version on labelled posts of a file."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling import serving
from modeling.exceptions import ModelingError
from modeling.management.tables import evaluation_table
from modeling.management.versions import find_version
from modeling.ml.artifact import ArtifactError
from modeling.ml.evaluation import evaluate
from modeling.services import label_files


class Command(BaseCommand):
    help = (
        "Prints accuracy, macro F1, macro recall, figures per class, ECE, confusion matrix and "
        "throughput of a version on a labelled CSV or JSONL file."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", nargs="?", help="Version number; default: the champion.")
        parser.add_argument("--data", required=True, type=Path, metavar="FILE")
        parser.add_argument("--text-column", default="text")
        parser.add_argument("--label-column", default="label")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = find_version(options["version"])
            classifier = serving.load(version)
            rows = label_files.read(
                options["data"], options["text_column"], options["label_column"], classifier.labels
            )
        except (label_files.LabelFileError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        except (ModelingError, ArtifactError) as error:
            raise CommandError(str(error)) from error
        started = time.perf_counter()
        probabilities = classifier.predict_proba([row.text for row in rows])
        seconds = time.perf_counter() - started
        truth = [classifier.labels.index(row.label) for row in rows]
        judged = evaluate(truth, probabilities, classifier.labels)
        rate = len(rows) / seconds
        if options["json"]:
            row = {"version": version.version, **judged.as_dict(), "texts_per_second": rate}
            self.stdout.write(json.dumps(row))
        else:
            self.stdout.write(f"version {version.version} on {judged.size} posts, {rate:.0f}/s")
            self.stdout.write(evaluation_table(judged))
