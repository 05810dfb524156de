"""The gate: no model reaches the public that is worse than the one that serves.

Both are judged on the same held-out posts, and four checks must hold:

- *macro recall*: a paired bootstrap test over those posts, one-sided, level 5 %. Null hypothesis:
  the candidate's macro recall is not below the champion's. The candidate fails when the test
  rejects it. With few posts the test sees only large differences, so that it alone would let
  nearly anything pass; hence a fall of more than 2 points fails whatever the test says. The
  smallest fall that the test would have found (power 80 %) stands in the verdict.
- *slices*: no slice of 50 posts or more loses over 5 points of accuracy. Accuracy and not macro
  recall: slices are lopsided, and in one of 50 posts a category may have three, each of which would
  move macro recall by eleven points.
- *int8*: what serves in int8 agrees with its float form on 99 % of the posts, or costs less than
  0.3 points of macro recall.
- *latency*: single texts take at most 1.5 times as long as the champion's, in the best of three
  rounds. On a machine too busy to compare closely, the slower of the champion's two timings counts;
  within that it is not judged.
- *categories*: each category has held-out posts; what has none could be never given unnoticed.

A first version has no champion to be held against: its int8 form alone is judged, by its own float.

A version learned from a post of the test set would be flattered by it: such posts are left out of
the comparison, and counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from django.conf import settings
from django.utils import timezone
from numpy.typing import NDArray

from modeling import registry, serving
from modeling.exceptions import ChampionDamaged
from modeling.ml import bootstrap
from modeling.ml.arguments import Labelled
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier
from modeling.ml.evaluation import Evaluation, SliceScores, evaluate, figures
from modeling.ml.slices import Origin
from modeling.models import ModelVersion
from modeling.services import held_out, latency
from modeling.services.dataset import Dataset

# One-sided level of the test on macro recall.
LEVEL = 0.05
# A fall of macro recall that fails without a test.
LARGEST_FALL = 0.02
LARGEST_SLICE_FALL = 0.05
INT8_AGREEMENT = 0.99
INT8_COST = 0.003
# How many standard errors a fall must have to be found in 80 % of test sets: 1.645 + 0.842.
DETECTABLE = 2.487

Classes = NDArray[np.intp]


@dataclass(frozen=True)
class Check:
    """One condition: `passed` is None when it could not be, or need not be, checked."""

    name: str
    passed: bool | None
    value: float | None
    threshold: float | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may serve, why, and the figures behind it.

    `champion` is the version number of what it was held against, None for the first one;
    `test_set` is the digest of the posts that both were judged on, `backend` what they ran on.
    """

    passed: bool
    reason: str
    test_size: int
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    candidate: int | None = None
    champion: int | None = None
    test_set: str = ""
    backend: str = ""
    judged_at: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_version(
    version: ModelVersion,
    champion: ModelVersion | None,
    dataset: Dataset | None = None,
    *,
    keep: bool = True,
) -> Verdict:
    """Hold a version against the champion, on what is held out now unless `dataset` is given.

    The verdict is kept on the version's row, unless `keep` is off.
    Raises ArtifactError or RegistryError when it cannot be loaded, ChampionDamaged when the
    champion's files are no good, NotEnoughData.
    """
    dataset = dataset or held_out.now(version)
    versions = [version] if champion is None else [version, champion]
    verdict = judge(
        dataset,
        serving.load(version),
        None if champion is None else _load_champion(champion),
        float_form=lambda: _in_float(version),
        learned=held_out.learned(dataset, versions),
        unknown=held_out.not_looked_up(dataset, versions),
    )
    verdict = replace(
        verdict,
        candidate=version.version,
        champion=None if champion is None else champion.version,
        test_set=held_out.digest(dataset),
        backend=serving.backend_name(),
        judged_at=timezone.now().isoformat(timespec="seconds"),
    )
    if keep:
        version.gate = verdict.as_dict()
        version.save(update_fields=["gate"])
    return verdict


def stands(verdict: Mapping[str, Any], champion: ModelVersion | None, dataset: Dataset) -> bool:
    """Whether a kept verdict is of this very champion, on these very posts, and of the backend that
    serves: what int8 costs is no matter in float, and the other way round."""
    against = None if champion is None else champion.version
    return (
        bool(verdict)
        and verdict.get("champion") == against
        and verdict.get("backend") == serving.backend_name()
        and verdict.get("test_set") == held_out.digest(dataset)
    )


