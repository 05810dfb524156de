"""What goes with a version into the registry: its card, pictures and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modeling import registry, tracking
from modeling.ml import artifact, card, environment, plots
from modeling.ml.arguments import SoftLabels, TrainingArguments, TrainingOutcome
from modeling.ml.evaluation import Evaluation, Probabilities
from modeling.models import ModelVersion, TrainingRun
from modeling.services.dataset import Dataset, counts

CALIBRATION_FILE = "calibration.json"
FIGURES = ("accuracy", "macro_f1", "macro_recall", "ece")


def figures(prefix: str, judged: Evaluation) -> dict[str, float]:
    """An evaluation's figures as flat metrics: the whole, and each category."""
    found = {f"{prefix}_{name}": getattr(judged, name) for name in FIGURES}
    for label, scores in judged.per_class.items():
        for name in ("precision", "recall", "f1"):
            found[f"{prefix}_{name}_{label}"] = getattr(scores, name)
    return found


def by_epoch(outcome: TrainingOutcome) -> list[dict[str, float]]:
    """One mapping of metrics an epoch."""
    return [
        {"loss": epoch.loss, **figures("validation", epoch.validation)} for epoch in outcome.history
    ]


def parameters(
    dataset: Dataset,
    arguments: TrainingArguments,
    outcome: TrainingOutcome,
    soft_labels: SoftLabels | None,
) -> dict[str, Any]:
    """What a version was made with, as its row, MLflow, Weights & Biases and the card tell it."""
    told = {
        **vars(arguments),
        "base_model": outcome.settings.base_model,
        "batch_size_in_memory": outcome.batch_size,
        "dataset_digest": dataset.digest,
        "train_size": len(dataset.train),
        "data": dataset.describe(),
    }
    if soft_labels is not None:
        told |= {
            "teacher": soft_labels.teacher,
            "teacher_digest": soft_labels.digest,
            "unlabelled_texts": len(soft_labels.texts),
        }
    return told


def data_note(run: TrainingRun, dataset: Dataset) -> registry.DataNote:
    """Digest and sizes of the data, as the registry tells them."""
    sets = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    sizes = {name: counts(data, dataset.labels) for name, data in sets.items()}
    return registry.DataNote(run.scheme.key, dataset.digest, sizes)


def write_reports(
    folder: Path, dataset: Dataset, judged: Evaluation, probabilities: Probabilities
) -> None:
    """Pictures of the test set's figures, and the numbers behind them as JSON.

    `probabilities` are those of the test set's texts, (n, labels).
    """
    bins = plots.reliability(dataset.test.labels, probabilities)
    plots.draw_confusion(judged.confusion, dataset.labels, folder / "confusion_matrix.png")
    plots.draw_reliability(bins, folder / "calibration.png")
    confusion = {"labels": dataset.labels, "counts": judged.confusion}
    _write(folder / "confusion_matrix.json", confusion)
    _write(folder / CALIBRATION_FILE, [asdict(item) for item in bins])
    _write(folder / "evaluation.json", judged.as_dict())
    _write(folder / "environment.json", environment.describe())


def calibration_bins(dataset: Dataset, probabilities: Probabilities) -> list[dict[str, Any]]:
    """Confidence against accuracy on the test set, a bin of confidence each."""
    return [asdict(item) for item in plots.reliability(dataset.test.labels, probabilities)]


def calibration_of(version: ModelVersion) -> list[dict[str, Any]]:
    """A version's `calibration_bins`; of one from before they were kept on the row, those beside
    its files where these lie on this machine. Empty when nobody knows them."""
    if "calibration" in version.metrics:
        return list(version.metrics["calibration"])
    folder = registry.folder_of(version.artifact_uri, version.artifact_digests)
    try:
        text = (folder.parent / registry.REPORTS_PATH / CALIBRATION_FILE).read_text("utf-8")
        return list(json.loads(text))
    except (OSError, ValueError):
        return []


def write_card(
    folder: Path,
    run: TrainingRun,
    dataset: Dataset,
    outcome: TrainingOutcome,
    judged: Evaluation,
    parameters: Mapping[str, Any],
) -> None:
    """The model card, beside the files that it lists."""
    made = {artifact.CARD_FILE, artifact.SUMS_FILE}
    facts = card.CardFacts(
        scheme=run.scheme.name,
        labels=dataset.labels,
        base_model=outcome.settings.base_model,
        max_length=outcome.settings.max_length,
        temperature=outcome.settings.temperature,
        parameters=parameters,
        metrics=judged.as_dict(),
        sizes=data_note(run, dataset).sizes,
        dataset_digest=dataset.digest,
        environment=environment.describe(),
        files={name: sha for name, sha in artifact.digests(folder).items() if name not in made},
    )
    (folder / artifact.CARD_FILE).write_text(card.model_card(facts), encoding="utf-8")


def track(
    run: TrainingRun,
    version: int,
    outcome: TrainingOutcome,
    judged: Evaluation,
    parameters: Mapping[str, Any],
    reports: Path,
) -> None:
    """The same to Weights & Biases, where that is asked for."""
    tracking.log_training(
        name=f"{run.scheme.key}-{version}",
        group=run.scheme.key,
        config={**parameters, **environment.describe()},
        history=by_epoch(outcome),
        summary={**figures("test", judged), "version": version, "training_run": run.pk},
        images=sorted(reports.glob("*.png")),
    )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
