"""Who sees what at `/`: people a page, programs JSON, strangers a sign-in where it is closed."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from tests.dashboard.factories import judged, make_stream

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CURL = {"Accept": "*/*"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True


def test_a_browser_gets_the_page(client: Client) -> None:
    answer = client.get("/", headers=BROWSER)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Sentiment over time" in answer.content.decode()


@pytest.mark.parametrize("headers", [CURL, {"Accept": "application/json"}, {}])
def test_a_program_gets_json(client: Client, headers: dict[str, str]) -> None:
    answer = client.get("/", headers=headers)
    assert answer.headers["Content-Type"] == "application/json"
    assert "POST /predict" in str(answer.json())


def test_caches_keep_the_two_apart(client: Client) -> None:
    for headers in (BROWSER, CURL):
        assert "Accept" in client.get("/", headers=headers).headers["Vary"]


def test_the_page_is_only_read(client: Client) -> None:
    assert client.head("/", headers=BROWSER).status_code == 200
    assert client.post("/", headers=BROWSER).status_code == 405


def test_the_page_brings_the_token_that_its_try_box_sends(client: Client) -> None:
    assert "csrftoken" in client.get("/", headers=BROWSER).cookies


@pytest.mark.usefixtures("closed")
def test_a_stranger_is_sent_to_sign_in_and_back_to_the_same_view(client: Client) -> None:
    answer = client.get("/?range=6h", headers=BROWSER)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/login/?next=/%3Frange%3D6h"


@pytest.mark.usefixtures("closed")
def test_a_stranger_gets_no_numbers(client: Client) -> None:
    judged("a secret")
    answer = client.get("/live/data/")
    assert answer.status_code == 401
    assert b"secret" not in answer.content


@pytest.mark.usefixtures("closed")
def test_signing_in_leads_to_the_page(client: Client) -> None:
    User.objects.create_user("ada", password="a-long-password")
    form = {"username": "ada", "password": "a-long-password", "next": "/?range=6h"}
    answer = client.post("/login/", form)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/?range=6h")
    assert client.get("/?range=6h", headers=BROWSER).status_code == 200
    assert client.get("/live/data/").status_code == 200


@pytest.mark.usefixtures("closed")
def test_a_wrong_password_is_told_without_saying_which_part(client: Client) -> None:
    User.objects.create_user("ada", password="a-long-password")
    page = client.post("/login/", {"username": "ada", "password": "guess"}).content.decode()
    assert "The name and password do not match." in page


def test_signing_in_never_leads_off_the_site(client: Client) -> None:
    User.objects.create_user("ada", password="a-long-password")
    form = {"username": "ada", "password": "a-long-password", "next": "https://elsewhere.example"}
    assert client.post("/login/", form).headers["Location"] == "/"


@pytest.mark.parametrize("posts", [1, 25])
def test_the_page_asks_as_many_queries_for_one_post_as_for_many(
    client: Client, django_assert_num_queries: Callable, posts: int
) -> None:
    stream = make_stream()
    for _ in range(posts):
        judged(streams=[stream], at=datetime(2026, 3, 1, tzinfo=UTC))
    with django_assert_num_queries(7):
        client.get("/?range=all", headers=BROWSER)