def test_only(labels: tuple[str, ...], test: Labelled, meta: tuple[Origin, ...] = ()) -> Dataset:
    """A data set to judge on and nothing else: what a file holds."""
    nothing = Labelled([], [])
    return Dataset(labels, nothing, nothing, test, digest="", meta=meta)


def _load_champion(champion: ModelVersion) -> SentimentClassifier:
    try:
        return serving.load(champion)
    except ArtifactError as error:
        raise ChampionDamaged(
            f"the files of version {champion.version} are damaged, so that no version can be held "
            f"against it: {error}; an override with a reason promotes without the comparison"
        ) from error


def _in_float(version: ModelVersion) -> SentimentClassifier:
    folder = registry.local_folder(version.artifact_uri, version.artifact_digests)
    threads = settings.INFERENCE_THREADS or os.cpu_count() or 1
    return SentimentClassifier(folder, "onnx", threads)


def judge(
    dataset: Dataset,
    candidate: SentimentClassifier,
    champion: SentimentClassifier | None,
    *,
    float_form: Callable[[], SentimentClassifier] | None = None,
    learned: Iterable[int] = (),
    unknown: str = "",
) -> Verdict:
    """Hold both against the same held-out posts. Without a champion only int8 can fail.

    `float_form` loads the candidate in float; `learned` are places in the test set that either has
    learned from, `unknown` says what could not be looked up. Raises NotEnoughData when nothing is
    left to judge on.
    """
    left_out = frozenset(learned)
    test, parts = held_out.without(dataset, left_out)
    mine = probabilities(candidate, test, dataset.labels)
    ours = evaluate(test.labels, mine, dataset.labels, parts)
    hygiene = _hygiene(len(left_out), ours.size, unknown)
    int8 = _int8(candidate, float_form, dataset, test, mine)
    categories = _categories(ours)
    if champion is None:
        # Without any model no post is judged at all: what is missing is said, and refuses nothing.
        note = replace(categories, passed=categories.passed or None)
        reason = int8.sentence if int8.passed is False else "the first version"
        return _verdict([int8, note, hygiene], reason, {"candidate": ours})
    others = probabilities(champion, test, dataset.labels)
    theirs = evaluate(test.labels, others, dataset.labels, parts)
    truth = np.asarray(test.labels, dtype=np.intp)
    checks = [
        _macro_recall(truth, mine.argmax(axis=1), others.argmax(axis=1), ours, theirs),
        _slices(ours, theirs),
        int8,
        Check("latency", *latency.compare(candidate, champion, test.texts)),
        categories,
        hygiene,
    ]
    failed = [check for check in checks if check.passed is False]
    reason = "; ".join(check.sentence for check in failed or checks[:1])
    return _verdict(checks, reason, {"candidate": ours, "champion": theirs})


def _verdict(checks: list[Check], reason: str, judged: dict[str, Evaluation]) -> Verdict:
    return Verdict(
        passed=all(check.passed is not False for check in checks),
        reason=reason,
        test_size=judged["candidate"].size,
        figures={name: _summary(one) for name, one in judged.items()},
        intervals={name: one.intervals for name, one in judged.items()},
        checks=checks,
        slices=_slice_rows(judged["candidate"], judged.get("champion")),
    )


def probabilities(
    classifier: SentimentClassifier, data: Labelled, labels: tuple[str, ...]
) -> NDArray[np.float64]:
    """(n, labels) of the texts, whatever the version's own labels are.

    It may order its outputs in another way than the scheme does now, and never gives a category
    that is younger than it.
    """
    given = classifier.predict_proba(data.texts)
    result = np.zeros((len(data), len(labels)))
    for place, label in enumerate(labels):
        if label in classifier.labels:
            result[:, place] = given[:, classifier.labels.index(label)]
    return result


def _macro_recall(
    truth: Classes, mine: Classes, others: Classes, ours: Evaluation, theirs: Evaluation
) -> Check:
    """The paired test: both models' outcomes on the same drawn posts."""
    drawn, theirs_drawn = bootstrap.paired_draws(truth, mine, others, len(ours.per_class))
    differences = figures(drawn).macro_recall - figures(theirs_drawn).macro_recall
    difference = ours.macro_recall - theirs.macro_recall
    p_value = float((differences >= 0).mean())
    low, high = bootstrap.interval(differences)
    found = DETECTABLE * float(differences.std())
    said = (
        f"macro recall {ours.macro_recall:.3f} against {theirs.macro_recall:.3f} on {ours.size} "
        f"held-out posts ({difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, "
        f"p = {p_value:.3f}; a fall of {found:.3f} would have been found)"
    )
    passed = p_value >= LEVEL and difference >= -LARGEST_FALL
    return Check("macro recall", passed, round(p_value, 4), LEVEL, said)


