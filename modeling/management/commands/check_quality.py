"""Writes a data quality and drift report now."""

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from modeling.exceptions import ModelingError
from modeling.models import LabelScheme, QualityReport
from modeling.services import quality, truth

VERDICTS = {
    "ok": "posts are like the champion's reference",
    "drift": "posts differ from the champion's reference",
    "too_few": "too few posts to tell whether they are like the champion's reference",
    "no_reference": "the champion has no reference to compare with: the next training makes one",
}


LONGEST_HOURS = 24 * 366
DRAWS = {
    truth.RANDOM: "labelled posts that were drawn at random",
    truth.CHOSEN: "posts that were chosen for labelling and may be harder than most",
}


class Command(BaseCommand):
    help = "Compares the posts of the last hours with the champion's reference."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="Length of the window.")
        parser.add_argument("--scheme", default=LabelScheme.DEFAULT_KEY, help="Key of the scheme.")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        scheme = LabelScheme.objects.filter(key=options["scheme"]).first()
        if scheme is None:
            raise CommandError(f"no scheme is called {options['scheme']!r}")
        hours = options["hours"]
        if not 0 < hours <= LONGEST_HOURS:
            raise CommandError(
                f"--hours {hours:g} is no length of a window: give more than 0 and at most "
                f"{LONGEST_HOURS:,} (a year)"
            )
        try:
            report = quality.build_report(scheme, window=timedelta(hours=hours))
        except ModelingError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_row(report)))
        else:
            self._show(report)

    def _show(self, report: QualityReport) -> None:
        summary = report.summary
        self.stdout.write(f"{report.post_count} posts, {summary['sampled']} looked at")
        for name in ("category_shares", "language_shares"):
            shares = "  ".join(f"{key} {share:.0%}" for key, share in summary.get(name, {}).items())
            self.stdout.write(f"  {name.removesuffix('_shares'):<18} {shares or '–'}")
        for name in ("duplicate_share", "empty_share", "mean_confidence", "mean_length"):
            if name in summary:
                self.stdout.write(f"  {name.replace('_', ' '):<18} {summary[name]:g}")
        self.stdout.write(VERDICTS[summary["verdict"]])
        for name, entry in report.statistics.items():
            kind = next(each for each in ("psi", "mmd", "auc") if each in entry)
            self.stdout.write(
                f"  {name:<18} {kind.upper()} {entry[kind]:.3f}  from {entry['threshold']:.3f} on: "
                f"{entry['verdict']}"
            )
        if told := report.accuracy:
            self.stdout.write(
                f"estimated accuracy {told['estimated']:.1%} "
                f"({told['low']:.1%} – {told['high']:.1%})"
                + ("" if told["is_trusted"] else f"; do not trust it: {told['reason']}")
            )
            if "true" in told:
                drawn = f"{told['labelled']} {DRAWS[told['drawn']]}"
                self.stdout.write(
                    f"true accuracy {told['true']:.1%} on {drawn}; "
                    f"{told['estimated_on_labelled']:.1%} was expected of them"
                )


def _as_row(report: QualityReport) -> dict[str, Any]:
    return {
        "report": report.pk,
        "posts": report.post_count,
        "has_drift": report.has_drift,
        "verdict": report.summary["verdict"],
        "summary": report.summary,
        "statistics": report.statistics,
        "accuracy": report.accuracy,
    }
