"""What versions are judged on: their scheme's held-out posts, but for those that they know."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from modeling.exceptions import NotEnoughData
from modeling.ml.arguments import Labelled
from modeling.ml.slices import Slice, slices
from modeling.models import ModelVersion, TrainingPost, TrainingRun
from modeling.services import label_files
from modeling.services.dataset import Dataset, gather
from modeling.services.label_files import LabelFileError, LabelledRow


def now(version: ModelVersion) -> Dataset:
    """The labels as they are at this moment, with those of the file that the version learned from
    while that can be read.

    Raises NotEnoughData.
    """
    rows = _rows_of_file(version)
    try:
        return gather(version.scheme, rows=rows)
    except NotEnoughData as error:
        raise NotEnoughData(
            f"there are too few held-out posts to judge version {version.version} on: {error}"
            + ("" if rows or not _file_of(version) else _without_the_file(version))
        ) from error


def digest(dataset: Dataset) -> str:
    """Changes with any text, label or category of the test set, and with nothing else."""
    seal = hashlib.sha256("\t".join(sorted(dataset.labels)).encode())
    for text, label in zip(dataset.test.texts, dataset.test.labels, strict=True):
        # A length each: no text can pass for two.
        seal.update(f"\n{dataset.labels[label]}\t{len(text)}\t{text}".encode(errors="replace"))
    return seal.hexdigest()


def learned(dataset: Dataset, versions: Sequence[ModelVersion]) -> list[int]:
    """Places in the test set of texts whose posts one of the versions was trained or tuned on."""
    places = {pk: place for place, origin in enumerate(dataset.meta) for pk in origin.posts}
    rows = TrainingPost.objects.filter(version__in=versions).exclude(split=TrainingPost.Split.TEST)
    return sorted({places[pk] for pk in rows.values_list("post_id", flat=True) if pk in places})


def not_looked_up(dataset: Dataset, versions: Sequence[ModelVersion]) -> str:
    """What the database cannot tell of texts that a version may have learned from."""
    runs = TrainingRun.objects.filter(version__in=versions).select_related("version")
    said = [
        f"version {run.version.version} learned from a file too, of which only the split by hash "
        "keeps the held-out posts apart"
        for run in runs
        if run.version is not None and run.options.get("data")
    ]
    if not dataset.digest:
        said.append("a file's texts are not looked up among those learned from")
    return "; ".join(said)


def without(dataset: Dataset, left_out: frozenset[int]) -> tuple[Labelled, list[Slice]]:
    """The test set but for the places in `left_out`, and its slices. Raises NotEnoughData."""
    kept = [place for place in range(len(dataset.test)) if place not in left_out]
    if not kept:
        raise NotEnoughData("no held-out post is left to judge on: label more posts")
    test = Labelled(
        [dataset.test.texts[place] for place in kept],
        [dataset.test.labels[place] for place in kept],
    )
    origins = [dataset.meta[place] for place in kept] if dataset.meta else []
    return test, slices(test.texts, origins)


def _run_of(version: ModelVersion) -> TrainingRun | None:
    return TrainingRun.objects.filter(version=version).first()


def _file_of(version: ModelVersion) -> str:
    run = _run_of(version)
    return str(run.options.get("data") or "") if run is not None else ""


def _rows_of_file(version: ModelVersion) -> list[LabelledRow]:
    """None where the file is gone, or lies on the machine that trained."""
    run = _run_of(version)
    if run is None or not run.options.get("data"):
        return []
    labels = list(version.scheme.categories.values_list("key", flat=True))
    columns = run.options.get("text_column", "text"), run.options.get("label_column", "label")
    try:
        return label_files.read(Path(run.options["data"]), *columns, labels)
    except (LabelFileError, OSError):
        return []


def _without_the_file(version: ModelVersion) -> str:
    return (
        f"; {_file_of(version)}, from which it learned, cannot be read here: import its labels, or "
        "promote with an override and a reason"
    )
