"""Which posts are asked about."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling import serving
from modeling.ml import features
from modeling.ml.classifier import SentimentClassifier
from modeling.models import (
    Assignment,
    Category,
    LabelScheme,
    ModelVersion,
    QualityReport,
)
from modeling.services import likeness, queue
from modeling.services.annotate import annotate, flag
from tests.conftest import wait_until
from tests.modeling.queue import Maker, texts

pytestmark = pytest.mark.django_db


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


def test_a_text_that_is_asked_for_again_makes_no_room_for_its_neighbours(
    scheme: LabelScheme, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "KEPT", 3)
    likeness.load(scheme.key, champion)
    source = likeness.embeddings(scheme)
    assert source is not None
    source.of(["the food awful today", "the train awful today", "the song awful today"])
    both = source.of(["the food awful today", "the city awful today"])
    assert both.shape[0] == 2
    assert len(source.known(["the food awful today", "the city awful today"])) == 2
    assert source.known(["the train awful today"]) == []


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
