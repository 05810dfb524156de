"""Counts the chart's roll-ups again from posts and judgements, and says what differed."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.core.serializers.json import DjangoJSONEncoder

from dashboard.rebuild import Difference, pruned_days, rebuild

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Counts the chart's numbers (by minute, stream and category) again from the posts and "
        "their judgements, and puts right what differs. Days of which `prune` has removed posts "
        "are left as they are: what is gone would leave the charts, too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing; exit with 1 when something differs.",
        )
        parser.add_argument(
            "--pruned-too",
            action="store_true",
            help="Also days of which posts were pruned, by what is left of them.",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        check, count = options["check"], 0
        shown: list[Difference] = []
        for differences in rebuild(mend=not check, pruned_too=options["pruned_too"]):
            count += len(differences)
            shown += differences[: SHOWN - len(shown)]
        left = 0 if options["pruned_too"] else len(pruned_days())
        if options["json"]:
            row = {
                "differences": count,
                "mended": not check,
                "days_left": left,
                "first": list(map(asdict, shown)),
            }
            self.stdout.write(json.dumps(row, cls=DjangoJSONEncoder))
        else:
            self._tell(shown, count, check)
            if left:
                self.stdout.write(
                    f"{left} days were left as they are: posts of them were pruned, and charts "
                    "would lose their numbers (--pruned-too)."
                )
        if check and count:
            sys.exit(1)

    def _tell(self, shown: list[Difference], count: int, check: bool) -> None:
        for each in shown:
            stream = "all streams" if each.stream_id is None else f"stream {each.stream_id}"
            self.stdout.write(
                f"{each.minute:%Y-%m-%d %H:%M} UTC, {stream}, category {each.category_id}: "
                f"{each.found}, but the rows say {each.expected}"
            )
        if count > len(shown):
            self.stdout.write(f"… and {count - len(shown)} more")
        if not count:
            self.stdout.write("Every number is right.")
        else:
            self.stdout.write(f"{count} numbers {'differ' if check else 'put right'}.")
