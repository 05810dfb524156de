"""What remains in modeling of a post that its author takes back, or edits."""

import threading
from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from ingestion.services import forget, store
from modeling import selectors
from modeling.models import (
    Annotation,
    Assignment,
    LabelScheme,
    ModelVersion,
    Prediction,
    TrainingPost,
)
from modeling.services import annotate, classify, dataset, provenance, quality, retrain, train
from tests.ingestion.factories import incoming
from tests.modeling.threads import at_once

pytestmark = pytest.mark.django_db


def test_what_a_deleted_post_was_labelled_is_learned_no_more(labelled: LabelScheme) -> None:
    before = dataset.gather(labelled)
    gone = Post.objects.get(external_id="l0")
    forget("file", ["l0"])
    after = dataset.gather(labelled)
    assert gone.pk in before.posts and gone.pk not in after.posts
    texts = [*after.train.texts, *after.validation.texts, *after.test.texts]
    assert gone.text not in texts and "" not in texts
    assert before.digest != after.digest
    assert gone.pk not in {row["id"] for row in annotate.labelled_rows(labelled)}


def test_what_was_noted_of_a_deleted_post_goes_with_it(own_scheme: LabelScheme) -> None:
    ann = User.objects.create_user("ann")
    store([incoming(external_id="1"), incoming(external_id="2")])
    gone, stays = Post.objects.order_by("pk")
    for post in (gone, stays):
        annotate.flag(post, own_scheme, annotator=ann, note="quotes its text")
    forget("x", ["1"])
    notes = dict(Assignment.objects.values_list("post_id", "note"))
    assert notes == {gone.pk: "", stays.pk: "quotes its text"}
    annotate.flag(gone, own_scheme, annotator=ann, note="written while it went")
    assert Assignment.objects.get(post=gone).note == ""


def test_the_label_of_an_earlier_version_stays_with_its_text(own_scheme: LabelScheme) -> None:
    (first,) = store([incoming(external_id="1", text="the game awful")]).post_ids
    annotate.annotate_many(own_scheme, {first: "negative"})
    store([incoming(external_id="2", text="the game great", edit_history=("1",))])
    rows = [(row["text"], row["label"]) for row in annotate.labelled_rows(own_scheme)]
    assert rows == [("the game awful", "negative")]
    assert Annotation.objects.usable().count() == 1
    forget("x", ["2"])
    assert Annotation.objects.usable().count() == 0


def test_labels_of_deleted_posts_ask_for_no_training(labelled: LabelScheme) -> None:
    assert retrain.evaluate_triggers(labelled)["labels"]["value"] == 180
    forget("file", [f"l{n}" for n in range(5)])
    assert retrain.evaluate_triggers(labelled)["labels"]["value"] == 175


