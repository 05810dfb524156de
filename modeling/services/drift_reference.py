"""What a version's posts are later held against: a fair draw of those that arrive, and the labelled
ones that its confidence is calibrated on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from django.db.models import F
from django.db.models.functions import Mod

from ingestion.models import Post
from modeling.ml import reference, text
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.embedding import Embedder
from modeling.models import TrainingRun
from modeling.services.dataset import Dataset

LATELY = timedelta(days=7)
# Some are left out: learned from, or said again.
_READ = 3 * reference.LIMIT


def make_reference(
    run: TrainingRun,
    dataset: Dataset,
    folder: Path,
    classifier: SentimentClassifier,
    unlabelled: Iterable[str] = (),
) -> dict[str, Any]:
    """Write the reference beside the model, and return its summary for people.

    Labels are asked for where a model is unsure, so that labelled posts are no sample of those that
    arrive: drift is of posts that arrived, where there are enough. `unlabelled` texts were learned
    from beside the training set.
    """
    texts = [*dataset.validation.texts, *dataset.test.texts]
    truth = [*dataset.validation.labels, *dataset.test.labels]
    # Posts that the model has not seen in training: its confidence there is that of live posts.
    arrived = arrivals(run, [*dataset.train.texts, *unlabelled])
    everything = [*texts, *arrived]
    sample = reference.make_sample(
        everything,
        classifier.predict_proba(everything),
        [*truth, *[reference.UNKNOWN] * len(arrived)],
        Embedder(folder, classifier).embed,
    )
    sample.write(folder)
    return reference.build(sample.ordinary, dataset.labels)


def arrivals(run: TrainingRun, learned: Iterable[str]) -> list[str]:
    """Texts of current posts that arrived in the week before the run began, drawn at random: each
    once, none that was learned, at most LIMIT; none at all where they are under MINIMUM.

    A run that goes on draws the same, as far as its posts are still there.
    """
    if run.started_at is None:
        return []
    generator = Random(run.pk)
    posts = Post.objects.filter(
        received_at__gt=run.started_at - LATELY, received_at__lte=run.started_at
    )
    # By the index alone: deleted ones are left out where rows are read.
    step = -(-posts.count() // _READ)
    if step > 1:
        posts = posts.annotate(turn=Mod(F("id"), step)).filter(turn=generator.randrange(step))
    seen = {text.digest(one) for one in learned}
    texts = []
    for one in posts.current().order_by("id").values_list("text", flat=True):
        if (key := text.digest(one)) not in seen:
            seen.add(key)
            texts.append(one)
    if len(texts) < reference.MINIMUM:
        return []
    return generator.sample(texts, min(reference.LIMIT, len(texts)))
