"""The admin's pages of streams, posts and connections."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ingestion.models import Connection, Post, Stream
from ingestion.services import store
from tests.ingestion.factories import incoming, stream

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def page(name: str) -> str:
    return reverse(f"admin:ingestion_{name}_changelist")


@pytest.mark.parametrize(("name", "queries"), [("post", 12), ("stream", 7), ("connection", 7)])
def test_a_list_takes_as_many_queries_as_one_row(
    boss: Client, django_assert_max_num_queries: Callable, name: str, queries: int
) -> None:
    streams = [stream() for _ in range(5)]
    store([incoming(stream_ids=frozenset({s.pk for s in streams})) for _ in range(30)])
    Connection.objects.create(source="x")
    with django_assert_max_num_queries(queries):
        assert boss.get(page(name)).status_code == 200


def test_posts_are_found_by_their_text(boss: Client) -> None:
    store([incoming(text="about cats"), incoming(text="about dogs")])
    answer = boss.get(page("post"), {"q": "cats"}).content.decode()
    assert "about cats" in answer
    assert "about dogs" not in answer


def test_what_the_program_writes_cannot_be_edited(boss: Client) -> None:
    pk = store([incoming()]).post_ids[0]
    boss.post(reverse("admin:ingestion_post_change", args=[pk]), {"text": "forged"})
    assert Post.objects.get().text == "a post"


def test_streams_are_paused_and_resumed(boss: Client) -> None:
    cats = stream(query="cats")
    for action, is_active in (("pause", False), ("resume", True)):
        boss.post(page("stream"), {"action": action, "_selected_action": [cats.pk]})
        cats.refresh_from_db()
        assert cats.is_active is is_active


def test_resuming_a_query_that_is_followed_already_is_refused(boss: Client) -> None:
    stream(query="cats")
    paused = stream(query="cats", is_active=False)
    data = {"action": "resume", "_selected_action": [paused.pk]}
    answer = boss.post(page("stream"), data, follow=True)
    assert "the same query" in answer.content.decode()
    assert not Stream.objects.get(pk=paused.pk).is_active


def test_what_a_source_said_is_shown_on_the_stream(boss: Client) -> None:
    stream(query="cats", last_error="X refused the rule: no")
    assert "X refused the rule: no" in boss.get(page("stream")).content.decode()
