"""Who may do what where the API is not open."""

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from api import tokens
from api.models import ApiToken
from ingestion.models import Post
from ingestion.services.audit import Actor, Through
from modeling.models import Annotation, ModelVersion
from tests.ingestion.factories import stream

pytestmark = pytest.mark.django_db
JSON = "application/json"
PATHS = ["/model/info", "/data/quality", "/api/v1/posts/", "/api/v1/streams/"]


@pytest.fixture(autouse=True)
def closed(settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ann", password="a-long-password")


def bearer(*scopes: str, **options: Any) -> dict[str, str]:
    _, secret = tokens.issue("test", scopes, **{"days": 1, **options})
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("path", PATHS)
def test_strangers_are_asked_who_they_are(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer["Content-Type"] == "application/problem+json"


def test_a_token_may_do_what_its_scopes_say(client: Client, champion: ModelVersion) -> None:
    body = '{"text": "a"}'
    promote = f"/api/v1/models/{champion.pk}/promote/"
    for scope, read, predict, write in [
        ("read", 200, 403, 403),
        ("predict", 403, 200, 403),
        ("annotate", 403, 403, 403),
        ("admin", 200, 200, 200),
    ]:
        headers = bearer(scope)
        assert client.get("/model/info", headers=headers).status_code == read
        assert client.post("/predict", body, JSON, headers=headers).status_code == predict
        assert client.post("/retrain", "{}", JSON, headers=headers).status_code == write
        assert client.post(promote, content_type=JSON, headers=headers).status_code == write


def test_a_token_labels_in_its_user_s_name(client: Client, user: User, scheme: Any) -> None:
    post = Post.objects.create(source="x", external_id="1", text="a", created_at=timezone.now())
    body = {"post": post.pk, "category": "positive"}
    path = "/api/v1/annotations/"
    refused = client.post(path, body, JSON, headers=bearer("read", "predict"))
    assert refused.status_code == 403
    made = client.post(path, body, JSON, headers=bearer("annotate", user=user))
    assert made.status_code == 201
    assert Annotation.objects.get().annotator == user


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer sent_guess", "Bearer \xff"])
def test_a_token_that_is_none_is_refused(client: Client, header: str) -> None:
    answer = client.get("/model/info", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "not valid" in answer.json()["detail"]


def test_a_token_ends_by_date_by_revocation_and_with_its_user(
    client: Client, champion: ModelVersion, user: User
) -> None:
    headers = bearer("read")
    assert client.get("/model/info", headers=headers).status_code == 200
    tokens.revoke([ApiToken.objects.get().pk], by=Actor(Through.ADMIN, user))
    assert client.get("/model/info", headers=headers).status_code == 401
    assert ApiToken.objects.get().revoked_by == user

    headers = bearer("read", days=3)
    with time_machine.travel(timezone.now() + timedelta(days=3, seconds=1)):
        assert client.get("/model/info", headers=headers).status_code == 401

    headers = bearer("read", user=user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get("/model/info", headers=headers).status_code == 401


def test_a_token_is_asked_for_seldom_and_its_use_is_noted(
    client: Client, champion: ModelVersion, django_assert_num_queries: Callable
) -> None:
    headers = bearer("read")
    client.get("/model/info", headers=headers)
    assert ApiToken.objects.get().last_used_at is not None
    # What serves, and its labels: none for the token.
    with django_assert_num_queries(2):
        client.get("/model/info", headers=headers)


def test_only_the_hash_of_a_token_is_kept(db: None) -> None:
    token, secret = tokens.issue("deploy", ["read"], days=0)
    row = ApiToken.objects.values().get()
    assert secret not in map(str, row.values())
    assert secret.startswith(token.prefix) and len(secret) > len(token.prefix) + 30
    assert row["expires_at"] is None
    assert not token.user.has_usable_password()


def test_the_command_shows_a_token_once(client: Client, champion: ModelVersion) -> None:
    out, err = StringIO(), StringIO()
    scopes = ["--scopes", "predict", "read"]
    call_command("create_token", "bot", *scopes, "--days", "7", stdout=out, stderr=err)
    headers = {"Authorization": f"Bearer {out.getvalue().strip()}"}
    assert client.get("/model/info", headers=headers).status_code == 200
    assert "bot: predict read, until" in err.getvalue()
    out = StringIO()
    call_command("create_token", "bot", "--json", stdout=out)
    assert json.loads(out.getvalue())["scopes"] == ["read", "predict"]
    with pytest.raises(CommandError, match="no user"):
        call_command("create_token", "bot", "--user", "nobody")


def test_the_admin_makes_shows_once_and_revokes(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    form = {"name": "phone", "user": admin_user.pk, "scopes": ["read", "annotate"]}
    page = client.post("/admin/api/apitoken/add/", form, follow=True).content.decode()
    token = ApiToken.objects.get()
    assert token.created_by == admin_user and token.scopes == "read annotate"
    assert f"<code>{token.prefix}" in page
    assert client.get(f"/admin/api/apitoken/{token.pk}/change/").status_code == 200
    action = {"action": "revoke_selected", "_selected_action": [token.pk]}
    assert "1 tokens revoked" in client.post("/admin/api/apitoken/", action, follow=True).text
    token.refresh_from_db()
    assert token.revoked_at is not None and token.revoked_by == admin_user


def test_health_is_open_and_tells_readers_more(client: Client, champion: ModelVersion) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/health", headers={"Authorization": "Bearer gone"}).json() == {
        "status": "ok"
    }
    assert "streams" in client.get("/health", headers=bearer("read")).json()


def test_metrics_are_open_to_tokens_that_read(client: Client) -> None:
    far = {"REMOTE_ADDR": "192.0.2.7"}
    assert client.get("/metrics", **far).status_code == 403
    assert client.get("/metrics", headers=bearer("predict"), **far).status_code == 403
    assert client.get("/metrics", headers=bearer("read"), **far).status_code == 200


def test_a_session_needs_the_csrf_token(champion: ModelVersion, user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post("/predict", '{"text": "a"}', content_type=JSON).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://ours.example", "Sec-Fetch-Site": "cross-site"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_change_nothing_where_the_api_is_open(
    settings: Settings, headers: dict[str, str], status: int
) -> None:
    settings.API_REQUIRE_AUTH, settings.CORS_ALLOWED_ORIGINS = False, ["https://ours.example"]
    cats, browser = stream(query="cats", source="file"), Client(enforce_csrf_checks=True)
    # A form without fields: no browser asks beforehand whether it may be sent.
    form = "application/x-www-form-urlencoded"
    answer = browser.post(f"/api/v1/streams/{cats.pk}/pause/", "", form, headers=headers)
    assert answer.status_code == status, answer.content
    cats.refresh_from_db()
    assert cats.is_active == (status == 403)
    assert browser.get(f"/api/v1/streams/{cats.pk}/", headers=headers).status_code == 200


def test_writing_needs_the_permission(client: Client, champion: ModelVersion, user: User) -> None:
    client.force_login(user)
    path = f"/api/v1/models/{champion.pk}/promote/"
    assert client.post(path, content_type=JSON).status_code == 403
    assert client.post("/retrain", "{}", content_type=JSON).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_modelversion"))
    assert client.post(path, content_type=JSON).status_code == 200


def test_the_page_sends_strangers_to_the_sign_in(client: Client) -> None:
    answer = client.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 302 and answer["Location"].startswith("/login/")
    assert client.get("/live/data/").status_code == 401


def test_signing_in_leads_to_the_page(client: Client, champion: ModelVersion, user: User) -> None:
    form = {"username": "ann", "password": "a-long-password", "next": "/"}
    assert client.post("/login/", form)["Location"] == "/"
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 200


@pytest.fixture
def limited(settings: Settings) -> None:
    settings.API_RATE_LIMIT = (2, 60)
    cache.clear()


def test_over_the_limit_a_caller_waits(
    client: Client, champion: ModelVersion, limited: None
) -> None:
    headers, other = bearer("read", days=0), bearer("read", days=0)
    with time_machine.travel(1_800_000_030, tick=False):
        first = client.get("/model/info", headers=headers)
        assert (first["RateLimit-Limit"], first["RateLimit-Remaining"]) == ("2", "1")
        assert first["RateLimit-Reset"] == "30"
        client.get("/model/info", headers=headers)
        over = client.get("/model/info", headers=headers)
        assert over.status_code == 429 and over.json()["title"] == "Too Many Requests"
        assert (over["RateLimit-Remaining"], over["Retry-After"]) == ("0", "30")
        # Others are not hindered, and health is not counted.
        assert client.get("/model/info", headers=other).status_code == 200
        assert "RateLimit-Limit" not in client.get("/health", headers=headers)
    with time_machine.travel(1_800_000_061, tick=False):
        assert client.get("/model/info", headers=headers).status_code == 200


def test_strangers_are_counted_by_address(
    client: Client, champion: ModelVersion, settings: Settings, limited: None
) -> None:
    settings.API_REQUIRE_AUTH = False
    # Within one minute of the clock.
    with time_machine.travel(1_800_000_030, tick=False):
        codes = [
            client.get("/model/info", REMOTE_ADDR=address).status_code
            # One /64 of IPv6 is one customer.
            for address in ("192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.2")
        ]
    assert codes == [200, 200, 200, 429, 200]


def test_a_request_keeps_its_id_through_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": "job-7:step"})
    assert answer["X-Request-ID"] == "job-7:step"
    from api.middleware import RequestIdFilter

    record = logging.makeLogRecord({})
    RequestIdFilter().filter(record)
    assert record.request == " [job-7:step]"  # type: ignore[attr-defined]
    assert client.get("/nowhere", headers={"X-Request-ID": "a b\tc"})["X-Request-ID"] != "a b\tc"
    assert len(client.get("/nowhere")["X-Request-ID"]) == 32


def test_other_origins_may_call_only_where_they_are_named(
    client: Client, settings: Settings
) -> None:
    asked = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in client.options("/predict", headers=asked)
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.org"]
    answer = client.options("/predict", headers=asked)
    assert answer["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert "authorization" in answer["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer
    other = {**asked, "Origin": "https://evil.example.org"}
    assert "Access-Control-Allow-Origin" not in client.options("/predict", headers=other)
