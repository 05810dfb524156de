"""Storing posts: once, in bulk, with their streams and edits."""

import threading
from collections.abc import Callable

import pytest
from django.db import connections
from django.utils import timezone

from ingestion.events import IncomingPost
from ingestion.exceptions import BadPost
from ingestion.models import Post
from ingestion.services import forget, store
from ingestion.signals import posts_ingested
from tests.ingestion.factories import incoming, stream

pytestmark = pytest.mark.django_db


def test_a_post_is_stored_with_what_the_source_said() -> None:
    store([incoming(text="hello 🎉", author_username="cat", lang="en", metrics={"like_count": 3})])
    post = Post.objects.get()
    assert (post.text, post.author_username, post.lang) == ("hello 🎉", "cat", "en")
    assert post.metrics == {"like_count": 3}


def test_a_post_delivered_again_is_a_duplicate() -> None:
    post = incoming()
    assert len(store([post, post]).post_ids) == 1
    again = store([post])
    assert (again.post_ids, again.duplicates) == ([], 1)
    assert Post.objects.count() == 1


def test_the_same_id_of_another_source_is_another_post() -> None:
    store([incoming(external_id="7"), incoming(source="file", external_id="7")])
    assert Post.objects.count() == 2


def test_a_known_post_joins_further_streams() -> None:
    one, two = stream(), stream()
    store([incoming(external_id="7", stream_ids=frozenset({one.pk}))])
    store([incoming(external_id="7", stream_ids=frozenset({two.pk}))])
    assert set(Post.objects.get().streams.all()) == {one, two}


def test_a_stream_that_was_deleted_meanwhile_is_left_out() -> None:
    store([incoming(stream_ids=frozenset({12345}))])
    assert Post.objects.get().streams.count() == 0


def test_edits_are_chained_in_whatever_order_they_arrive() -> None:
    store([incoming(external_id="3", edit_history=("1", "2"))])
    store([incoming(external_id="1")])
    store([incoming(external_id="2", edit_history=("1",))])
    newest = Post.objects.newest_edits().get()
    assert newest.external_id == "3"
    assert newest.edited_from is not None and newest.edited_from.external_id == "2"


def test_characters_that_no_database_takes_are_mended() -> None:
    store([incoming(text="a\x00b\ud83dc")])
    assert Post.objects.get().text == "ab\ufffdc"


@pytest.mark.parametrize("fields", [{"text": "  "}, {"external_id": ""}])
def test_a_post_without_text_or_id_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadPost):
        incoming(**fields)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadPost, match="time zone"):
        incoming(created_at=timezone.now().replace(tzinfo=None))


def test_queries_do_not_grow_with_the_batch(django_assert_max_num_queries: Callable) -> None:
    posts: list[IncomingPost] = [incoming() for _ in range(400)]
    # SQLite takes the rows in statements of 76.
    with django_assert_max_num_queries(16):
        store(posts)


@pytest.mark.django_db(transaction=True)
def test_new_posts_are_announced_after_the_commit() -> None:
    told: list[list[int]] = []

    def listen(post_ids: list[int], **kwargs: object) -> None:
        told.append(post_ids)

    posts_ingested.connect(listen)
    try:
        stored = store([incoming(), incoming()])
        store([incoming()], announce=False)
    finally:
        posts_ingested.disconnect(listen)
    assert told == [stored.post_ids]


@pytest.mark.django_db(transaction=True)
def test_two_processes_that_store_the_same_posts_store_each_once() -> None:
    posts = [incoming() for _ in range(200)]
    saved: list[int] = []

    def work() -> None:
        try:
            for start in range(0, 200, 50):
                saved.append(len(store(posts[start : start + 50], announce=False).post_ids))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(saved) == Post.objects.count() == 200


def test_a_deletion_takes_text_and_author_and_stays() -> None:
    store([incoming(external_id="7", text="secret", author_username="me")])
    assert forget("x", ["7"]) == 1
    post = Post.objects.get()
    assert (post.text, post.author_username) == ("", "")
    assert post.deleted_at is not None
    store([incoming(external_id="7", text="secret")])
    assert Post.objects.get().text == ""
    assert forget("x", ["7"]) == 0


def test_a_deletion_takes_the_edits_along() -> None:
    store([incoming(external_id="1"), incoming(external_id="2", edit_history=("1",))])
    assert forget("x", ["1"]) == 2