def _slices(ours: Evaluation, theirs: Evaluation) -> Check:
    falls = [
        (mine.accuracy - other.accuracy, mine)
        for mine, other in zip(ours.slices, theirs.slices, strict=True)
        if mine.is_judged
    ]
    if not falls:
        return Check("slices", None, None, -LARGEST_SLICE_FALL, "no slice has 50 posts")
    change, worst = min(falls, key=lambda fall: fall[0])
    too_far = [
        f"{_name(part)} {fall:+.3f}" for fall, part in falls if round(fall, 9) < -LARGEST_SLICE_FALL
    ]
    said = (
        f"accuracy falls too far on: {', '.join(too_far)}"
        if too_far
        else f"the worst of {len(falls)} slices is {_name(worst)} ({change:+.3f} accuracy)"
    )
    return Check("slices", not too_far, round(change, 4), -LARGEST_SLICE_FALL, said)


def _name(part: SliceScores) -> str:
    return f"{part.dimension} = {part.value} ({part.size} posts)"


def _int8(
    candidate: SentimentClassifier,
    float_form: Callable[[], SentimentClassifier] | None,
    dataset: Dataset,
    test: Labelled,
    mine: NDArray[np.float64],
) -> Check:
    """Agreement over validation and test texts, which needs no labels; cost on the test set."""
    if not candidate.backend_name.endswith("int8"):
        said = f"it serves in float ({candidate.backend_name})"
        return Check("int8", None, None, INT8_AGREEMENT, said)
    if float_form is None:
        said = "not judged: no float form was given"
        return Check("int8", None, None, INT8_AGREEMENT, said)
    try:
        exact = float_form()
    except ArtifactError as error:
        said = f"not judged: there is no float form to hold it against: {error}"
        return Check("int8", None, None, INT8_AGREEMENT, said)
    theirs = probabilities(exact, test, dataset.labels)
    others = dataset.validation
    same = np.concatenate(
        [
            theirs.argmax(axis=1) == mine.argmax(axis=1),
            probabilities(exact, others, dataset.labels).argmax(axis=1)
            == probabilities(candidate, others, dataset.labels).argmax(axis=1),
        ]
    )
    agreement = float(same.mean())
    cost = (
        evaluate(test.labels, theirs, dataset.labels).macro_recall
        - evaluate(test.labels, mine, dataset.labels).macro_recall
    )
    said = (
        f"int8 agrees with float on {agreement:.2%} of {len(same)} posts and costs "
        f"{100 * cost:.2f} points of macro recall"
    )
    passed = agreement >= INT8_AGREEMENT or cost < INT8_COST
    return Check("int8", passed, round(agreement, 4), INT8_AGREEMENT, said)


def _categories(ours: Evaluation) -> Check:
    """Means leave a category without posts out: a model that never gives it would lose nothing."""
    without = [label for label, scores in ours.per_class.items() if not scores.support]
    fewest = min(scores.support for scores in ours.per_class.values())
    said = f"each category has held-out posts, the scarcest {fewest}"
    if without:
        said = f"nothing to judge {', '.join(without)} on: label more posts of it"
    return Check("categories", not without, len(without), 0, said)


def _hygiene(left_out: int, kept: int, unknown: str) -> Check:
    said = f"neither version is known to have learned from any of the {kept} posts"
    if left_out:
        said = f"{left_out} posts that a version has learned from are left out; {kept} remain"
    if unknown:
        said = f"{said}; {unknown}"
    passed = None if left_out or unknown else True
    return Check("unseen posts", passed, left_out, 0, said)


def _summary(judged: Evaluation) -> dict[str, float]:
    return {
        name: round(getattr(judged, name), 4)
        for name in ("accuracy", "macro_f1", "macro_recall", "ece")
    }


def _slice_rows(ours: Evaluation, theirs: Evaluation | None) -> list[dict[str, Any]]:
    """Each slice with both models' figures."""
    others = theirs.slices if theirs is not None else [None] * len(ours.slices)
    return [
        {
            "dimension": mine.dimension,
            "value": mine.value,
            "size": mine.size,
            "is_judged": mine.is_judged,
            "candidate": {
                "accuracy": round(mine.accuracy, 4),
                "macro_recall": round(mine.macro_recall, 4),
            },
            "champion": None
            if other is None
            else {
                "accuracy": round(other.accuracy, 4),
                "macro_recall": round(other.macro_recall, 4),
            },
        }
        for mine, other in zip(ours.slices, others, strict=True)
    ]
