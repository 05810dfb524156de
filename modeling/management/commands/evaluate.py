"""Judges a version on labelled posts of a file."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling import serving
from modeling.exceptions import ModelingError
from modeling.management.versions import find_version
from modeling.ml.artifact import ArtifactError
from modeling.ml.evaluation import Evaluation, evaluate
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
        except (label_files.LabelFileError, FileNotFoundError) as error:
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
            self.stdout.write(table(judged))


def table(judged: Evaluation) -> str:
    """The figures as lines of text."""
    labels = list(judged.per_class)
    lines = [
        f"accuracy {judged.accuracy:.4f}  macro F1 {judged.macro_f1:.4f}  "
        f"macro recall {judged.macro_recall:.4f}  ECE {judged.ece:.4f}",
        f"{'':<12}{'precision':>10}{'recall':>10}{'F1':>10}{'posts':>8}   given as "
        + " ".join(f"{label:>9}" for label in labels),
    ]
    for label, row in zip(labels, judged.confusion, strict=True):
        scores = judged.per_class[label]
        lines.append(
            f"{label:<12}{scores.precision:>10.3f}{scores.recall:>10.3f}{scores.f1:>10.3f}"
            f"{scores.support:>8}            " + " ".join(f"{count:>9}" for count in row)
        )
    return "\n".join(lines)
