"""Judges a version on labelled posts."""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling import serving
from modeling.exceptions import ModelingError
from modeling.management.tables import evaluation_table, slice_table, verdict_table
from modeling.management.versions import find_scheme, find_version
from modeling.ml.arguments import Labelled
from modeling.ml.artifact import ArtifactError
from modeling.ml.evaluation import evaluate
from modeling.ml.slices import Origin, slices
from modeling.models import LabelScheme, ModelVersion
from modeling.services import gate, label_files
from modeling.services.dataset import gather


class Command(BaseCommand):
    help = (
        "Prints accuracy, macro F1, macro recall, figures per class and slice, ECE, each with its "
        "95 %% interval, confusion matrix and throughput of a version: on a labelled CSV or JSONL "
        "file, or else on the held-out posts. --against holds it against another version, as the "
        "gate does; against the champion on the held-out posts the verdict is kept. Exit code 1 "
        "when the gate would refuse it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", nargs="?", help="Version number; default: the champion.")
        parser.add_argument(
            "--data", type=Path, metavar="FILE", help="Default: the held-out posts."
        )
        parser.add_argument(
            "--against", metavar="VERSION", help="A version number, or champion: ask the gate."
        )
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY)
        parser.add_argument("--text-column", default="text")
        parser.add_argument("--label-column", default="label")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = find_version(options["version"], options["scheme"])
            if options["against"]:
                self._ask_gate(
                    version, find_version(options["against"], options["scheme"]), options
                )
            else:
                self._evaluate(version, options)
        except (label_files.LabelFileError, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        except (ModelingError, ArtifactError) as error:
            raise CommandError(str(error)) from error

    def _evaluate(self, version: ModelVersion, options: dict[str, Any]) -> None:
        classifier = serving.load(version)
        # Of the scheme: it may have a category that is younger than the version.
        labels = tuple(version.scheme.categories.values_list("key", flat=True))
        data, origins = _labelled(version, labels, options)
        started = time.perf_counter()
        probabilities = gate.probabilities(classifier, data, labels)
        rate = len(data) / (time.perf_counter() - started)
        judged = evaluate(data.labels, probabilities, labels, slices(data.texts, origins))
        if options["json"]:
            row = {"version": version.version, **judged.as_dict(), "texts_per_second": rate}
            self.stdout.write(json.dumps(row))
        else:
            self.stdout.write(f"version {version.version} on {judged.size} posts, {rate:.0f}/s")
            self.stdout.write(evaluation_table(judged))
            self.stdout.write(slice_table(judged))

    def _ask_gate(
        self, version: ModelVersion, other: ModelVersion, options: dict[str, Any]
    ) -> None:
        if version == other:
            raise CommandError(
                f"version {version.version} cannot be held against itself", returncode=2
            )
        scheme = find_scheme(options["scheme"])
        dataset = None
        if options["data"] is not None:
            labels = tuple(scheme.categories.values_list("key", flat=True))
            dataset = gate.test_only(labels, *_labelled(version, labels, options))
        keep = options["data"] is None and other.stage == ModelVersion.Stage.CHAMPION
        verdict = gate.judge_version(version, other, dataset, keep=keep)
        self.stdout.write(
            json.dumps(verdict.as_dict()) if options["json"] else verdict_table(verdict)
        )
        if not verdict.passed:
            raise CommandError("the gate would refuse it")


def _labelled(
    version: ModelVersion, labels: tuple[str, ...], options: dict[str, Any]
) -> tuple[Labelled, tuple[Origin, ...]]:
    """The texts to judge on, labelled by places in `labels`, and where they come from."""
    if options["data"] is None:
        dataset = gather(version.scheme)
        return dataset.test, dataset.meta
    rows = label_files.read(
        options["data"], options["text_column"], options["label_column"], labels
    )
    texts = [row.text for row in rows]
    origins = tuple(Origin(sources=frozenset({row.source or "file"})) for row in rows)
    return Labelled(texts, [labels.index(row.label) for row in rows]), origins
