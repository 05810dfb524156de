"""Who is asked about which post, and what comes of the answer."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling import serving
from modeling.ml import features
from modeling.ml.classifier import SentimentClassifier
from modeling.models import (
    Annotation,
    Assignment,
    Category,
    LabelScheme,
    ModelVersion,
    Prediction,
    QualityReport,
)
from modeling.services import likeness, queue
from modeling.services.annotate import annotate, annotate_many, flag, skip, take_up, undo, unflag
from modeling.services.dataset import _majority
from tests.conftest import wait_until
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db

Maker = Callable[..., Post]


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> Iterator[Settings]:
    """Nothing left to chance, and one reader a post, unless a test says so."""
    settings.LABELLING_STRATEGY = "uncertainty"
    settings.LABELLING_RANDOM_SHARE = settings.LABELLING_OVERLAP = settings.LABELLING_GOLD = 0
    likeness.reset()
    yield settings
    likeness.reset()


@pytest.fixture
def version(scheme: LabelScheme) -> ModelVersion:
    """A candidate, so that nobody looks for its files."""
    return ModelVersion.objects.create(scheme=scheme, version=9, run_id="r", base_model="tiny")


@pytest.fixture
def judged(scheme: LabelScheme, version: ModelVersion) -> Maker:
    def make(text: str, margin: float = 0.5, category: str = "positive") -> Post:
        post = Post.objects.create(
            source="file",
            external_id=f"p{Post.objects.count()}",
            text=text,
            created_at=timezone.now(),
        )
        best, other = 0.5 + margin / 2, 0.5 - margin / 2
        runner_up = "neutral" if category != "neutral" else "negative"
        Prediction.objects.create(
            post=post,
            scheme=scheme,
            model_version=version,
            category=scheme.categories.get(key=category),
            confidence=best,
            scores={category: best, runner_up: other},
        )
        return post

    return make


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def positive(scheme: LabelScheme) -> Category:
    return scheme.categories.get(key="positive")


def texts(assignments: list[Assignment]) -> set[str]:
    return {assignment.post.text for assignment in assignments}


def test_the_least_sure_posts_come_first(scheme: LabelScheme, judged: Maker, ann: User) -> None:
    for margin in (0.9, 0.1, 0.5, 0.02):
        judged(f"margin {margin}", margin)
    drawn = queue.draw(ann, scheme, count=2)
    assert texts(drawn) == {"margin 0.1", "margin 0.02"}
    assert {one.why for one in drawn} == {
        "The model wavers between two categories, 55% against 45%.",
        "The model wavers between two categories, 51% against 49%.",
    }


def test_posts_that_read_alike_come_once(scheme: LabelScheme, judged: Maker, ann: User) -> None:
    first = judged("GREAT game!!!! https://a.example", 0.1)
    judged("great game!!! https://b.example", 0.2)
    judged("another matter", 0.3)
    drawn = queue.draw(ann, scheme, count=3)
    assert texts(drawn) == {first.text, "another matter"}
    annotate(first, scheme.categories.get(key="positive"), annotator=ann)
    assert texts(queue.draw(ann, scheme, count=3)) == {"another matter"}


def test_near_duplicates_come_once(scheme: LabelScheme, judged: Maker, ann: User) -> None:
    words = "the whole of this long sentence is the same again but for"
    judged(f"{words} one", 0.1)
    judged(f"RT @someone: {words} one", 0.2)
    judged("the whole of this is another", 0.3)
    assert len(queue.draw(ann, scheme, count=3)) == 2


def test_questions_are_spread_over_what_the_champion_sees(
    scheme: LabelScheme, judged: Maker, ann: User, champion: ModelVersion
) -> None:
    likeness.load(scheme.key, champion)
    source = likeness.embeddings(scheme)
    assert source is not None
    texts = ["the food awful today", "the train awful today", "the song wonderful today"]
    assert likeness.Seen([], source).spread(texts) == [0, 2, 1]
    # What has been asked already counts, too.
    assert likeness.Seen(texts[:1], source).spread(texts)[0] == 2
    assert likeness.Seen([], None).spread(texts) == [0, 1, 2]
    for number, text in enumerate(texts):
        judged(text, number / 10)
    assert {one.post.text for one in queue.draw(ann, scheme, count=2)} == {texts[0], texts[2]}


def test_the_embedder_is_loaded_aside(scheme: LabelScheme, champion: ModelVersion) -> None:
    assert likeness.embeddings(scheme) is None
    wait_until(lambda: scheme.key in likeness._loaded)


def test_what_is_forgotten_while_it_is_loaded_stays_forgotten(
    scheme: LabelScheme, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    load = serving.load

    def slowly(version: ModelVersion) -> SentimentClassifier:
        began.set()
        assert go_on.wait(30)
        return load(version)

    monkeypatch.setattr(serving, "load", slowly)
    others = set(threading.enumerate())
    likeness.embeddings(scheme)
    assert began.wait(30)
    (loading,) = {one for one in threading.enumerate() if one.name == "embeddings"} - others
    likeness.reset()
    go_on.set()
    loading.join(30)
    assert likeness._loaded == {}


def test_memory_can_be_saved(scheme: LabelScheme, champion: ModelVersion, plain: Settings) -> None:
    likeness.load(scheme.key, champion)
    assert likeness.embeddings(scheme) is not None
    plain.LABELLING_EMBEDDINGS = False
    assert likeness.embeddings(scheme) is None


def test_a_scarce_category_is_asked_for_without_naming_it(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User, plain: Settings
) -> None:
    plain.LABELLING_STRATEGY = "minority"
    for key in ("positive", "neutral"):
        for number in range(5):
            annotate(judged(f"{key} {number}"), scheme.categories.get(key=key), annotator=bob)
    judged("unsure", 0.01)
    judged("seldom", 0.6, "negative")
    drawn = queue.draw(ann, scheme, count=1)
    assert texts(drawn) == {"seldom"}
    assert drawn[0].reason == Assignment.Reason.MINORITY
    assert "egative" not in drawn[0].why


def test_while_posts_drift_their_kind_is_asked_for(
    scheme: LabelScheme, version: ModelVersion, judged: Maker, ann: User, plain: Settings
) -> None:
    plain.LABELLING_STRATEGY = "drift"
    version.stage = ModelVersion.Stage.CHAMPION
    version.save()
    judged("as ever, one is unsure", 0.01)
    for number in range(6):
        judged(f"as ever {number}", 0.5)
    new = judged("LOOK AT THIS: A NEW KIND", 0.9)
    assert texts(queue.draw(ann, scheme, count=1)) == {"as ever, one is unsure"}
    report = QualityReport.objects.create(
        scheme=scheme,
        model_version=version,
        window_start=timezone.now(),
        window_end=timezone.now(),
        has_drift=True,
        summary={"telltale": {name: float(name == "upper_share") for name in features.NAMES}},
    )
    (drawn,) = queue.draw(ann, scheme, count=2)[1:]
    assert drawn.post == new
    assert drawn.reason == Assignment.Reason.DRIFT
    # What an earlier champion did not know says nothing of this one.
    Assignment.objects.all().delete()
    report.model_version = None
    report.save()
    assert texts(queue.draw(ann, scheme, count=1)) == {"as ever, one is unsure"}


def test_the_random_share_is_a_fair_draw_that_the_model_has_no_say_in(
    scheme: LabelScheme, judged: Maker, ann: User, plain: Settings
) -> None:
    plain.LABELLING_RANDOM_SHARE = 0.5
    posts = [judged(f"post {number}", number / 100) for number in range(60)]
    sampled = {post.pk for post in posts if queue.Candidate(post.pk, "").is_sampled}
    assert 15 < len(sampled) < 45
    drawn = queue.draw(ann, scheme, count=queue.MOST_HELD)
    for one in drawn:
        is_random = one.reason == Assignment.Reason.RANDOM
        assert one.is_blind == is_random == (one.post_id in sampled)
    # Chance leaves these bounds once in a million times.
    assert 2 < sum(one.is_blind for one in drawn) < queue.MOST_HELD - 2


def test_without_a_model_posts_are_asked_all_the_same(scheme: LabelScheme, ann: User) -> None:
    Post.objects.create(source="x", external_id="1", text="hi", created_at=timezone.now())
    drawn = queue.draw(ann, scheme)
    assert [one.reason for one in drawn] == [Assignment.Reason.UNJUDGED]


def test_deleted_replaced_labelled_and_flagged_posts_are_not_asked(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User, positive: Category
) -> None:
    gone, old, labelled, odd, left = (judged(f"post {letter}") for letter in "abcde")
    Post.objects.filter(pk=gone.pk).update(deleted_at=timezone.now(), text="")
    Post.objects.filter(pk=old.pk).update(is_superseded=True)
    annotate(labelled, positive, annotator=bob)
    flag(odd, scheme, annotator=bob)
    queue.draw(bob, scheme, count=0)
    Assignment.objects.filter(post=odd).update(seat=Assignment.FIRST)
    assert texts(queue.draw(ann, scheme)) == {left.text}


def test_two_people_do_not_get_the_same_post(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User
) -> None:
    for number in range(8):
        judged(f"post {number}")
    first, second = (texts(queue.draw(person, scheme, count=4)) for person in (ann, bob))
    assert len(first) == len(second) == 4 and not first & second


def test_asking_again_brings_back_what_one_holds(
    scheme: LabelScheme, judged: Maker, ann: User
) -> None:
    for number in range(6):
        judged(f"post {number}")
    first = queue.draw(ann, scheme, count=3)
    assert queue.draw(ann, scheme, count=3) == first
    more = queue.draw(ann, scheme, count=3, have=[one.pk for one in first])
    assert len(more) == 3 and not texts(more) & texts(first)


def test_what_one_has_labelled_elsewhere_is_not_asked_again(
    scheme: LabelScheme, judged: Maker, ann: User
) -> None:
    post = judged("the only one")
    queue.draw(ann, scheme)
    annotate_many(scheme, {post.pk: "positive"}, annotator=ann)
    assert queue.draw(ann, scheme) == []


def test_nobody_hoards(scheme: LabelScheme, judged: Maker, ann: User) -> None:
    for number in range(queue.MOST_HELD + 10):
        judged(f"post {number}")
    have: list[int] = []
    for _ in range(6):
        have += [one.pk for one in queue.draw(ann, scheme, count=10, have=have)]
    assert len(have) == queue.MOST_HELD


def test_a_post_that_nobody_answers_for_goes_to_another(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User, positive: Category
) -> None:
    post = judged("the only one")
    queue.draw(ann, scheme)
    assert queue.draw(bob, scheme) == []
    past = timezone.now() - queue.HOLD - timedelta(seconds=1)
    Assignment.objects.update(created_at=past, expires_at=past)
    assert [one.post for one in queue.draw(bob, scheme)] == [post]
    # The late answer counts as well.
    annotate(post, positive, annotator=ann)
    assert Annotation.objects.current().get().annotator == ann


@pytest.mark.django_db(transaction=True)
def test_many_who_ask_at_once_share_the_posts_out(scheme: LabelScheme, judged: Maker) -> None:
    for number in range(40):
        judged(f"post {number}")
    people = [User.objects.create_user(f"person{number}") for number in range(4)]
    turn = iter(people)
    drawn = at_once(lambda: queue.draw(next(turn), scheme, count=10), len(people))
    assert [one for one in drawn if isinstance(one, Exception)] == []
    handed = Counter(one.post_id for part in drawn for one in part)  # type: ignore[attr-defined]
    assert len(handed) == 40 and set(handed.values()) == {1}


def test_who_is_outrun_again_and_again_gets_posts_all_the_same(
    scheme: LabelScheme, judged: Maker, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        judged(f"post {number}")
    quicker = iter([User.objects.create_user(f"person{number}") for number in range(3)])
    pick = queue._pick

    def outrun(annotator: User, scheme: LabelScheme, count: int) -> list[queue.Pick]:
        picks = pick(annotator, scheme, count)
        if (other := next(quicker, None)) is not None:
            queue._hand_out(picks, other, scheme, timezone.now())
        return picks

    monkeypatch.setattr(queue, "_pick", outrun)
    assert len(queue.draw(ann, scheme, count=2)) == 2


def test_the_database_refuses_a_seat_to_two_people(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User
) -> None:
    judged("the only one")
    taken = queue.draw(ann, scheme)[0]
    taken.pk, taken.annotator = None, bob
    with pytest.raises(IntegrityError), transaction.atomic():
        taken.save(force_insert=True)


def test_the_shared_part_goes_to_a_second_person_and_to_no_third(
    scheme: LabelScheme,
    judged: Maker,
    ann: User,
    bob: User,
    positive: Category,
    plain: Settings,
) -> None:
    plain.LABELLING_OVERLAP = 1
    post = judged("the only one")
    queue.draw(ann, scheme)
    assert queue.draw(bob, scheme) == []
    annotate(post, positive, annotator=ann)
    assert queue.draw(ann, scheme) == []
    second = queue.draw(bob, scheme)
    assert [one.reason for one in second] == [Assignment.Reason.SECOND]
    assert "ositive" not in second[0].why
    carol = User.objects.create_user("carol")
    assert queue.draw(carol, scheme) == []
    annotate(post, positive, annotator=bob)
    assert queue.draw(carol, scheme) == []


def test_a_settled_post_is_asked_again_for_comparison(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User, positive: Category, plain: Settings
) -> None:
    plain.LABELLING_GOLD = 1
    annotate(judged("settled"), positive, annotator=bob, origin=Annotation.Origin.REVIEW)
    gold = queue.draw(ann, scheme)
    assert [(one.reason, one.is_blind, one.seat) for one in gold] == [("gold", True, None)]
    assert queue.draw(bob, scheme) == []


def test_an_answer_is_noted_with_its_time(
    scheme: LabelScheme, judged: Maker, ann: User, positive: Category
) -> None:
    post = judged("the only one")
    queue.draw(ann, scheme)
    annotate(post, positive, annotator=ann, seconds=2.5)
    done = Assignment.objects.get()
    assert (done.status, done.seconds) == ("done", 2.5) and done.finished_at is not None
    assert queue.draw(ann, scheme) == []


def test_undoing_brings_the_post_back(
    scheme: LabelScheme, judged: Maker, ann: User, positive: Category
) -> None:
    post = judged("the only one")
    first = queue.draw(ann, scheme)
    annotate(post, positive, annotator=ann)
    assert undo(post, positive, annotator=ann)
    assert not Annotation.objects.current().exists() and Annotation.objects.count() == 1
    assert queue.draw(ann, scheme) == first
    # A request that is sent twice takes nothing more back.
    assert not undo(post, positive, annotator=ann)


def test_undoing_a_changed_mind_brings_the_first_label_back(
    scheme: LabelScheme, judged: Maker, ann: User, positive: Category
) -> None:
    post, negative = judged("the only one"), scheme.categories.get(key="negative")
    annotate(post, positive, annotator=ann)
    annotate(post, negative, annotator=ann)
    between = timezone.now()
    undo(post, negative, annotator=ann)
    undo(post, negative, annotator=ann)
    assert Annotation.objects.current().get().category == positive
    assert Annotation.objects.usable_at(between).get().category == negative
    undo(post, positive, annotator=ann)
    assert not Annotation.objects.current().exists()


def test_a_skipped_post_goes_to_others_only(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User
) -> None:
    post = judged("the only one")
    queue.draw(ann, scheme)
    skip(post, scheme, annotator=ann)
    assert queue.draw(ann, scheme) == []
    assert len(queue.draw(bob, scheme)) == 1


def test_who_comes_back_to_a_skipped_post_sits_beside_the_one_that_has_it_now(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User, positive: Category
) -> None:
    for answer in (
        lambda post: take_up(post, scheme, annotator=ann),
        lambda post: annotate(post, positive, annotator=ann),
        lambda post: flag(post, scheme, annotator=ann),
    ):
        post = judged(f"post {Post.objects.count()}")
        queue.draw(ann, scheme)
        skip(post, scheme, annotator=ann)
        queue.draw(bob, scheme)
        answer(post)
        annotate(post, positive, annotator=bob)
        mine = Assignment.objects.get(post=post, annotator=ann)
        assert mine.seat is None and mine.status != "skipped"


def test_a_flag_stands_until_it_is_settled(
    scheme: LabelScheme, judged: Maker, ann: User, bob: User
) -> None:
    post = judged("the only one")
    queue.draw(ann, scheme)
    flag(post, scheme, annotator=ann)
    assert queue.draw(bob, scheme) == []
    assert unflag(post, scheme) == 1
    assert len(queue.draw(bob, scheme)) == 1


def test_drawing_asks_a_bounded_number_of_questions(
    scheme: LabelScheme,
    judged: Maker,
    ann: User,
    bob: User,
    positive: Category,
    plain: Settings,
    django_assert_max_num_queries: Callable[..., object],
) -> None:
    plain.LABELLING_OVERLAP = plain.LABELLING_GOLD = plain.LABELLING_RANDOM_SHARE = 0.5
    for number in range(40):
        judged(f"post {number}")
    for one in queue.draw(bob, scheme, count=10):
        annotate(one.post, positive, annotator=bob)
    with django_assert_max_num_queries(20):
        assert len(queue.draw(ann, scheme, count=10)) == 10


def test_a_review_settles_what_people_disagree_on() -> None:
    votes = Counter({("human", "positive"): 2, ("import", "neutral"): 5, ("review", "negative"): 1})
    assert _majority(votes) == "negative"
    del votes["review", "negative"]
    assert _majority(votes) == "positive"
