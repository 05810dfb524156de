"""Labelling: one label in force a person, history kept."""

import threading
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Annotation, Category, LabelScheme
from modeling.services.annotate import UnknownCategory, annotate, annotate_many, labelled_rows
from modeling.services.dataset import NotEnoughData, gather, split_name

pytestmark = pytest.mark.django_db


@pytest.fixture
def post(db: None) -> Post:
    return Post.objects.create(source="x", external_id="1", text="hi", created_at=timezone.now())


@pytest.fixture
def category(scheme: LabelScheme) -> Callable[[str], Category]:
    return lambda key: scheme.categories.get(key=key)


def test_a_changed_mind_replaces_and_keeps_the_history(
    post: Post, category: Callable[[str], Category], admin_user: User
) -> None:
    first = annotate(post, category("positive"), annotator=admin_user)
    second = annotate(post, category("negative"), annotator=admin_user)
    first.refresh_from_db()
    assert first.replaced_at is not None
    assert Annotation.objects.current().get() == second


def test_saying_the_same_again_changes_nothing(
    post: Post, category: Callable[[str], Category], admin_user: User
) -> None:
    first = annotate(post, category("positive"), annotator=admin_user)
    assert annotate(post, category("positive"), annotator=admin_user) == first
    assert Annotation.objects.count() == 1


def test_two_people_may_disagree(post: Post, category: Callable[[str], Category]) -> None:
    for name, key in (("ann", "positive"), ("bob", "negative")):
        annotate(post, category(key), annotator=User.objects.create_user(name))
    assert Annotation.objects.current().count() == 2


def test_the_database_refuses_a_second_label_in_force(
    post: Post, category: Callable[[str], Category], admin_user: User
) -> None:
    annotate(post, category("positive"), annotator=admin_user)
    with pytest.raises(IntegrityError), transaction.atomic():
        Annotation.objects.create(
            post=post,
            scheme=category("neutral").scheme,
            category=category("neutral"),
            annotator=admin_user,
        )


def test_people_leave_and_what_they_said_stays(
    post: Post, category: Callable[[str], Category], scheme: LabelScheme, admin_client: Client
) -> None:
    annotate_many(scheme, {post.pk: "neutral"})
    for name, key in (("ann", "positive"), ("bob", "negative")):
        person = User.objects.create_user(name)
        annotate(post, category(key), annotator=person)
        path = reverse("admin:auth_user_delete", args=[person.pk])
        assert admin_client.post(path, {"post": "yes"}).status_code == 302
        assert not User.objects.filter(pk=person.pk).exists()
    in_force = Annotation.objects.current().values_list("category__key", "origin", "annotator")
    left = {("positive", "human", None), ("negative", "human", None)}
    assert set(in_force) == left | {("neutral", "import", None)}
    # The next import takes the place of the last one alone.
    assert annotate_many(scheme, {post.pk: "positive"}) == 1
    assert set(in_force.all()) == left | {("positive", "import", None)}
    annotate(post, category("negative"), origin=Annotation.Origin.IMPORT)
    assert set(in_force.all()) == left | {("negative", "import", None)}


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_leave_one_label(
    post: Post, category: Callable[[str], Category], admin_user: User
) -> None:
    keys = ["positive", "negative", "neutral"]
    categories = [category(key) for key in keys]

    def click(choice: Category) -> None:
        try:
            annotate(post, choice, annotator=admin_user)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click, args=(choice,)) for choice in categories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Annotation.objects.current().count() == 1


def test_many_labels_are_written_in_few_queries(
    scheme: LabelScheme, django_assert_max_num_queries: Callable
) -> None:
    posts = Post.objects.bulk_create(
        Post(source="x", external_id=str(i), text="hi", created_at=timezone.now())
        for i in range(90)
    )
    with django_assert_max_num_queries(12):
        assert annotate_many(scheme, {post.pk: "neutral" for post in posts}) == 90
    assert annotate_many(scheme, {post.pk: "neutral" for post in posts}) == 0


def test_an_unknown_category_writes_nothing(post: Post, scheme: LabelScheme) -> None:
    with pytest.raises(UnknownCategory, match="negative, neutral, positive"):
        annotate_many(scheme, {post.pk: "angry"})
    assert Annotation.objects.count() == 0


def test_rows_for_a_file_leave_deleted_posts_out(post: Post, scheme: LabelScheme) -> None:
    annotate_many(scheme, {post.pk: "neutral"})
    assert [row["label"] for row in labelled_rows(scheme)] == ["neutral"]
    Post.objects.update(deleted_at=timezone.now(), text="")
    assert list(labelled_rows(scheme)) == []


def make_posts(count: int, text: str = "number") -> list[Post]:
    return Post.objects.bulk_create(
        Post(source="x", external_id=f"{text}{i}", text=f"{text} {i}", created_at=timezone.now())
        for i in range(count)
    )


@pytest.fixture
def mood(db: None) -> LabelScheme:
    scheme = LabelScheme.objects.create(key="mood", name="Mood")
    for position, key in enumerate(("bad", "good")):
        scheme.categories.create(key=key, name=key, position=position)
    return scheme


def test_a_text_keeps_its_set_as_data_grows(mood: LabelScheme) -> None:
    posts = make_posts(200)
    annotate_many(mood, {p.pk: ("bad", "good")[i % 2] for i, p in enumerate(posts)})
    before = gather(mood)
    annotate_many(mood, dict.fromkeys((p.pk for p in make_posts(100, "later")), "good"))
    after = gather(mood)
    assert set(before.test.texts) <= set(after.test.texts)
    assert set(before.train.texts) <= set(after.train.texts)
    assert before.digest != after.digest
    assert split_name("00000000") == "test"


def test_ties_are_left_out_and_people_overrule_imports(mood: LabelScheme) -> None:
    posts = make_posts(120)
    annotate_many(mood, {p.pk: ("bad", "good")[i % 2] for i, p in enumerate(posts)})
    ann, bob = User.objects.create_user("ann"), User.objects.create_user("bob")
    human = Annotation.Origin.HUMAN
    annotate_many(mood, {posts[0].pk: "good"}, annotator=ann, origin=human)
    annotate_many(mood, {posts[1].pk: "good"}, annotator=ann, origin=human)
    annotate_many(mood, {posts[1].pk: "bad"}, annotator=bob, origin=human)
    dataset = gather(mood)
    sets = (dataset.train, dataset.validation, dataset.test)
    labels = {t: y for data in sets for t, y in zip(data.texts, data.labels, strict=True)}
    assert labels["number 0"] == dataset.labels.index("good")
    assert "number 1" not in labels


def test_one_sided_labels_are_too_few(mood: LabelScheme) -> None:
    annotate_many(mood, dict.fromkeys((p.pk for p in make_posts(150)), "good"))
    with pytest.raises(NotEnoughData, match=r"bad \(0\)"):
        gather(mood)
