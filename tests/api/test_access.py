"""Who may do what where the API is not open."""

import base64

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django.fixtures import Settings

from modeling.models import ModelVersion

pytestmark = pytest.mark.django_db
JSON = "application/json"
PATHS = ["/model/info", "/data/quality", "/api/v1/posts/", "/api/v1/streams/"]


@pytest.fixture(autouse=True)
def closed(settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ann", password="a-long-password")


def basic(password: str = "a-long-password") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ann:{password}".encode()).decode()}


@pytest.mark.parametrize("path", PATHS)
def test_strangers_are_asked_who_they_are(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Basic")
    assert answer["Content-Type"] == "application/problem+json"


def test_predictions_need_a_name(client: Client, champion: ModelVersion, user: User) -> None:
    body = '{"text": "a"}'
    assert client.post("/predict", body, content_type=JSON).status_code == 401
    wrong = client.post("/predict", body, content_type=JSON, headers=basic("guess"))
    assert wrong.status_code == 401
    assert client.post("/predict", body, content_type=JSON, headers=basic()).status_code == 200


def test_health_is_open(client: Client, champion: ModelVersion) -> None:
    assert client.get("/health").status_code == 200


def test_a_session_needs_the_csrf_token(champion: ModelVersion, user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post("/predict", '{"text": "a"}', content_type=JSON).status_code == 403


def test_writing_needs_the_permission(client: Client, champion: ModelVersion, user: User) -> None:
    path = f"/api/v1/models/{champion.pk}/promote/"
    assert client.post(path, headers=basic()).status_code == 403
    assert client.post("/retrain", "{}", content_type=JSON, headers=basic()).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_modelversion"))
    assert client.post(path, headers=basic()).status_code == 200


def test_the_page_sends_strangers_to_the_sign_in(client: Client) -> None:
    answer = client.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 302 and answer["Location"].startswith("/login/")
    assert client.get("/live/data/").status_code == 401


def test_signing_in_leads_to_the_page(client: Client, champion: ModelVersion, user: User) -> None:
    form = {"username": "ann", "password": "a-long-password", "next": "/"}
    assert client.post("/login/", form)["Location"] == "/"
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 200