@pytest.mark.django_db(transaction=True)
def test_a_training_writes_down_the_posts_that_it_saw(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    tiny_settings.NUM_EPOCHS = 1
    run = train.execute(train.request_training(labelled).pk)
    assert run.version is not None
    rows = TrainingPost.objects.filter(version=run.version)
    gathered = dataset.gather(labelled)
    assert dict(rows.values_list("post_id", "split")) == gathered.posts
    assert set(gathered.posts.values()) == {"train", "validation", "test"}
    assert run.version.forgotten_posts == 0
    forget("file", ["l1", "l2", "unknown"])
    forget("file", ["l1"])
    run.version.refresh_from_db()
    assert run.version.forgotten_posts == 2


def test_each_version_counts_its_own_posts(make_version: Callable[..., ModelVersion]) -> None:
    one, two, three = store([incoming(external_id=str(n)) for n in (1, 2, 3)]).post_ids
    first, second = make_version(1), make_version(2)
    provenance.record(first, {one: "train", two: "test"})
    provenance.record(second, {two: "train", three: "train"})
    forget("x", ["1", "2"])
    assert list(ModelVersion.objects.order_by("version").values_list("forgotten_posts")) == [
        (2,),
        (1,),
    ]


def test_an_edit_is_no_deletion_to_a_version(make_version: Callable[..., ModelVersion]) -> None:
    (one,) = store([incoming(external_id="1")]).post_ids
    version = make_version()
    provenance.record(version, {one: "train"})
    store([incoming(external_id="2", edit_history=("1",))])
    version.refresh_from_db()
    assert version.forgotten_posts == 0


def test_posts_deleted_while_a_training_ran_are_counted(
    make_version: Callable[..., ModelVersion],
) -> None:
    one, two = store([incoming(external_id="1"), incoming(external_id="2")]).post_ids
    forget("x", ["1"])
    version = make_version()
    provenance.record(version, {one: "train", two: "train", 10**9: "train"})
    assert version.forgotten_posts == 1
    assert version.training_posts.count() == 2


def test_the_same_text_from_several_posts_names_them_all(own_scheme: LabelScheme) -> None:
    posts = Post.objects.bulk_create(
        Post(source="file", external_id=f"p{n}", text=text, created_at=timezone.now())
        for n, text in enumerate(["so good", "So  good", "split", "split"])
    )
    labels = ["positive", "positive", "positive", "negative"]
    annotate.annotate_many(own_scheme, {p.pk: k for p, k in zip(posts, labels, strict=True)})
    entries = dataset._annotated(own_scheme, None).values()
    assert [entry.posts for entry in entries if entry.label] == [{posts[0].pk, posts[1].pk}]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_deletion_during_registration_is_counted_once(
    make_version: Callable[..., ModelVersion],
) -> None:
    (one,) = store([incoming(external_id="1")]).post_ids
    version = make_version()
    erased, go_on = threading.Event(), threading.Event()

    def delete() -> None:
        try:
            with transaction.atomic():
                forget("x", ["1"])
                erased.set()
                go_on.wait(10)
        finally:
            connections.close_all()

    def register() -> None:
        try:
            provenance.record(version, {one: "train"})
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for work in (delete, register)]
    threads[0].start()
    assert erased.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    go_on.set()
    for thread in threads:
        thread.join(10)
    version.refresh_from_db()
    assert version.forgotten_posts == 1


@pytest.mark.django_db(transaction=True)
def test_of_a_race_to_classify_and_to_delete_no_judgement_of_nothing_is_left(
    champion: ModelVersion,
) -> None:
    for number in range(5):
        (post,) = store([incoming(external_id=str(number))], announce=False).post_ids
        work = iter([partial(classify.classify_posts, [post]), partial(forget, "x", [str(number)])])
        at_once(lambda work=work: next(work)(), 2)
    assert Post.objects.visible().count() == 0
    assert classify.classify_pending() == 0


def test_a_replaced_version_leaves_the_quality_report(champion: ModelVersion) -> None:
    store([incoming(external_id="1", text="the game awful today")])
    classify.classify_pending()
    store([incoming(external_id="2", text="the game great today", edit_history=("1",))])
    classify.classify_pending()
    report = quality.build_report(champion.scheme)
    assert report.summary["categories"] == {"positive": 1}
    assert Prediction.objects.serving().count() == 2
    assert Prediction.objects.of_current_posts().get().category.key == "positive"


def test_versions_are_found_from_each_of_them() -> None:
    store([incoming(external_id="9"), incoming(external_id="10", edit_history=("9",))])
    store([incoming(external_id="other", edit_history=("9x",))])
    for post in Post.objects.filter(external_id__in=["9", "10"]):
        assert [version.external_id for version in selectors.versions_of(post)] == ["9", "10"]


def test_the_admin_shows_a_post_s_versions(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    first, second = store(
        [incoming(external_id="1"), incoming(external_id="2", edit_history=("1",))]
    ).post_ids
    page = client.get(f"/admin/ingestion/post/{first}/change/").content.decode()
    assert "replaced by a later edit; this page" in page
    assert f'href="/admin/ingestion/post/{second}/change/">2</a>' in page


def test_the_api_shows_the_newest_version_and_leads_to_the_others(
    client: Client, champion: ModelVersion
) -> None:
    first, second = store(
        [incoming(external_id="1"), incoming(external_id="2", edit_history=("1",))]
    ).post_ids
    listed = client.get("/api/v1/posts/").json()["results"]
    assert [(p["id"], p["edited_from"], p["original_id"]) for p in listed] == [(second, first, "1")]
    everything = client.get("/api/v1/posts/?versions=all").json()["results"]
    assert [(p["id"], p["is_superseded"]) for p in everything] == [(second, False), (first, True)]
    assert client.get(f"/api/v1/posts/{first}/").json()["is_superseded"] is True
    assert client.get("/api/v1/posts/?versions=none").status_code == 400
    version = client.get(f"/api/v1/models/{champion.pk}/").json()
    assert version["forgotten_posts"] == 0
