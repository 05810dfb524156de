"""Guessing passwords is slowed down, at every door, by whoever is really asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import httpx
import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from tests.conftest import serve

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PASSWORD = "a-long-password"
DOORS = ["/login/", "/admin/login/"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def sign_in(
    client: Client, password: str, door: str = "/login/", name: str = "ada", **extra: str
) -> int:
    form = {"username": name, "password": password}
    return int(client.post(door, form, headers=BROWSER, **extra).status_code)


def guess(client: Client, times: int, **extra: str) -> list[int]:
    return [sign_in(client, f"guess {n}", **extra) for n in range(times)]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("door", DOORS)
def test_five_wrong_passwords_close_every_door_to_that_name_from_there(
    client: Client, door: str
) -> None:
    assert guess(client, 5, door=door) == [200, 200, 200, 200, 429]
    # The right one no more than a wrong one, or guessing would go on; at the other door as well.
    assert [sign_in(client, PASSWORD, other) for other in DOORS] == [429, 429]
    assert "sessionid" not in client.cookies


@pytest.mark.usefixtures("ada")
def test_another_browser_is_the_same_guesser(client: Client) -> None:
    assert guess(client, 4, HTTP_USER_AGENT="one") == [200] * 4
    assert sign_in(client, "guess", HTTP_USER_AGENT="two") == 429


@pytest.mark.usefixtures("ada")
def test_nobody_is_locked_out_by_somebody_elsewhere(client: Client) -> None:
    guess(client, 5, REMOTE_ADDR="192.0.2.1")
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.2") == 302


@pytest.mark.usefixtures("ada")
def test_an_ipv6_customer_is_one_guesser(client: Client) -> None:
    answers = [sign_in(client, "guess", REMOTE_ADDR=f"2001:db8::{n}") for n in range(1, 6)]
    assert answers == [200, 200, 200, 200, 429]
    assert sign_in(client, PASSWORD, REMOTE_ADDR="2001:db8:0:1::1") == 302


@pytest.mark.usefixtures("ada")
def test_one_password_tried_on_many_names_closes_the_address(
    client: Client, settings: Settings
) -> None:
    settings.LOGIN_ADDRESS_FAILURES = 6
    assert [sign_in(client, "guess", name=f"user{n}") for n in range(6)] == [200] * 6
    assert sign_in(client, PASSWORD) == 429
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.2") == 302


@pytest.mark.usefixtures("ada")
def test_people_are_told_on_a_page_what_to_do(client: Client) -> None:
    guess(client, 5)
    answer = client.post(
        "/login/", {"username": "ada", "password": PASSWORD}, headers=BROWSER, follow=True
    )
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 900
    assert "Try again in 15 minutes" in answer.text and "ask an admin" in answer.text
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.usefixtures("ada")
def test_programs_are_told_by_a_problem(client: Client) -> None:
    guess(client, 5)
    answer = client.post("/login/", {"username": "ada", "password": PASSWORD})
    assert answer.status_code == 429
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(answer.headers["Retry-After"]) <= 900
    assert "Try again in 15 min" in answer.json()["detail"]


@pytest.mark.usefixtures("ada")
def test_it_is_over_in_time_though_somebody_tries_on(client: Client) -> None:
    started = timezone.now()
    with time_machine.travel(started, tick=False):
        guess(client, 5)
    with time_machine.travel(started + timedelta(minutes=14), tick=False):
        answer = client.post("/login/", {"username": "ada", "password": PASSWORD})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    with time_machine.travel(started + timedelta(minutes=15, seconds=1), tick=False):
        assert sign_in(client, PASSWORD) == 302
    # What counts no more is not kept.
    assert not AccessAttempt.objects.exists()


@pytest.mark.usefixtures("ada")
def test_signing_in_forgets_the_failures_before_it(client: Client) -> None:
    guess(client, 4)
    assert sign_in(client, PASSWORD) == 302
    assert guess(Client(), 4) == [200] * 4


@pytest.mark.usefixtures("ada")
def test_no_password_is_kept(client: Client) -> None:
    sign_in(client, "nearly-the-right-one")
    rows = str(list(AccessAttempt.objects.values()))
    assert "'ada'" in rows and "nearly" not in rows


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("arguments", [["axes_reset"], ["axes_reset_username", "ada"]])
def test_operators_let_people_in_again(client: Client, arguments: list[str]) -> None:
    guess(client, 5)
    call_command(*arguments)
    assert sign_in(client, PASSWORD) == 302


def test_the_admin_shows_failures_and_resets_them(client: Client, ada: User) -> None:
    guess(client, 2, HTTP_USER_AGENT="one", REMOTE_ADDR="192.0.2.1")
    guess(client, 3, HTTP_USER_AGENT="two", REMOTE_ADDR="192.0.2.1")
    boss = Client()
    boss.force_login(ada)
    page = boss.get("/admin/axes/accessattempt/").text
    assert "192.0.2.1" in page and "Let in again" in page
    row = AccessAttempt.objects.filter(user_agent="one").get()
    assert boss.get(f"/admin/axes/accessattempt/{row.pk}/change/").status_code == 200
    form = {"action": "reset_selected", "_selected_action": [row.pk]}
    assert "1 let in again" in boss.post("/admin/axes/accessattempt/", form, follow=True).text
    # Both browsers' rows: one alone would leave the door half closed.
    assert not AccessAttempt.objects.exists()
    assert sign_in(client, PASSWORD, REMOTE_ADDR="192.0.2.1") == 302


@pytest.fixture
def site(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Starts the site behind proxies that it trusts, on a real socket."""
    with ExitStack() as stack:

        def start(trusted: str) -> str:
            monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
            return stack.enter_context(serve())

        yield start


def post(address: str, says: str, password: str = "guess") -> int:
    headers = {**BROWSER, "X-Forwarded-For": says}
    with httpx.Client(base_url=address, headers=headers, timeout=30) as browser:
        browser.get("/login/")
        form = {"username": "ada", "password": password}
        token = browser.cookies["csrftoken"]
        return browser.post("/login/", data={**form, "csrfmiddlewaretoken": token}).status_code


@pytest.mark.usefixtures("ada")
def test_a_stranger_cannot_pretend_to_come_from_elsewhere(site: Callable[..., str]) -> None:
    address = site("10.9.9.9")
    assert [post(address, f"192.0.2.{n}") for n in range(5)] == [200, 200, 200, 200, 429]
    assert AccessAttempt.objects.get().ip_address == "127.0.0.1"


@pytest.mark.usefixtures("ada")
def test_a_trusted_proxy_says_who_comes(site: Callable[..., str]) -> None:
    address = site("127.0.0.1")
    assert [post(address, "192.0.2.1") for _ in range(5)] == [200, 200, 200, 200, 429]
    assert post(address, "192.0.2.1", PASSWORD) == 429
    assert post(address, "192.0.2.2", PASSWORD) == 302
