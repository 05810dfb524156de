"""Posts from files: saved and classified."""

from __future__ import annotations

import json
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from ingestion.exceptions import UnusableFile
from ingestion.services.importing import file_stream
from ingestion.sources.files import FORMATS, STANDARD_INPUT, Columns, PostFile, files_in
from modeling.exceptions import ModelingError
from modeling.management.tables import evaluation_table
from modeling.services.import_posts import ImportReport, import_posts

REASONS_SHOWN = 20


class Command(BaseCommand):
    help = (
        "Saves and classifies the posts of files: JSONL and JSON arrays of X's objects (API v2 or "
        "v1.1), Jetstream messages or flat rows; X archives (tweets.js); CSV, TSV and Parquet; "
        "gzip and zstd too. Directories stand for the files in them; - is standard input. Safe "
        "to repeat: a post that is there is a duplicate. Exit code 1 when rows were rejected, 2 "
        "when a file cannot be read, or not to its end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--format", choices=FORMATS, default="", help="Default: by content, then by name."
        )
        for name, meaning in (
            ("text", "the post"),
            ("id", "its id at the source; without one it is derived from the row"),
            ("time", "when it was posted; default: now"),
            ("author", "the author's name"),
            ("lang", "its language"),
            ("label", "a label to compare the judgement with"),
        ):
            parser.add_argument(
                f"--{name}-column", default="", metavar="NAME", help=f"The column of {meaning}."
            )
        parser.add_argument("--time-format", default="", help="As strptime: %%d-%%m-%%Y %%H.%%M")
        parser.add_argument(
            "--day-first", action=BooleanOptionalAction, help="Read 03/04/2025 as 3 April, or not."
        )
        parser.add_argument("--encoding", default="utf-8", help="Of a CSV: utf-8, latin-1, …")
        parser.add_argument("--stream", metavar="NAME", help="Add the posts to this stream.")
        parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        columns = Columns(
            **{
                name: options[f"{name}_column"]
                for name in ("text", "id", "time", "author", "lang", "label")
            },
            time_format=options["time_format"],
            day_first=options["day_first"],
        )
        paths = _expanded(options["files"])
        stream = file_stream(options["stream"]) if options["stream"] else None
        streams = frozenset() if stream is None else frozenset({stream.pk})
        rejected = 0
        unusable: list[str] = []
        for path in paths:
            report = ImportReport()
            file = PostFile(path, columns, options["format"], options["encoding"], streams)
            try:
                self._import(file, report)
            except UnusableFile as error:
                unusable.append(str(error))
            rejected += report.summary.rejected_count
            self._tell(path, report, as_json=options["json"])
        if unusable:
            raise CommandError("; ".join(unusable), returncode=2)
        if rejected:
            raise CommandError(f"{rejected} rows were rejected; the others are saved")

    def _import(self, file: PostFile, report: ImportReport) -> None:
        with tqdm(
            total=file.size or None, unit="B", unit_scale=True, desc=file.path.name[:30]
        ) as bar:

            def show(so_far: ImportReport, offset: int) -> None:
                seconds = bar.format_dict["elapsed"] or 1
                summary = so_far.summary
                done = summary.saved + summary.duplicates
                bar.set_postfix_str(f"{done:,} posts, {done / seconds:.0f}/s", refresh=False)
                bar.update(max(0, offset - bar.n))

            try:
                import_posts(file, report, progress=show)
            except ModelingError as error:
                raise CommandError(
                    f"{error}; {report.summary.saved} posts are saved, `classify --pending` "
                    "judges them later"
                ) from error

    def _tell(self, path: Path, report: ImportReport, *, as_json: bool) -> None:
        summary, agreement = report.summary, report.agreement
        if as_json:
            row = {
                "file": str(path),
                "saved": summary.saved,
                "duplicates": summary.duplicates,
                "deleted": summary.deleted,
                "rejected": summary.rejected_count,
                "reasons": [{"line": line, "reason": why} for line, why in summary.rejected],
                "classified": report.classified,
                "agreement": agreement and agreement.as_dict(),
            }
            self.stdout.write(json.dumps(row))
            return
        self.stdout.write(
            f"{path}: {summary.saved:,} saved, {summary.duplicates:,} duplicates, "
            f"{summary.rejected_count:,} rejected, {report.classified:,} classified"
        )
        if summary.deleted:
            self.stdout.write(f"  {summary.deleted:,} posts were taken back, and are forgotten")
        for line, why in summary.rejected[:REASONS_SHOWN]:
            self.stdout.write(f"  line {line}: {why}")
        if summary.rejected_count > REASONS_SHOWN:
            self.stdout.write(f"  … and {summary.rejected_count - REASONS_SHOWN:,} more")
        if report.unknown_labels:
            self.stdout.write(f"{report.unknown_labels:,} labels are none of the scheme's")
        if agreement is not None:
            self.stdout.write(f"agreement with {agreement.size:,} labels of the file:")
            self.stdout.write(evaluation_table(agreement))


def _expanded(paths: list[Path]) -> list[Path]:
    """The files, and those that lie in the directories. Raises CommandError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = files_in(path)
            if not found:
                raise CommandError(f"there is no file to read in {path}", returncode=2)
            files += found
        elif path == STANDARD_INPUT or path.is_file():
            files.append(path)
        else:
            raise CommandError(f"there is no file {path}", returncode=2)
    return files
