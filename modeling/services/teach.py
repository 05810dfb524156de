"""Teaching small models from big ones: a teacher's opinion of labelled and unlabelled posts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from ingestion.models import Post
from modeling import registry
from modeling.ml import distill, text
from modeling.ml.arguments import SoftLabels, TrainingError
from modeling.ml.distill import Opinions
from modeling.models import ModelVersion, TrainingRun
from modeling.services import runs
from modeling.services.dataset import CHUNK, Dataset, split_name

logger = logging.getLogger(__name__)

# The newest so many unlabelled texts: a teacher reads them in minutes, not hours.
UNLABELLED_POSTS = 20_000


def soft_labels(run: TrainingRun, dataset: Dataset, say: Callable[[str], None]) -> SoftLabels:
    """What the run's teacher thinks of the training texts and of stored posts without a label.

    It reads once: a run that goes on finds its opinions in the run's folder, whatever was edited
    or came since. Posts that were deleted meanwhile are left out, there too. Raises TrainingError
    when there is no such teacher, or its labels are others.
    """
    folder = runs.folder_of(run) / "teacher"
    kept = Opinions.read(folder)
    if kept is None or not _is_of(kept, run, dataset):
        kept = _ask(run, dataset, say)
        kept.write(folder)
    return _without_deleted(kept, dataset, folder)


def unlabelled(run: TrainingRun, dataset: Dataset, limit: int = UNLABELLED_POSTS) -> dict[str, int]:
    """Texts of the newest stored posts that nobody has labelled, each once, with its post.

    What belongs to the validation or test set by its hash stays out, labelled or not.
    """
    seen = {text.digest(one) for one in dataset.train.texts}
    found: dict[str, int] = {}
    posts = Post.objects.current()
    if run.started_at is not None:
        # What came later would be other data to an interrupted training.
        posts = posts.filter(received_at__lte=run.started_at)
    newest = posts.order_by("-pk").values_list("pk", "text")[: 3 * limit]
    for pk, one in newest.iterator(chunk_size=2000):
        key = text.digest(one)
        if key in seen or split_name(key) != "train":
            continue
        seen.add(key)
        found[one] = pk
        if len(found) == limit:
            break
    return found


def _is_of(kept: Opinions, run: TrainingRun, dataset: Dataset) -> bool:
    """Whether opinions that were kept are this training's, less what was deleted since."""
    return (
        kept.teacher == _name(run)
        and kept.labels == dataset.labels
        and {one for one, _ in _of_data_set(kept)}.issuperset(dataset.train.texts)
    )


def _of_data_set(kept: Opinions) -> Iterable[tuple[str, int]]:
    """Texts of the data set, with their rows."""
    return (
        (one, row)
        for row, (one, post) in enumerate(zip(kept.texts, kept.posts, strict=True))
        if post is None
    )


def _ask(run: TrainingRun, dataset: Dataset, say: Callable[[str], None]) -> Opinions:
    teacher = distill.load(_source(run))
    further = unlabelled(run, dataset)
    texts = [*dataset.train.texts, *further]
    return Opinions(
        teacher=_name(run),
        digest=teacher.digest,
        labels=dataset.labels,
        texts=texts,
        posts=[*[None] * len(dataset.train), *further.values()],
        logits=distill.opinions(teacher, texts, dataset.labels, say),
    )


def _without_deleted(kept: Opinions, dataset: Dataset, folder: Path) -> SoftLabels:
    """Of what the teacher read, what may be learned from now."""
    rows = dict(_of_data_set(kept))
    labelled = [rows[one] for one in dataset.train.texts]
    there = _visible(post for post in kept.posts if post is not None)
    further = [row for row, post in enumerate(kept.posts) if post in there]
    if gone := len(kept.texts) - len(labelled) - len(further):
        logger.warning(
            "%s texts that the teacher read are left out, as their posts were deleted since: what "
            "was learned from them, if anything, is given up, and the training begins anew",
            gone,
        )
        kept.only([*labelled, *further]).write(folder)
    return SoftLabels(
        kept.logits[labelled],
        [kept.texts[row] for row in further],
        kept.logits[further],
        teacher=kept.teacher,
        digest=kept.digest,
    )


def _visible(posts: Iterable[int]) -> set[int]:
    """Those that are here and not deleted: one query for each 500."""
    ids = sorted(posts)
    found: set[int] = set()
    for start in range(0, len(ids), CHUNK):
        part = Post.objects.visible().filter(pk__in=ids[start : start + CHUNK])
        found.update(part.values_list("pk", flat=True))
    return found


def _name(run: TrainingRun) -> str:
    """The teacher as records call it."""
    name = str(run.options["teacher"])
    return f"version {name}" if name.isdigit() else name


def _source(run: TrainingRun) -> str | Path:
    """A version's folder for its number; a hub name or folder as it is."""
    name = str(run.options["teacher"])
    if not name.isdigit():
        return name
    version = ModelVersion.objects.filter(scheme=run.scheme, version=int(name)).first()
    if version is None:
        raise TrainingError(f"{run.scheme.key!r} has no version {name} that could teach")
    return registry.local_folder(version.artifact_uri, version.artifact_digests)
