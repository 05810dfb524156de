"""Agreement of people, and what asks for a second look."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from django.contrib.auth.models import User
from django.utils import timezone
from sklearn.metrics import cohen_kappa_score

from ingestion.models import Post
from modeling.models import Annotation, Assignment, LabelScheme, ModelVersion, Prediction
from modeling.services import agreement, review
from modeling.services.annotate import annotate, flag
from modeling.services.dataset import gather

_numbers = count(1)

# The worked example of Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, part C:
# four observers, twelve units, values missing; its nominal alpha is 0.743.
OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def test_alpha_is_that_of_the_worked_example() -> None:
    rows = [row.split() for row in OBSERVERS]
    units = [[int(value) for value in unit if value != "."] for unit in zip(*rows, strict=True)]
    assert agreement.krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_alpha_needs_a_post_with_two_labels() -> None:
    assert agreement.krippendorff_alpha([[1], [], [2]]) is None
    assert agreement.krippendorff_alpha([[1, 1], [1, 1]]) == 1


def test_kappa_is_that_of_scikit_learn() -> None:
    first, second = [0, 1, 2, 2, 1, 0, 0, 2, 1, 1], [0, 1, 2, 1, 1, 0, 2, 2, 0, 1]
    expected = cohen_kappa_score(first, second)
    assert agreement.cohen_kappa(list(zip(first, second, strict=True))) == pytest.approx(expected)


def make(text: str = "", **fields: object) -> Post:
    number = next(_numbers)
    values: dict[str, object] = {"text": text or f"post {number}", "created_at": timezone.now()}
    return Post.objects.create(source="file", external_id=f"a{number}", **{**values, **fields})


def label(scheme: LabelScheme, post: Post, *, review: bool = False, **by_person: str) -> None:
    for name, key in by_person.items():
        person, _ = User.objects.get_or_create(username=name)
        origin = Annotation.Origin.REVIEW if review else Annotation.Origin.HUMAN
        annotate(post, scheme.categories.get(key=key), annotator=person, origin=origin)


def test_two_people_are_told_kappa_and_more_alpha(scheme: LabelScheme) -> None:
    assert agreement.agreement(scheme).value is None
    for first, second in (
        ("positive", "positive"),
        ("negative", "negative"),
        ("neutral", "neutral"),
    ):
        label(scheme, make(), ann=first, bob=second)
    label(scheme, make(), ann="positive", bob="negative")
    label(scheme, make(), ann="positive")
    found = agreement.agreement(scheme)
    assert (found.measure, found.posts, found.agreed) == ("Cohen's kappa", 4, 3)
    assert found.value == pytest.approx(cohen_kappa_score([0, 1, 2, 0], [0, 1, 2, 1]))
    label(scheme, make(), ann="positive", carol="positive")
    found = agreement.agreement(scheme)
    assert (found.measure, found.people) == ("Krippendorff's alpha", 3)
    assert {(pair.posts, pair.agreed) for pair in found.pairs} == {(4, 3), (1, 1)}


def test_a_review_settles_a_disagreement_and_leaves_the_agreement_as_it_was(
    scheme: LabelScheme,
) -> None:
    post = make()
    label(scheme, post, ann="positive", bob="negative")
    before = agreement.agreement(scheme)
    votes = agreement.disagreements(scheme)
    assert [(vote.person, vote.category) for vote in votes[0].votes] == [
        ("ann", "Positive"),
        ("bob", "Negative"),
    ]
    # One of the two settles it, in favour of the other.
    label(scheme, post, review=True, ann="negative")
    assert agreement.disagreements(scheme) == []
    assert agreement.agreement(scheme) == before
    label(scheme, post, review=True, carol="neutral")
    assert agreement.agreement(scheme) == before


def test_one_s_own_label_confirmed_in_review_settles_the_post(scheme: LabelScheme) -> None:
    post = make()
    label(scheme, post, ann="positive", bob="negative")
    assert post.pk not in gather(scheme).posts
    label(scheme, post, review=True, bob="negative")
    assert agreement.disagreements(scheme) == []
    assert post.pk in gather(scheme).posts


def test_a_label_taken_back_is_no_opinion(scheme: LabelScheme) -> None:
    post = make()
    label(scheme, post, ann="positive", bob="negative")
    Annotation.objects.filter(annotator__username="bob").update(replaced_at=timezone.now())
    assert agreement.agreement(scheme).posts == 0 and agreement.disagreements(scheme) == []


def test_a_majority_is_no_disagreement(scheme: LabelScheme) -> None:
    label(scheme, make(), ann="positive", bob="negative", carol="negative")
    assert agreement.disagreements(scheme) == []


def judge(scheme: LabelScheme, post: Post, **scores: float) -> None:
    version, _ = ModelVersion.objects.get_or_create(scheme=scheme, version=1, run_id="r")
    best = max(scores, key=lambda key: scores[key])
    Prediction.objects.create(
        post=post,
        scheme=scheme,
        model_version=version,
        category=scheme.categories.get(key=best),
        confidence=scores[best],
        scores=scores,
    )


def test_an_improbable_label_is_doubted(scheme: LabelScheme) -> None:
    for key, other in (("positive", "negative"), ("negative", "positive")):
        for _ in range(5):
            post = make()
            judge(scheme, post, **{key: 0.8, other: 0.2})
            label(scheme, post, ann=key)
    wrong, unsure = make("wrong"), make("unsure")
    judge(scheme, wrong, negative=0.95, positive=0.05)
    judge(scheme, unsure, negative=0.55, positive=0.45)
    for post in (wrong, unsure):
        label(scheme, post, ann="positive")
    found = review.doubts(scheme)
    assert [(doubt.post, doubt.given, doubt.likelier) for doubt in found] == [
        (wrong, "Positive", "Negative")
    ]
    label(scheme, wrong, review=True, bob="positive")
    assert review.doubts(scheme) == []


def test_the_doubted_labels_are_those_that_cleanlab_finds(scheme: LabelScheme) -> None:
    generator = np.random.default_rng(7)
    keys = list(scheme.categories.values_list("key", flat=True))
    truth = generator.integers(0, 3, 90)
    probabilities = generator.dirichlet((1, 1, 1), 90) * 0.5
    probabilities[np.arange(90), truth] += 0.5
    given = np.where(generator.random(90) < 0.15, (truth + 1) % 3, truth)
    posts = [make() for _ in range(90)]
    for post, scores, said in zip(posts, probabilities.tolist(), given, strict=True):
        judge(scheme, post, **dict(zip(keys, scores, strict=True)))
        label(scheme, post, ann=keys[said])
    issues = find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1)
    expected = {post for post, is_issue in zip(posts, issues, strict=True) if is_issue}
    assert 5 < len(expected) < 40
    assert {doubt.post for doubt in review.doubts(scheme)} == expected


def test_what_a_version_has_learned_by_heart_is_no_evidence(scheme: LabelScheme) -> None:
    for key, other in (("positive", "negative"), ("negative", "positive")):
        post = make()
        judge(scheme, post, **{key: 0.8, other: 0.2})
        label(scheme, post, ann=key)
    wrong = make("wrong")
    judge(scheme, wrong, negative=0.95, positive=0.05)
    label(scheme, wrong, ann="positive")
    assert len(review.doubts(scheme)) == 1
    version = ModelVersion.objects.get()
    version.training_posts.create(post=wrong, split="train")
    assert review.doubts(scheme) == []


def test_posts_that_read_alike_with_different_labels_are_listed(scheme: LabelScheme) -> None:
    label(scheme, make("Great GAME!!!! https://a.example"), ann="positive")
    label(scheme, make("great game!!! https://b.example"), bob="negative")
    label(scheme, make("the same twice"), ann="neutral")
    label(scheme, make("The same twice"), ann="neutral")
    clashes = review.clashes(scheme)
    assert [{category for _, category, _ in one.labels} for one in clashes] == [
        {"Positive", "Negative"}
    ]


def answer(scheme: LabelScheme, post: Post, name: str, key: str, reason: str) -> None:
    person, _ = User.objects.get_or_create(username=name)
    Assignment.objects.create(
        post=post,
        scheme=scheme,
        annotator=person,
        reason=reason,
        why="?",
        expires_at=timezone.now() + timezone.timedelta(minutes=1),
    )
    annotate(post, scheme.categories.get(key=key), annotator=person, seconds=3)


def test_accuracy_is_told_of_random_posts_alone(scheme: LabelScheme) -> None:
    for reason, judged in (
        ("random", "positive"),
        ("random", "negative"),
        ("uncertain", "negative"),
    ):
        post = make()
        judge(scheme, post, **{judged: 0.9})
        answer(scheme, post, "ann", "positive", reason)
    found = review.honest_accuracy(scheme)
    assert (found.posts, found.right) == (2, 1)
    assert found.interval == pytest.approx((0.0945, 0.9055), abs=0.001)
    assert review.Accuracy(0, 0).interval is None


def test_each_person_s_work_is_told(scheme: LabelScheme) -> None:
    settled = make()
    label(scheme, settled, review=True, boss="negative")
    answer(scheme, settled, "ann", "positive", "gold")
    other = make()
    answer(scheme, other, "ann", "positive", "uncertain")
    label(scheme, other, bob="positive")
    ann = next(one for one in review.annotators(scheme) if one.name == "ann")
    assert (ann.labels, ann.last_day, ann.seconds) == (2, 2, 3)
    assert (ann.gold, ann.gold_posts) == (0, 1)
    assert (ann.agreeing, ann.compared) == (1, 1)


def test_flags_are_listed_until_the_post_is_gone(scheme: LabelScheme) -> None:
    ann = User.objects.create_user("ann")
    post = make()
    flag(post, scheme, annotator=ann)
    assert [one.post for one in review.flagged(scheme)] == [post]
    Post.objects.update(deleted_at=timezone.now(), text="")
    assert review.flagged(scheme) == []
