"""The live page in a real browser, against the real server: what moves by itself."""

from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from dashboard import consumers
from ingestion.services import forget
from ingestion.signals import alert_raised
from modeling.models import Category, ModelVersion
from tests.conftest import serve
from tests.dashboard.browser import (
    aside,
    browser_test,
    choose,
    complete,
    in_browser,
    judge,
    session_of,
    shows,
    sign_in,
    until,
    with_chromium,
)
from tests.dashboard.factories import judged, make_stream
from tests.ports import reserved_port

pytestmark = browser_test


def test_a_new_post_appears_without_reload(live_site: str, champion: ModelVersion) -> None:
    judge("the train opens today")

    def visit(page: Any) -> None:
        page.evaluate("window.sameVisit = true")
        assert page.locator(".post").count() == 1
        judge("the food awful today")
        post = page.locator(".post", has_text="the food awful today")
        post.wait_for()
        assert "Negative" in post.inner_text()
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
        shows(page, "[data-share=negative]", "50%")
        assert page.evaluate("window.sameVisit") is True

    in_browser(live_site, visit)


def test_pausing_holds_posts_back_until_it_goes_on(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        page.click("#pause")
        judge("the food awful today")
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
        assert page.locator(".post").count() == 0
        page.click("#pause")
        page.locator(".post").wait_for()

    in_browser(live_site, visit)


def test_a_stream_s_view_shows_only_its_own_new_posts(
    live_site: str, champion: ModelVersion
) -> None:
    stream = make_stream()

    def visit(page: Any) -> None:
        with page.expect_navigation():
            choose(page, "#streams", str(stream.pk))
        page.wait_for_selector("#status[data-state=live]")
        judge("the train awful today")
        judge("the food awful today", streams=[stream])
        page.locator(".post", has_text="the food").wait_for()
        assert page.locator(".post").count() == 1
        shows(page, "[data-count=negative]", "1")

    in_browser(live_site, visit)


def test_an_alert_is_shown(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        aside(
            lambda: alert_raised.send_robust(
                sender=None, kind="drift", message="posts <b>have changed</b>", active=True
            )
        )
        page.locator(".toast", has_text="Alert: posts <b>have changed</b>").wait_for()

    in_browser(live_site, visit)


def test_the_page_comes_back_when_the_server_does(
    transactional_db: None, champion: ModelVersion
) -> None:
    with reserved_port() as port, ExitStack() as servers:
        site = servers.enter_context(serve(port))

        def visit(page: Any) -> None:
            page.evaluate("window.sameVisit = true")
            servers.close()
            page.wait_for_selector("#status[data-state=reconnecting]")
            judge("the food awful today")
            servers.enter_context(serve(port))
            page.wait_for_selector("#status[data-state=live]")
            page.locator(".post", has_text="the food").wait_for()
            shows(page, "[data-count=negative]", "1")
            assert page.evaluate("window.sameVisit") is True

        in_browser(site, visit, forgiven="ERR_CONNECTION_REFUSED")


def test_a_deleted_post_leaves_the_open_page(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today", external_id="7")
    judge("the train awful today")

    def visit(page: Any) -> None:
        assert page.locator(".post").count() == 2
        aside(lambda: forget("file", ["7"]))
        page.locator(".post", has_text="the food").wait_for(state="detached")
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
        assert page.locator(".post").count() == 1

    in_browser(live_site, visit)


def test_a_deleted_post_does_not_come_back_after_a_pause(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        page.click("#pause")
        judge("the food awful today", external_id="7")
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
        aside(lambda: forget("file", ["7"]))
        until(page, "document.querySelector('[data-count=negative]').textContent == '0'")
        page.click("#pause")
        assert page.locator(".post").count() == 0

    in_browser(live_site, visit)


def test_net_is_of_the_categories_with_a_polarity_alone(
    live_site: str, champion: ModelVersion
) -> None:
    Category.objects.create(scheme=champion.scheme, key="unclear", name="Unclear", position=9)
    judged("a game or a song", category="unclear")
    judged("the food awful today", category="negative")

    def visit(page: Any) -> None:
        shows(page, "[data-share=unclear]", "50%")
        shows(page, "#net", "−1.00")

    in_browser(live_site, visit, locale="en-GB")


def test_an_open_page_leads_to_sign_in_once_the_account_is_closed(
    live_site: str,
    champion: ModelVersion,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.API_REQUIRE_AUTH = True
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.0)
    ada = User.objects.create_user("ada")
    session = session_of(ada)

    def work(browser: Any) -> None:
        context = browser.new_context()
        sign_in(context, live_site, session)
        page = context.new_page()
        page.goto(f"{live_site}/?range=6h")
        complete(page)
        aside(lambda: User.objects.filter(pk=ada.pk).update(is_active=False))
        page.wait_for_url("**/login/?next=/%3Frange%3D6h")

    with_chromium(work)


def test_a_socket_that_falls_silent_is_opened_anew(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        hushed = {"on": False}

        def relay(socket: Any) -> None:
            server = socket.connect_to_server()
            mute = hushed["on"]
            hushed["on"] = False
            server.on_message(lambda text: None if mute else socket.send(text))

        page.route_web_socket("**/ws/live/**", relay)
        hushed["on"] = True
        page.clock.install()
        page.reload()
        page.wait_for_selector("#timeline")
        assert page.get_attribute("#status", "data-state") == "connecting"
        judge("the food awful today")
        page.clock.run_for(20000)
        page.wait_for_selector("#status[data-state=live]")
        page.locator(".post", has_text="the food awful").wait_for()

    in_browser(live_site, visit)
