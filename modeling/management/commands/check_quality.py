"""Writes a data quality and drift report now."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.models import LabelScheme
from modeling.services import quality


class Command(BaseCommand):
    help = "Compares the posts of the last hours with the champion's training data."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="Length of the window.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
        try:
            report = quality.build_report(scheme, window=timedelta(hours=options["hours"]))
        except ModelingError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            row = {
                "report": report.pk,
                "posts": report.post_count,
                "has_drift": report.has_drift,
                "summary": report.summary,
                "statistics": report.statistics,
            }
            self.stdout.write(json.dumps(row))
            return
        self.stdout.write(f"{report.post_count} posts; {json.dumps(report.summary)}")
        for name, entry in report.statistics.items():
            self.stdout.write(
                f"  {name:<16} PSI {entry['psi']:.3f}  JS {entry['jensen_shannon']:.3f}  "
                f"{entry['verdict']}"
            )
