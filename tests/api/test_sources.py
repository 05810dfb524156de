"""Streams and what is known of their sources, over the API."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.signals import pre_save
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.fixtures import DjangoAssertNumQueries

from ingestion.events import malformed
from ingestion.models import Connection, DeadLetter, Gap, MonthlyUsage, Post, Stream
from ingestion.services import dead_letters, store
from modeling.models import ModelVersion
from tests.ingestion.factories import incoming, stream
from tests.x_api import XApi

pytestmark = pytest.mark.django_db
STREAMS = "/api/v1/streams/"


@pytest.fixture
def x(settings: Settings) -> Iterator[XApi]:
    with XApi() as api:
        settings.TWITTER_API_BASE_URL = api.url
        settings.TWITTER_BEARER_TOKEN = api.token
        yield api


def post(client: Client, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(path, json.dumps(body), "application/json")
    return answer.status_code, answer.json()


def test_a_stream_is_made_and_shows_what_it_brings(client: Client) -> None:
    status, made = post(client, STREAMS, name="cats", query="cats lang:en", monthly_budget=1000)
    assert status == 201
    store([incoming(stream_ids=frozenset({made["id"]})) for _ in range(3)])
    shown = client.get(f"{STREAMS}{made['id']}/").json()
    assert (shown["posts_today"], shown["posts_month"], shown["posts_total"]) == (3, 3, 3)
    assert shown["cost_month_usd"] == pytest.approx(0.015)
    assert shown["last_post_at"] is not None
    assert (shown["monthly_budget"], shown["over_budget"], shown["held_at"]) == (
        1000,
        "pause",
        None,
    )


@pytest.mark.parametrize("count", [2, 20])
def test_counters_cost_as_many_queries_for_many_streams(
    client: Client, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(count):
        stream()
    with django_assert_num_queries(6):
        assert len(client.get(STREAMS).json()["results"]) == count


def test_a_stream_answers_with_its_counters_at_once(client: Client) -> None:
    _, made = post(client, STREAMS, name="cats", query="cats")
    assert (made["posts_today"], made["posts_total"], made["last_post_at"]) == (0, 0, None)


def test_a_stream_is_no_rival_of_its_own_query(client: Client, x: XApi) -> None:
    cats = stream(query="cats")
    body = json.dumps({"name": "Cats!", "monthly_budget": 500})
    answer = client.patch(f"{STREAMS}{cats.pk}/", body, "application/json")
    assert answer.status_code == 200, answer.content
    cats.refresh_from_db()
    assert (cats.name, cats.monthly_budget) == ("Cats!", 500)
    stream(query="dogs")
    body = json.dumps({"query": "dogs"})
    answer = client.patch(f"{STREAMS}{cats.pk}/", body, "application/json")
    assert answer.status_code == 400


def test_a_new_name_undoes_no_pause_and_no_hold_that_came_meanwhile(
    client: Client, admin_user: User, x: XApi
) -> None:
    cats = stream(query="cats")
    held = {"is_active": False, "held_at": timezone.now(), "rule_id": "123"}

    def meanwhile(**kwargs: Any) -> None:
        Stream.objects.filter(pk=cats.pk).update(**held)

    def stored() -> dict[str, Any]:
        return Stream.objects.values("name", *held).get(pk=cats.pk)

    pre_save.connect(meanwhile, sender=Stream)
    try:
        body = json.dumps({"name": "Cats!"})
        answer = client.patch(f"{STREAMS}{cats.pk}/", body, "application/json")
        assert answer.status_code == 200 and not answer.json()["is_active"]
        assert stored() == {"name": "Cats!", **held}
        Stream.objects.filter(pk=cats.pk).update(is_active=True, held_at=None, rule_id="")
        client.force_login(admin_user)
        form = {"name": "Cats?", "source": cats.source, "query": "cats", "languages": "[]"}
        form |= {"is_active": "on", "monthly_budget": "0", "over_budget": "pause"}
        answer = client.post(f"/admin/ingestion/stream/{cats.pk}/change/", form)
        assert answer.status_code == 302
        assert stored() == {"name": "Cats?", **held}
    finally:
        pre_save.disconnect(meanwhile, sender=Stream)


def test_what_x_would_refuse_is_not_saved(client: Client, x: XApi) -> None:
    status, problem = post(client, STREAMS, name="bad", query="-only -negations")
    assert status == 400
    assert "non-negation" in json.dumps(problem)
    assert not Stream.objects.exists()
    assert x.rules == {}


def test_a_dry_run_saves_nothing(client: Client, x: XApi) -> None:
    path = f"{STREAMS}?dry_run=true"
    status, said = post(client, path, name="cats", query="cats")
    assert (status, said["valid"]) == (200, True)
    status, said = post(client, path, name="bad", query="-only")
    assert (status, said["valid"]) == (200, False)
    assert "non-negation" in said["reason"]
    assert not Stream.objects.exists()


def test_without_credentials_it_is_saved_and_a_dry_run_says_what_is_missing(
    client: Client, settings: Settings
) -> None:
    settings.TWITTER_BEARER_TOKEN = ""
    _, said = post(client, f"{STREAMS}?dry_run=true", name="cats", query="cats")
    assert said["valid"] and "TWITTER_BEARER_TOKEN" in said["note"]
    status, made = post(client, STREAMS, name="cats", query="cats")
    assert status == 201 and "TWITTER_BEARER_TOKEN" in made["note"]


def test_a_query_of_our_own_language_is_judged_too(client: Client) -> None:
    status, problem = post(client, STREAMS, name="bad", source="bluesky", query="(cats")
    assert status == 400 and "query" in json.dumps(problem)


def test_a_stream_is_paused_resumed_and_deleted(client: Client) -> None:
    cats = stream(query="cats")
    assert post(client, f"{STREAMS}{cats.pk}/pause/")[1]["is_active"] is False
    assert post(client, f"{STREAMS}{cats.pk}/resume/")[1]["is_active"] is True
    kept = incoming(stream_ids=frozenset({cats.pk}))
    store([kept])
    assert client.delete(f"{STREAMS}{cats.pk}/").status_code == 204
    # What it brought stays.
    assert Post.objects.filter(external_id=kept.external_id).exists()


def test_two_active_streams_of_one_query_are_refused(client: Client) -> None:
    stream(query="cats")
    other = stream(query="cats", is_active=False)
    status, problem = post(client, f"{STREAMS}{other.pk}/resume/")
    assert status == 400 and "same query" in json.dumps(problem)


def test_a_query_is_tried_before_anybody_pays(client: Client) -> None:
    store([incoming(text="cats"), incoming(text="dogs", lang="en")])
    status, found = post(client, f"{STREAMS}try/", query="cats OR dogs", languages=["en"])
    assert status == 200
    assert (found["tried"], found["matched"], found["examples"]) == (2, 1, ["dogs"])
    assert post(client, f"{STREAMS}try/", query='"cats')[0] == 400
    assert post(client, f"{STREAMS}try/", querry="cats")[0] == 400
    assert post(client, f"{STREAMS}try/", query="cats", source="radio")[0] == 400
    assert post(client, f"{STREAMS}try/", query="cats", limit=0)[1]["examples"] == []


def test_who_may_look_may_try(client: Client, settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True
    assert post(client, f"{STREAMS}try/", query="cats")[0] == 401
    client.force_login(User.objects.create_user("ann"))
    assert post(client, f"{STREAMS}try/", query="cats")[0] == 200


def test_a_stream_that_moves_is_let_go_by_the_source_that_it_leaves(
    client: Client, django_capture_on_commit_callbacks: Callable
) -> None:
    cats = stream(query="cats")
    with django_capture_on_commit_callbacks() as callbacks:
        body = json.dumps({"source": "bluesky"})
        client.patch(f"{STREAMS}{cats.pk}/", body, "application/json")
    assert {callback.args for callback in callbacks} == {("x",), ("bluesky",)}


def gap(**fields: Any) -> Gap:
    now = timezone.now()
    values = {"source": "x", "started_at": now - timedelta(hours=1), "ended_at": now}
    return Gap.objects.create(**{**values, "cause": "network", "state": "left", **fields})


def test_gaps_are_listed_and_filled_on_demand(client: Client) -> None:
    left = gap(recovered=5, expected=10)
    gap(source="bluesky", state="filled")
    (shown,) = client.get("/api/v1/gaps/", {"source": "x"}).json()["results"]
    assert (shown["state"], shown["completeness"]) == ("left", 0.5)
    status, asked = post(client, f"/api/v1/gaps/{left.pk}/fill/")
    assert (status, asked["state"]) == (202, "pending")
    filled = gap(state="filled")
    assert post(client, f"/api/v1/gaps/{filled.pk}/fill/")[0] == 400


def test_gaps_of_a_time_are_those_that_touch_it(client: Client) -> None:
    now = timezone.now()
    reaching = gap(started_at=now - timedelta(hours=5), ended_at=now - timedelta(hours=2))
    gap(started_at=now - timedelta(hours=9), ended_at=now - timedelta(hours=8))
    gap()
    span = {
        "since": (now - timedelta(hours=3)).isoformat(),
        "until": (now - timedelta(hours=1, minutes=30)).isoformat(),
    }
    found = client.get("/api/v1/gaps/", span).json()["results"]
    assert [row["id"] for row in found] == [reaching.pk]


def test_dead_letters_are_read_and_replayed(client: Client, x: XApi) -> None:
    dead_letters.keep("x", [malformed("not JSON", b'{"data": \xff')])
    letter = DeadLetter.objects.get()
    (shown,) = client.get("/api/v1/dead-letters/").json()["results"]
    assert (shown["reason"], shown["excerpt"]) == ("not JSON", '{"data": \ufffd')
    status, replayed = post(client, f"/api/v1/dead-letters/{letter.pk}/replay/")
    assert status == 200 and "still not understood" in replayed["outcome"]


def test_connections_and_usage_are_listed(client: Client) -> None:
    Connection.objects.create(source="x", status="connected")
    store([incoming()])
    assert client.get("/api/v1/connections/").json()["results"][0]["status"] == "connected"
    (used,) = client.get("/api/v1/usage/").json()["results"]
    assert (used["posts_read"], used["cost_usd"], used["stream"]) == (1, 0.005, None)


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        (STREAMS, "change_stream"),
        (f"{STREAMS}1/pause/", "change_stream"),
        ("/api/v1/gaps/1/fill/", "change_gap"),
        ("/api/v1/dead-letters/1/replay/", "change_deadletter"),
    ],
)
def test_writing_takes_the_permission(
    client: Client, settings: Settings, path: str, permission: str
) -> None:
    settings.API_REQUIRE_AUTH = True
    assert post(client, path)[0] == 401
    user = User.objects.create_user("ann")
    client.force_login(user)
    assert post(client, path)[0] == 403
    user.user_permissions.add(Permission.objects.get(codename=permission))
    assert post(client, path)[0] in {400, 404}


def test_health_tells_of_each_source_and_what_is_wrong(client: Client) -> None:
    now = timezone.now()
    Connection.objects.create(
        source="x",
        status="connected",
        lease_owner="gone",
        lease_expires_at=now - timedelta(minutes=1),
        spilled_bytes=100,
    )
    (told,) = client.get("/health").json()["streams"]
    assert told["status"] == "lost"
    assert "process is gone" in told["reason"]
    assert told["spilled_bytes"] == 100


def test_a_source_that_nobody_streams_yet_is_told(client: Client) -> None:
    stream()
    stream(source="file", query="", name="imported once")
    (told,) = client.get("/health").json()["streams"]
    assert (told["source"], told["status"]) == ("x", "disconnected")
    assert told["words"] == "not streamed yet"


@pytest.mark.parametrize(
    ("fields", "read", "status"),
    [
        ({}, 99, "ok"),
        ({"spilled_bytes": 1}, 0, "degraded"),
        ({}, 100, "degraded"),
        ({"status": "failed"}, 0, "degraded"),
    ],
)
def test_health_is_degraded_when_somebody_must_look(
    client: Client, champion: ModelVersion, fields: dict[str, Any], read: int, status: str
) -> None:
    now = timezone.now()
    lease = {"lease_owner": "me", "lease_expires_at": now + timedelta(minutes=1)}
    Connection.objects.create(**{"source": "x", "status": "connected", **lease, **fields})
    MonthlyUsage.objects.create(
        source="x", month=now.date().replace(day=1), posts_read=read, budget=100
    )
    assert client.get("/health").json()["status"] == status
