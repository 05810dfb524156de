"""The admin's pages of streams, posts and connections."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from ingestion import selectors
from ingestion.admin.posts import BoundedPaginator
from ingestion.events import malformed
from ingestion.models import Connection, DeadLetter, Gap, Post, Stream
from ingestion.services import dead_letters, store
from tests.ingestion.factories import incoming, stream
from tests.x_api import XApi

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(client: Client, admin_user: User) -> Client:
    client.force_login(admin_user)
    return client


def page(name: str) -> str:
    return reverse(f"admin:ingestion_{name}_changelist")


@pytest.mark.parametrize(("name", "queries"), [("post", 14), ("stream", 7), ("connection", 7)])
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


def test_posts_are_found_by_their_author_and_counted_to_a_bound(
    boss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store([incoming(text=f"about cats {n}", author_username="ada") for n in range(3)])
    store([incoming(text="about dogs", author_username="bob")])
    assert "3 posts" in boss.get(page("post"), {"q": "@ada"}).text
    monkeypatch.setattr(BoundedPaginator, "MOST", 2)
    assert "2 posts" in boss.get(page("post")).text


def test_posts_are_filtered_by_the_languages_there_are(boss: Client) -> None:
    for lang in ("pt", "de", "", "de", "en"):
        store([incoming(text=f"in {lang or 'no language'}", lang=lang)])
    answer = boss.get(page("post"), {"lang": "de"})
    by_language = next(f for f in answer.context["cl"].filter_specs if f.title == "lang")
    offered = [c["display"] for c in by_language.choices(answer.context["cl"])]
    assert offered == ["All", "not known", "de", "en", "pt"]
    assert "in de" in answer.text and "in pt" not in answer.text
    assert "in no language" in boss.get(page("post"), {"lang": ""}).text


def test_languages_are_found_by_the_index_alone_and_bounded(
    django_assert_num_queries: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert selectors.languages() == []
    store([incoming(lang=lang) for lang in ("pt", "de", "", "de", "en") for _ in range(20)])
    with django_assert_num_queries(1) as asked:
        assert selectors.languages() == ["", "de", "en", "pt"]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It reads so small a table whole, unless it is asked not to.
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {asked[0]['sql']}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "post_lang_newest" in plan
    assert not re.search(r"(SCAN|Seq Scan on) (ingestion_)?post\b", plan), plan
    monkeypatch.setattr(selectors, "MOST_LANGUAGES", 3)
    assert selectors.languages() == ["", "de", "en"]


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


def test_a_query_that_x_refuses_is_told_beside_it(boss: Client, settings: Settings) -> None:
    with XApi() as x:
        settings.TWITTER_API_BASE_URL, settings.TWITTER_BEARER_TOKEN = x.url, x.token
        answer = boss.post(reverse("admin:ingestion_stream_add"), form(query="-only -negations"))
        assert "non-negation" in answer.content.decode()
        assert not Stream.objects.exists()
        boss.post(reverse("admin:ingestion_stream_add"), form(query="cats"))
        assert Stream.objects.get().query == "cats"
        assert x.rules == {}


def test_without_credentials_a_stream_is_saved_and_told_that_it_was_not_checked(
    boss: Client, settings: Settings
) -> None:
    settings.TWITTER_BEARER_TOKEN = ""
    answer = boss.post(reverse("admin:ingestion_stream_add"), form(query="cats"), follow=True)
    assert "was not checked" in answer.content.decode()
    assert Stream.objects.exists()


def test_a_stream_that_moves_is_let_go_by_the_source_that_it_leaves(
    boss: Client, django_capture_on_commit_callbacks: Callable
) -> None:
    cats = stream(query="cats")
    path = reverse("admin:ingestion_stream_change", args=[cats.pk])
    with django_capture_on_commit_callbacks() as callbacks:
        assert boss.post(path, form(source="bluesky", query="cats")).status_code == 302
    assert {callback.args for callback in callbacks} == {("x",), ("bluesky",)}


def form(**fields: object) -> dict[str, object]:
    values = {"name": "cats", "source": "x", "languages": "[]", "is_active": "on"}
    return {**values, "monthly_budget": 0, "over_budget": "pause", **fields}


def test_a_query_is_tried_on_stored_posts(boss: Client) -> None:
    store([incoming(text="cats"), incoming(text="dogs")])
    cats = stream(name="Felines", query="cats has:images")
    data = {"action": "try_on_stored_posts", "_selected_action": [cats.pk]}
    answer = boss.post(page("stream"), data, follow=True).content.decode()
    assert "Felines: 1 of 2 stored posts match. Not judged here: has:" in answer


def gap(**fields: object) -> Gap:
    now = timezone.now()
    values = {"source": "x", "started_at": now - timedelta(hours=1), "ended_at": now}
    return Gap.objects.create(**{**values, "cause": "network", "state": "left", **fields})


def test_gaps_say_how_complete_they_are_and_are_filled_on_demand(boss: Client) -> None:
    left = gap(recovered=3, expected=4)
    answer = boss.get(page("gap")).content.decode()
    assert "75%" in answer and "60 min" in answer
    boss.post(page("gap"), {"action": "fill", "_selected_action": [left.pk]})
    left.refresh_from_db()
    assert left.state == Gap.State.PENDING


def test_a_dead_letter_shows_its_beginning_and_is_read_again(
    boss: Client, settings: Settings
) -> None:
    settings.TWITTER_BEARER_TOKEN = "a-token"
    dead_letters.keep("x", [malformed("not JSON", b'{"data": \xff<script>')])
    letter = DeadLetter.objects.get()
    shown = boss.get(reverse("admin:ingestion_deadletter_change", args=[letter.pk]))
    assert r"{&quot;data&quot;: \xff&lt;script&gt;" in shown.content.decode()
    boss.post(page("deadletter"), {"action": "replay", "_selected_action": [letter.pk]})
    letter.refresh_from_db()
    assert "still not understood" in letter.outcome


def test_a_viewer_can_neither_fill_nor_replay(client: Client) -> None:
    viewer = User.objects.create_user("ann", is_staff=True)
    names = ["view_gap", "view_deadletter"]
    viewer.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(viewer)
    left = gap()
    client.post(page("gap"), {"action": "fill", "_selected_action": [left.pk]})
    left.refresh_from_db()
    assert left.state == Gap.State.LEFT


@pytest.mark.parametrize("name", ["dailyusage", "monthlyusage", "recentsearch", "watchedfile"])
def test_every_list_opens(boss: Client, name: str) -> None:
    store([incoming(stream_ids=frozenset({stream().pk}))])
    assert boss.get(page(name)).status_code == 200
