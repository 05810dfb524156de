"""What ingestion tells of posts that stop counting, and of those that join further streams."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from ingestion.models import Post
from ingestion.services import forget, store
from ingestion.services.posts import forget_author
from ingestion.signals import posts_joined, posts_withdrawn
from tests.ingestion.factories import incoming, stream

pytestmark = pytest.mark.django_db
on_postgresql = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite has one writer at a time"
)


@pytest.fixture
def told() -> Iterator[list[tuple[str, list[str], list[str]]]]:
    """Each withdrawal: its reason, the external ids, and which of them counted until then."""
    heard: list[tuple[str, list[str], list[str]]] = []

    def listen(post_ids: list[int], counted_ids: list[int], reason: str, **kwargs: Any) -> None:
        assert connection.in_atomic_block
        heard.append((reason, _names(post_ids), _names(counted_ids)))

    posts_withdrawn.connect(listen)
    yield heard
    posts_withdrawn.disconnect(listen)


@pytest.fixture
def joined() -> Iterator[list[tuple[int, int]]]:
    heard: list[tuple[int, int]] = []

    def listen(links: list[tuple[int, int]], **kwargs: Any) -> None:
        heard.extend(links)

    posts_joined.connect(listen)
    yield heard
    posts_joined.disconnect(listen)


def _names(post_ids: list[int]) -> list[str]:
    return sorted(Post.objects.filter(pk__in=post_ids).values_list("external_id", flat=True))


def current() -> set[str]:
    return set(Post.objects.current().values_list("external_id", flat=True))


def test_an_edit_withdraws_the_version_before_it(told: list) -> None:
    store([incoming(external_id="1")])
    store([incoming(external_id="2", edit_history=("1",))])
    assert told == [("edited", ["1"], ["1"])]
    assert current() == {"2"}


def test_an_earlier_version_that_comes_late_never_counts(told: list) -> None:
    store([incoming(external_id="3", edit_history=("1", "2"))])
    store([incoming(external_id="1"), incoming(external_id="2", edit_history=("1",))])
    assert told == [("edited", ["1", "2"], ["1", "2"])]
    assert current() == {"3"}


def test_versions_in_one_batch_are_told_at_once(told: list) -> None:
    store([incoming(external_id=str(n), edit_history=("1",) * (n > 1)) for n in (3, 1, 2)])
    assert told == [("edited", ["1", "2"], ["1", "2"])]


def test_a_deletion_of_an_edited_post_takes_one_count(told: list) -> None:
    store([incoming(external_id="1"), incoming(external_id="2", edit_history=("1",))])
    told.clear()
    assert forget("x", ["2"]) == 2
    assert told == [("deleted", ["1", "2"], ["2"])]


def test_a_deletion_is_told_once(told: list) -> None:
    store([incoming(external_id="1")])
    assert (forget("x", ["1"]), forget("x", ["1"])) == (1, 0)
    assert told == [("deleted", ["1"], ["1"])]


def test_an_edit_that_comes_after_the_deletion_does_not_bring_the_post_back(told: list) -> None:
    store([incoming(external_id="1", text="secret")])
    forget("x", ["1"])
    told.clear()
    store([incoming(external_id="2", text="secret too", edit_history=("1",))])
    assert current() == set()
    assert set(Post.objects.values_list("text", flat=True)) == {""}
    # What was deleted counted no more: it is not taken off twice.
    assert told == [("edited", ["1"], []), ("deleted", ["2"], ["2"])]


def test_an_author_s_posts_go_in_parts_that_can_be_repeated(
    told: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.services.posts.CHUNK", 2)
    store([incoming(external_id=str(n), author_id="7") for n in range(5)])
    assert (forget_author("x", "7"), forget_author("x", "7")) == (5, 0)
    assert [len(ids) for _, ids, _ in told] == [2, 2, 1]


def test_a_known_post_s_new_streams_are_told_once(joined: list) -> None:
    one, two = stream(), stream()
    store([incoming(external_id="7", stream_ids=frozenset({one.pk}))])
    assert joined == []
    both = incoming(external_id="7", stream_ids=frozenset({one.pk, two.pk}))
    store([both])
    store([both])
    assert joined == [(Post.objects.get().pk, two.pk)]


def test_queries_do_not_grow_with_edits_and_links(django_assert_max_num_queries: Callable) -> None:
    one, two = stream(), stream()
    store([incoming(external_id=str(n), stream_ids=frozenset({one.pk})) for n in range(100)])
    posts = [incoming(external_id=str(n), stream_ids=frozenset({two.pk})) for n in range(50)]
    posts += [incoming(external_id=f"9{n}", edit_history=(str(n),)) for n in range(50, 100)]
    with django_assert_max_num_queries(24):
        store(posts)
    assert Post.objects.current().count() == 100


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_versions_stored_at_the_same_time_count_once() -> None:
    written, go_on = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic():
                store([incoming(external_id="1")])
                written.set()
                go_on.wait(10)
        finally:
            connections.close_all()

    def edit() -> None:
        try:
            store([incoming(external_id="2", edit_history=("1",))])
        finally:
            connections.close_all()

    first, second = threading.Thread(target=work), threading.Thread(target=edit)
    first.start()
    assert written.wait(10)
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it saw neither version of the other"
    go_on.set()
    first.join(10)
    second.join(10)
    assert current() == {"2"}
