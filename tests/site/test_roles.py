"""Who may do what: every page, every route of the API and the websocket, for every role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django.fixtures import Settings

from dashboard import roles
from modeling.models import LabelScheme, ModelVersion, QualityReport, TrainingRun
from sentiment_site import bootstrap
from tests.dashboard.factories import make_post, make_stream
from tests.verdicts import refusal

STRANGER, NOBODY = "stranger", "nobody"
EVERY_ROLE = [*roles.ROLES, roles.ADMIN]
SIGNED_IN = {NOBODY, *EVERY_ROLE}
EVERYBODY = {STRANGER, *SIGNED_IN}
LABELLERS = {"annotator", "admin"}
MODEL_MANAGERS = {"model manager", "admin"}
SOURCE_MANAGERS = {"source manager", "admin"}

# Names of routes that a stranger may open: what monitors, browsers and a sign-in need.
OPEN = {
    *("health", "login", "logout", "home", "favicon", "schema", "docs", "redoc", None),
    # The sign-in is translated, too.
    *("script-words", "set_language"),
}

# Method, address, who is let in.
PAGES: list[tuple[str, str, set[str]]] = [
    ("GET", "/", SIGNED_IN),
    ("GET", "/live/data/", SIGNED_IN),
    ("GET", "/live/posts/", SIGNED_IN),
    ("GET", "/live/details/", SIGNED_IN),
    ("GET", "/live/compare/", SIGNED_IN),
    ("GET", "/live/bins.csv", SIGNED_IN),
    ("GET", "/live/why/{post}/", SIGNED_IN),
    ("GET", "/models/", SIGNED_IN),
    ("GET", "/models/1/", SIGNED_IN),
    ("GET", "/models/1/promote/", MODEL_MANAGERS),
    ("POST", "/models/1/promote/", MODEL_MANAGERS),
    ("GET", "/models/rollback/", MODEL_MANAGERS),
    ("POST", "/models/rollback/", MODEL_MANAGERS),
    ("GET", "/models/compare/", SIGNED_IN),
    ("POST", "/models/compare/?a=1&b=2", MODEL_MANAGERS),
    ("GET", "/models/runs/", SIGNED_IN),
    ("POST", "/models/runs/retrain/", MODEL_MANAGERS),
    ("GET", "/models/runs/{run}/", SIGNED_IN),
    ("GET", "/models/runs/{run}/data/", SIGNED_IN),
    ("GET", "/models/reports/", SIGNED_IN),
    ("GET", "/models/reports/{report}/", SIGNED_IN),
    ("GET", "/label/", LABELLERS),
    ("POST", "/label/next/?user={user}", LABELLERS),
    ("POST", "/label/save/?user={user}", LABELLERS),
    ("GET", "/label/review/", LABELLERS),
    ("GET", "/label/search/", LABELLERS),
    ("GET", "/login/", EVERYBODY),
]
API: list[tuple[str, str, set[str]]] = [
    *(
        ("GET", f"/api/v1/{name}/", SIGNED_IN)
        for name in (
            *("streams", "connections", "gaps", "dead-letters", "usage", "posts", "predictions"),
            *("annotations", "models", "promotions", "training-runs", "experiments", "reports"),
            "alerts",
        )
    ),
    ("GET", "/api/v1/posts/{post}/", SIGNED_IN),
    ("POST", "/api/v1/annotations/", LABELLERS),
    ("POST", "/api/v1/models/{version}/promote/", MODEL_MANAGERS),
    ("POST", "/api/v1/models/rollback/", MODEL_MANAGERS),
    ("POST", "/api/v1/streams/", SOURCE_MANAGERS),
    ("PATCH", "/api/v1/streams/{stream}/", SOURCE_MANAGERS),
    ("DELETE", "/api/v1/streams/{stream}/", SOURCE_MANAGERS),
    ("POST", "/retrain", MODEL_MANAGERS),
    ("POST", "/predict", SIGNED_IN),
    ("POST", "/predict/batch", SIGNED_IN),
    ("GET", "/model/info", SIGNED_IN),
    ("GET", "/data/quality", SIGNED_IN),
    ("GET", "/health", EVERYBODY),
]
# Lists of the admin, for people who are let into it at all.
ADMIN_LISTS: list[tuple[str, set[str]]] = [
    ("ingestion_stream", {"viewer", "source manager", "admin"}),
    ("ingestion_post", {"viewer", "annotator", "source manager", "admin"}),
    ("ingestion_alert", {"viewer", "model manager", "source manager", "admin"}),
    ("modeling_prediction", {"viewer", "annotator", "model manager", "admin"}),
    ("modeling_annotation", {"annotator", "model manager", "admin"}),
    ("modeling_modelversion", {"viewer", "model manager", "admin"}),
    ("modeling_promotion", {"viewer", "model manager", "admin"}),
    ("modeling_trainingrun", {"viewer", "model manager", "admin"}),
    ("modeling_qualityreport", {"viewer", "model manager", "admin"}),
    ("auth_user", {"admin"}),
    ("api_apitoken", {"admin"}),
]


@pytest.fixture
def closed(settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True


@pytest.fixture
def ids(
    closed: None,
    make_version: Callable[..., ModelVersion],
    champion: ModelVersion,
    scheme: LabelScheme,
) -> dict[str, Any]:
    """Rows for the addresses to name."""
    # Refused by the gate, so that who is let in changes nothing for who comes next.
    make_version(2, gate=refusal(scheme), artifact_digests={})
    run = TrainingRun.objects.create(scheme=scheme, status=TrainingRun.Status.FAILED)
    report = QualityReport.objects.create(
        scheme=scheme, window_start=run.created_at, window_end=run.created_at
    )
    return {
        "version": ModelVersion.objects.get(version=2).pk,
        "run": run.pk,
        "report": report.pk,
        "post": make_post().pk,
        "stream": make_stream().pk,
    }


def as_role(role: str, **fields: Any) -> Client:
    """A browser of somebody who has this role alone."""
    bootstrap.create_roles()
    client = Client()
    if role == STRANGER:
        return client
    user = User.objects.create_user(role.replace(" ", "-"), **fields)
    if role != NOBODY:
        user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    return client


def is_let_in(answer: Any) -> bool:
    if answer.status_code == 302 and answer.headers["Location"].startswith(
        ("/login/", "/admin/login/")
    ):
        return False
    return answer.status_code not in {401, 403}


@pytest.mark.django_db
@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_each_role_opens_and_does_what_is_its_own(role: str, ids: dict[str, Any]) -> None:
    client = as_role(role)
    wrong = []
    rows = [(*row, "text/html") for row in PAGES] + [(*row, "application/json") for row in API]
    for method, template, allowed, accept in rows:
        path = template.format(**ids, user=client.session.get("_auth_user_id"))
        answer = client.generic(
            method, path, b"{}", content_type="application/json", headers={"Accept": accept}
        )
        assert answer.status_code < 500, (method, path, answer.content)
        if is_let_in(answer) is not (role in allowed):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.django_db
@pytest.mark.parametrize("role", EVERY_ROLE)
def test_each_role_sees_its_lists_in_the_admin(role: str, closed: None) -> None:
    client = as_role(role, is_staff=True)
    seen = {
        name
        for name, _ in ADMIN_LISTS
        if is_let_in(client.get(reverse(f"admin:{name}_changelist")))
    }
    assert seen == {name for name, allowed in ADMIN_LISTS if role in allowed}


@pytest.mark.django_db
@pytest.mark.parametrize("role", EVERY_ROLE)
def test_a_role_alone_does_not_open_the_admin(role: str, closed: None) -> None:
    assert not is_let_in(as_role(role).get(reverse("admin:index")))


def routes(patterns: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    """Every route but those of the admin, which has a door of its own."""
    for entry in patterns:
        if isinstance(entry, URLPattern):
            yield entry
        elif entry.namespace != "admin":
            yield from routes(entry.url_patterns)


@pytest.mark.django_db
def test_no_route_is_open_to_strangers_but_those_that_must_be(ids: dict[str, Any]) -> None:
    stranger = Client()
    named = [route for route in routes(get_resolver().url_patterns) if route.name not in OPEN]
    assert len(named) > 40
    let_in = []
    for route in named:
        arguments = dict.fromkeys(route.pattern.converters or route.pattern.regex.groupindex, 1)
        path = reverse(str(route.name), kwargs=arguments)
        for method in ("GET", "POST"):
            answer = stranger.generic(method, path, headers={"Accept": "application/json"})
            if is_let_in(answer) and answer.status_code != 405:
                let_in.append((method, path, answer.status_code))
    # Prometheus may read metrics from the networks that it is given; here from this machine.
    assert [line for line in let_in if not line[1].startswith("/metrics")] == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("role", sorted(EVERYBODY))
async def test_the_websocket_lets_in_whoever_may_watch(
    role: str, live_site: str, champion: ModelVersion, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = True
    client = await sync_to_async(as_role)(role)
    cookie = client.cookies.get("sessionid")
    headers = {} if cookie is None else {"Cookie": f"sessionid={cookie.value}"}
    address = live_site.replace("http", "ws") + "/ws/live/"
    async with websockets.connect(address, origin=live_site, additional_headers=headers) as socket:  # type: ignore[arg-type]
        if role == STRANGER:
            with pytest.raises(websockets.ConnectionClosed) as closing:
                await socket.recv()
            assert closing.value.rcvd is not None and closing.value.rcvd.code == 4401
        else:
            assert '"snapshot"' in str(await socket.recv())


@pytest.mark.django_db
def test_the_migration_makes_the_roles_where_there_are_no_permissions_yet() -> None:
    Group.objects.all().delete()
    Permission.objects.all().delete()
    import_module("dashboard.migrations.0005_roles").create_roles(apps, None)
    assert set(Group.objects.values_list("name", flat=True)) == {*EVERY_ROLE}
    manager = Group.objects.get(name="model manager")
    assert manager.permissions.filter(codename="change_modelversion").exists()
    for role, granted in roles.ROLES.items():
        assert Group.objects.get(name=role).permissions.count() == len(set(granted))


@pytest.mark.django_db
def test_bootstrap_adds_what_a_role_lacks_and_leaves_what_was_added() -> None:
    bootstrap.create_roles()
    viewer = Group.objects.get(name="viewer")
    extra = Permission.objects.get(codename="add_annotation")
    lost = Permission.objects.get(codename="view_post")
    viewer.permissions.add(extra)
    viewer.permissions.remove(lost)
    bootstrap.create_roles()
    assert {extra, lost} <= set(viewer.permissions.all())
    admin = Group.objects.get(name="admin")
    assert admin.permissions.count() == Permission.objects.count()
