"""Who changed a stream or a token is written down, whichever way they did it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from pytest_django.fixtures import Settings

from api import tokens
from api.models import ApiToken
from ingestion.models import AuditEntry, Stream
from ingestion.services import follow_query
from ingestion.services.audit import AT_A_SHELL, Action, by_command, facts, record

pytestmark = pytest.mark.django_db
JSON = "application/json"
STREAMS = "/api/v1/streams/"


def told() -> list[tuple[str, str, str, str]]:
    """Oldest first: who, where, what, of which thing."""
    fields = ("who", "through", "action", "name")
    return list(AuditEntry.objects.order_by("pk").values_list(*fields))


def newest() -> dict[str, Any]:
    return dict(AuditEntry.objects.latest("pk").changes)


@pytest.fixture
def manager(settings: Settings, db: None) -> User:
    settings.API_REQUIRE_AUTH = True
    user = User.objects.create_user("mia", password="a-long-password")
    user.user_permissions.add(*Permission.objects.filter(content_type__model="stream"))
    return user


def test_the_api_tells_what_a_stream_was_and_became(client: Client, manager: User) -> None:
    client.force_login(manager)
    body = {"name": "cats", "source": "rss", "query": "https://example.org/feed"}
    made = client.post(STREAMS, {**body, "is_active": False}, JSON).json()
    path = f"{STREAMS}{made['id']}/"
    assert client.patch(path, {"monthly_budget": 500}, JSON).status_code == 200
    assert newest() == {"monthly_budget": [0, 500]}
    # What changes nothing is no change.
    assert client.patch(path, {"monthly_budget": 500}, JSON).status_code == 200
    assert client.post(f"{path}resume/", content_type=JSON).status_code == 200
    assert newest() == {"is_active": [False, True]}
    assert client.post(f"{path}resume/", content_type=JSON).status_code == 200
    assert client.delete(path).status_code == 204
    assert newest()["query"] == ["https://example.org/feed", None]
    actions = ["added", "changed", "changed", "deleted"]
    assert told() == [("mia", "api", action, "cats") for action in actions]
    assert set(AuditEntry.objects.values_list("user__username", "object_id")) == {
        ("mia", made["id"])
    }


def test_a_refused_change_leaves_no_entry(client: Client, manager: User) -> None:
    client.force_login(manager)
    assert client.post(STREAMS, {"name": "", "source": "rss"}, JSON).status_code == 400
    assert client.post(f"{STREAMS}?dry_run=1", {"name": "a"}, JSON).status_code in {200, 400}
    client.logout()
    assert client.post(STREAMS, {"name": "b"}, JSON).status_code == 401
    assert told() == []


def test_a_token_is_named_beside_its_user(client: Client, manager: User) -> None:
    token, secret = tokens.issue("deploy", ["admin"], days=1, user=manager)
    headers = {"Authorization": f"Bearer {secret}"}
    body = {"name": "dogs", "source": "file", "query": "", "is_active": False}
    assert client.post(STREAMS, body, JSON, headers=headers).status_code == 201
    assert told()[-1] == (f"token {token}", "api", "added", "dogs")
    assert AuditEntry.objects.latest("pk").user == manager
    assert secret not in str(list(AuditEntry.objects.values()))


def test_an_open_api_says_that_it_does_not_know(client: Client) -> None:
    body = {"name": "birds", "source": "file", "query": "", "is_active": False}
    assert client.post(STREAMS, body, JSON).status_code == 201
    assert told() == [("somebody unknown, as the API is open", "api", "added", "birds")]


def test_the_admin_tells_of_streams_its_actions_too(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    form = {"name": "cats", "source": "file", "query": "", "languages": "[]"}
    form |= {"monthly_budget": "0", "over_budget": "pause"}
    client.post("/admin/ingestion/stream/add/", form)
    stream = Stream.objects.get()
    client.post(f"/admin/ingestion/stream/{stream.pk}/change/", {**form, "name": "dogs"})
    assert newest() == {"name": ["cats", "dogs"]}
    for action in ("resume", "pause", "delete_selected"):
        chosen = {"action": action, "_selected_action": [stream.pk], "post": "yes"}
        client.post("/admin/ingestion/stream/", chosen)
    assert [(who, what) for who, _, what, _ in told()] == [
        ("boss", action) for action in ("added", "changed", "changed", "changed", "deleted")
    ]
    page = client.get("/admin/ingestion/auditentry/").text
    assert "is_active: False → True" in page


def test_tokens_of_the_admin_and_of_the_command(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    form = {"name": "phone", "user": admin_user.pk, "scopes": ["read"]}
    client.post("/admin/api/apitoken/add/", form)
    token = ApiToken.objects.get()
    chosen = {"action": "revoke_selected", "_selected_action": [token.pk]}
    for _ in range(2):
        client.post("/admin/api/apitoken/", chosen)
    assert newest().keys() == {"revoked_at"}
    call_command("create_token", "bot")
    assert [entry[:3] for entry in told()] == [
        ("boss", "admin", "added"),
        ("boss", "admin", "changed"),
        ("manage.py create_token", "command", "added"),
    ]
    digests = ApiToken.objects.values_list("digest", flat=True)
    assert not any(digest in str(list(AuditEntry.objects.values())) for digest in digests)


def test_following_a_query_on_the_command_line(db: None) -> None:
    stream = follow_query("bluesky", "cats", by=by_command("stream"))
    follow_query("bluesky", "cats")
    Stream.objects.update(is_active=False)
    follow_query("bluesky", "cats")
    assert told() == [
        ("manage.py stream", "command", "added", str(stream)),
        ("somebody at a shell", "command", "changed", str(stream)),
    ]


def test_entries_are_only_read_and_outlive_who_made_them(
    client: Client, admin_user: User, manager: User
) -> None:
    client.force_login(manager)
    client.post(STREAMS, {"name": "a", "source": "file", "is_active": False}, JSON)
    manager.delete()
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.user) == ("mia", None)
    client.force_login(admin_user)
    for page in ("add/", f"{entry.pk}/delete/"):
        assert (
            client.post(f"/admin/ingestion/auditentry/{page}", {"post": "yes"}).status_code == 403
        )
    assert client.get(f"/admin/ingestion/auditentry/{entry.pk}/change/").status_code == 200


def test_an_entry_goes_with_the_change_that_did_not_happen(db: None) -> None:
    from django.db import transaction

    stream = Stream.objects.create(name="a", source="file")
    with transaction.atomic():
        record(Action.DELETED, stream, AT_A_SHELL, before=facts(stream))
        transaction.set_rollback(True)
    assert told() == []
