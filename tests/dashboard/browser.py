"""Pages in a real Chromium, for tests; what they share."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, connections

from modeling.services import classify
from tests.chromium import ARGUMENTS, CHROMIUM
from tests.dashboard.factories import make_post

# For `pytestmark`: the database is one that the server's threads see, too.
browser_test = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # The first test of a process trains its model, too.
    pytest.mark.timeout(400),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
# For what takes long and looks at markup and styles alone.
on_sqlite = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="pages look the same with every database"
)
PHONE = {"width": 360, "height": 740}
# A page that is slow on a busy machine is no failure.
PATIENCE_MS = 60_000


class _Chromium:
    """One Chromium for a process's tests, in a thread of its own: Playwright brings a loop."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[Any], None], Future[None]] | None]
        self._work = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="chromium", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[Any], None], seconds: float) -> bool:
        """Whether it was done in time. Raises what the work raises."""
        done: Future[None] = Future()
        self._work.put((work, done))
        if not wait([done], seconds).done:
            return False
        done.result()
        return True

    def close(self) -> None:
        self._work.put(None)
        self._thread.join(20)

    def _run(self) -> None:
        from playwright.sync_api import expect, sync_playwright

        expect.set_options(timeout=PATIENCE_MS)
        with sync_playwright() as playwright:
            browser = None
            while (asked := self._work.get()) is not None:
                work, done = asked
                try:
                    if browser is None or not browser.is_connected():
                        browser = playwright.chromium.launch(
                            executable_path=CHROMIUM, args=ARGUMENTS
                        )
                    work(browser)
                    done.set_result(None)
                except BaseException as error:
                    done.set_exception(error)
                finally:
                    # What one test has opened, or left open, is no other's.
                    for context in [] if browser is None else browser.contexts:
                        context.close()
            if browser is not None:
                browser.close()


_chromium: list[_Chromium] = []


def with_chromium(work: Callable[[Any], None], seconds: float = 250) -> None:
    """Run `work(browser)`; its pages are closed afterwards."""
    if not _chromium:
        _chromium.append(_Chromium())
    if not _chromium[0].do(work, seconds):
        # Whatever hangs there hangs: the next test has a new one.
        _chromium.clear()
        raise AssertionError(f"the browser was not done within {seconds} s")


def close_chromium() -> None:
    """At the end of the tests."""
    while _chromium:
        _chromium.pop().close()


def in_browser(
    site: str, visit: Callable[[Any], None], *, forgiven: str | None = None, **context: Any
) -> None:
    """Run `visit(page)` on the live page, when it is live and what it asks for at first has come.

    Fails for any console error, but for `forgiven` ones, and for any request that leaves the site.
    """
    problems: list[str] = []

    def work(browser: Any) -> None:
        page = browser.new_page(**context)
        report_problems(page, site, problems)
        page.goto(site)
        complete(page)
        visit(page)

    with_chromium(work)
    assert [p for p in problems if forgiven is None or forgiven not in p] == []


def complete(page: Any) -> None:
    """Wait until the live page is live, and nothing is under way that would draw it anew."""
    page.wait_for_selector("#status[data-state=live]")
    page.wait_for_selector("#details:not([aria-busy])")


def report_problems(page: Any, site: str, problems: list[str]) -> None:
    """Add console errors, exceptions and requests that leave the site to `problems`."""
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda m: m.type == "error" and problems.append(m.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda r: _check_address(r.url, site, problems))


def _check_address(url: str, site: str, problems: list[str]) -> None:
    if not url.startswith((site, site.replace("http", "ws"), "data:", "blob:")):
        problems.append(f"left the site: {url}")


def until(page: Any, condition: str, seconds: float = 30.0) -> None:
    """Wait until an expression of the page holds. The page's policy forbids the `eval` by which
    Playwright's own `wait_for_function` polls."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(50)


def shows(page: Any, selector: str, text: str | list[str], *, whole: bool = True) -> None:
    """Wait until the first element shows `text`, exactly or somewhere; all of them, a list."""
    from playwright.sync_api import expect

    places = page.locator(selector)
    place = expect(places if isinstance(text, list) else places.first)
    said = place.to_have_text if whole else place.to_contain_text
    said(text, use_inner_text=True)


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
    """A new post, judged by the champion."""
    aside(lambda: classify.classify_posts([make_post(text, **fields).pk]))


def choose(page: Any, menu: str, *values: str) -> None:
    """Tick boxes in a menu of the filters, and show what they ask for."""
    page.click(f"{menu} summary")
    for value in values:
        page.check(f"{menu} input[value='{value}']")
    page.click(f"{menu} button")


def session_of(user: User) -> str:
    """The key of a session in which this person is signed in."""
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session["_auth_user_backend"] = "django.contrib.auth.backends.ModelBackend"
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def sign_in(context: Any, site: str, session: str) -> None:
    """Let a browser's context carry this session."""
    context.add_cookies([{"name": "sessionid", "value": session, "url": site}])
