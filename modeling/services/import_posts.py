"""Importing files of posts and judging them, beside the labels that a file may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ingestion.services.importing import ImportedChunk, ImportSummary, import_file
from ingestion.sources.files import PostFile
from modeling.ml.evaluation import Evaluation, evaluate
from modeling.models import LabelScheme, Prediction
from modeling.services.classify import classify_posts


@dataclass
class ImportReport:
    """What became of a file: its rows, how many posts were judged now, and, where the file holds
    labels of the scheme, how the judgements agree with them."""

    summary: ImportSummary = field(default_factory=ImportSummary)
    classified: int = 0
    unknown_labels: int = 0
    agreement: Evaluation | None = None


def import_posts(
    file: PostFile, report: ImportReport, *, progress: Callable[[ImportReport, int], None]
) -> None:
    """Save and classify a file's posts, a chunk at a time; safe to repeat.

    `progress` is told the report so far and the bytes read. Raises UnusableFile or ModelingError;
    what was saved before stays, and `classify --pending` judges the rest.
    """
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    labels = list(scheme.categories.values_list("key", flat=True))
    truth: list[int] = []
    scores: list[list[float]] = []
    for chunk in import_file(file, report.summary):
        stored = chunk.stored
        report.classified += classify_posts([*stored.post_ids, *stored.known_ids], channel="import")
        if file.columns.label:
            report.unknown_labels += _compare(chunk, labels, truth, scores)
        progress(report, chunk.offset)
    if truth:
        report.agreement = evaluate(truth, np.array(scores), labels)


def _compare(
    chunk: ImportedChunk, labels: list[str], truth: list[int], scores: list[list[float]]
) -> int:
    """Add the chunk's labels and scores; return how many labels the scheme does not have."""
    ids = [*chunk.stored.post_ids, *chunk.stored.known_ids]
    rows = Prediction.objects.serving().filter(post__in=ids, scheme__key=LabelScheme.DEFAULT_KEY)
    judged = {
        (source, external_id): given
        for source, external_id, given in rows.values_list(
            "post__source", "post__external_id", "scores"
        )
    }
    unknown = 0
    for post, label in zip(chunk.posts, chunk.labels, strict=True):
        if label.lower() not in labels:
            unknown += 1
        elif (given := judged.get((post.source, post.external_id))) is not None:
            truth.append(labels.index(label.lower()))
            # A category that is younger than the judgement has no score in it.
            scores.append([given.get(key, 0.0) for key in labels])
    return unknown
