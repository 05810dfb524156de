"""The page in a real browser, against the real server."""

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from modeling.models import ModelVersion
from modeling.services import classify
from tests.dashboard.factories import make_post

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


def in_browser(site: str, visit: Callable[[Any], None], **context: Any) -> None:
    """Run `visit(page)` on the open page, in a thread of its own: Playwright brings a loop.

    Fails for any console error and for any request that leaves the site.
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
    assert problems == []


def _check_address(url: str, site: str, problems: list[str]) -> None:
    if not url.startswith((site, site.replace("http", "ws"), "data:", "blob:")):
        problems.append(f"left the site: {url}")


def judge(text: str) -> None:
    def work() -> None:
        try:
            classify.classify_posts([make_post(text).pk])
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


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
