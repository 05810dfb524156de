"""Who is asked about a post, and what comes of the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import (
    Annotation,
    Assignment,
    Category,
    LabelScheme,
)
from modeling.services import queue
from modeling.services.annotate import (
    annotate,
    annotate_many,
    flag,
    majority,
    skip,
    take_up,
    undo,
    undo_many,
    unflag,
)
from tests.modeling.queue import Maker, texts
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db


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


def test_undoing_a_review_twice_leaves_what_its_person_had_said_before(
    scheme: LabelScheme, judged: Maker, ann: User, positive: Category
) -> None:
    post, review = judged("the only one"), Annotation.Origin.REVIEW
    annotate(post, positive, annotator=ann)
    annotate(post, positive, annotator=ann, origin=review)
    # What is meant is not in force: it was replaced by the review.
    assert not undo(post, positive, annotator=ann)
    assert undo(post, positive, annotator=ann, origin=review)
    assert not undo(post, positive, annotator=ann, origin=review)
    left = Annotation.objects.current().get()
    assert (left.category, left.origin) == (positive, Annotation.Origin.HUMAN)
    assert undo(post, positive, annotator=ann)
    assert not Annotation.objects.current().exists()


def test_undoing_many_leaves_a_review_that_came_since(
    scheme: LabelScheme, judged: Maker, ann: User, positive: Category
) -> None:
    plain, settled = judged("one"), judged("two")
    both = {post.pk: "positive" for post in (plain, settled)}
    annotate_many(scheme, both, annotator=ann, origin=Annotation.Origin.HUMAN)
    annotate(settled, positive, annotator=ann, origin=Annotation.Origin.REVIEW)
    assert undo_many(positive, both, annotator=ann) == 1
    assert Annotation.objects.current().get().post == settled


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
    assert majority(votes) == "negative"
    del votes["review", "negative"]
    assert majority(votes) == "positive"
