"""The page in a real browser, against the real server."""

import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections

from ingestion.signals import alert_raised
from modeling.models import ModelVersion
from modeling.services import classify
from tests.conftest import serve
from tests.dashboard.factories import make_post, make_stream

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def in_browser(
    site: str, visit: Callable[[Any], None], *, forgiven: str | None = None, **context: Any
) -> None:
    """Run `visit(page)` on the open page, in a thread of its own: Playwright brings a loop.

    Fails for any console error, but for `forgiven` ones, and for any request that leaves the site.
    """
    problems: list[str] = []
    errors: list[BaseException] = []

    def run() -> None:
        from playwright.sync_api import sync_playwright

        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                page = browser.new_page(**context)
                page.on("console", lambda m: m.type == "error" and problems.append(m.text))
                page.on("pageerror", lambda error: problems.append(str(error)))
                page.on("request", lambda r: _check_address(r.url, site, problems))
                page.goto(site)
                page.wait_for_selector("#status[data-state=live]")
                visit(page)
                browser.close()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(90)
    if errors:
        raise errors[0]
    assert [p for p in problems if forgiven is None or forgiven not in p] == []


def _check_address(url: str, site: str, problems: list[str]) -> None:
    if not url.startswith((site, site.replace("http", "ws"), "data:", "blob:")):
        problems.append(f"left the site: {url}")


def aside(work: Callable[[], object]) -> None:
    """Do `work` where no loop runs, as another process would."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def judge(text: str, **fields: Any) -> None:
    aside(lambda: classify.classify_posts([make_post(text, **fields).pk]))


def test_a_new_post_appears_without_reload(live_site: str, champion: ModelVersion) -> None:
    judge("the train opens today")

    def visit(page: Any) -> None:
        page.evaluate("window.sameVisit = true")
        assert page.locator(".post").count() == 1
        judge("the food awful today")
        post = page.locator(".post", has_text="the food awful today")
        post.wait_for(timeout=5000)
        assert "Negative" in post.inner_text()
        page.wait_for_function("document.querySelector('[data-count=negative]').textContent == '1'")
        assert page.locator("[data-share=negative]").inner_text() == "50%"
        assert page.evaluate("window.sameVisit") is True

    in_browser(live_site, visit)


def test_what_one_types_is_judged(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        page.fill("#try-text", "the song wonderful today")
        page.wait_for_selector("#try-result strong")
        assert page.inner_text("#try-result strong").startswith("Positive")

    in_browser(live_site, visit)


def test_pausing_holds_posts_back_until_it_goes_on(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        page.click("#pause")
        judge("the food awful today")
        page.wait_for_function("document.querySelector('[data-count=negative]').textContent == '1'")
        assert page.locator(".post").count() == 0
        page.click("#pause")
        page.locator(".post").wait_for(timeout=5000)

    in_browser(live_site, visit)


def test_a_phone_needs_no_sideways_scrolling(live_site: str, champion: ModelVersion) -> None:
    judge("https://example.org/" + "long" * 40 + " the food awful today")

    def visit(page: Any) -> None:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360

    in_browser(live_site, visit, viewport={"width": 360, "height": 740})


MARKUP = "</script><img src=x onerror=window.taken=1><b>bold</b> &amp; the food awful today"


def test_a_post_s_markup_is_shown_as_text(live_site: str, champion: ModelVersion) -> None:
    judge(MARKUP, author_username="<i>ada</i>")

    def visit(page: Any) -> None:
        judge(f"live {MARKUP}")
        page.locator(".post", has_text="live ").wait_for(timeout=5000)
        assert page.locator(".post p").all_inner_texts() == [f"live {MARKUP}", MARKUP]
        assert "@<i>ada</i>" in page.locator(".post").last.inner_text()
        assert page.locator(".post img, .post b, .post i:not(.meter i)").count() == 0
        assert page.evaluate("window.taken") is None

    in_browser(live_site, visit)


def test_a_stream_s_view_shows_only_its_own_new_posts(
    live_site: str, champion: ModelVersion
) -> None:
    stream = make_stream()

    def visit(page: Any) -> None:
        with page.expect_navigation():
            page.select_option("#stream", str(stream.pk))
        page.wait_for_selector("#status[data-state=live]")
        judge("the train awful today")
        judge("the food awful today", streams=[stream])
        page.locator(".post", has_text="the food").wait_for(timeout=5000)
        assert page.locator(".post").count() == 1
        assert page.locator("[data-count=negative]").inner_text() == "1"

    in_browser(live_site, visit)


def test_an_alert_is_shown(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        aside(
            lambda: alert_raised.send_robust(
                sender=None, kind="drift", message="posts <b>have changed</b>", active=True
            )
        )
        page.locator(".toast").wait_for(timeout=5000)
        assert page.inner_text(".toast") == "Alert: posts <b>have changed</b>"

    in_browser(live_site, visit)


def test_the_page_comes_back_when_the_server_does(
    transactional_db: None, champion: ModelVersion
) -> None:
    with ExitStack() as servers:
        site = servers.enter_context(serve())

        def visit(page: Any) -> None:
            page.evaluate("window.sameVisit = true")
            servers.close()
            page.wait_for_selector("#status[data-state=reconnecting]")
            judge("the food awful today")
            servers.enter_context(serve(int(site.rsplit(":", 1)[1])))
            page.wait_for_selector("#status[data-state=live]")
            page.locator(".post", has_text="the food").wait_for(timeout=5000)
            assert page.locator("[data-count=negative]").inner_text() == "1"
            assert page.evaluate("window.sameVisit") is True

        in_browser(site, visit, forgiven="ERR_CONNECTION_REFUSED")
