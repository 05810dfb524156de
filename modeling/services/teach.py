"""Teaching small models from big ones: a teacher's opinion of labelled and unlabelled posts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ingestion.models import Post
from modeling import registry
from modeling.ml import distill, text
from modeling.ml.arguments import SoftLabels, TrainingError
from modeling.models import ModelVersion, TrainingRun
from modeling.services.dataset import Dataset, split_name

# The newest so many unlabelled texts: a teacher reads them in minutes, not hours.
UNLABELLED_POSTS = 20_000


def soft_labels(run: TrainingRun, dataset: Dataset, say: Callable[[str], None]) -> SoftLabels:
    """What the run's teacher thinks of the training texts and of stored posts without a label.

    Raises TrainingError when there is no such teacher, or its labels are others.
    """
    teacher = distill.load(_source(run))
    texts = unlabelled(run, dataset)
    everything = [*dataset.train.texts, *texts]
    logits = distill.opinions(teacher, everything, dataset.labels, say)
    count = len(dataset.train)
    return SoftLabels(logits[:count], texts, logits[count:])


def unlabelled(run: TrainingRun, dataset: Dataset, limit: int = UNLABELLED_POSTS) -> list[str]:
    """Texts of the newest stored posts that nobody has labelled, each once.

    What belongs to the validation or test set by its hash stays out, labelled or not.
    """
    seen = {text.digest(one) for one in dataset.train.texts}
    texts: list[str] = []
    posts = Post.objects.current()
    if run.started_at is not None:
        # What came later would be other data to an interrupted training.
        posts = posts.filter(received_at__lte=run.started_at)
    newest = posts.order_by("-pk").values_list("text", flat=True)[: 3 * limit]
    for one in newest.iterator(chunk_size=2000):
        key = text.digest(one)
        if key in seen or split_name(key) != "train":
            continue
        seen.add(key)
        texts.append(one)
        if len(texts) == limit:
            break
    return texts


def _source(run: TrainingRun) -> str | Path:
    """A version's folder for its number; a hub name or folder as it is."""
    name = str(run.options["teacher"])
    if not name.isdigit():
        return name
    version = ModelVersion.objects.filter(scheme=run.scheme, version=int(name)).first()
    if version is None:
        raise TrainingError(f"{run.scheme.key!r} has no version {name} that could teach")
    return registry.local_folder(version.artifact_uri, version.artifact_digests)
