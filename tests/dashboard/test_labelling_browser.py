"""Labelling in a real browser, by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from modeling.models import Annotation, Assignment
from modeling.services import likeness
from tests.dashboard.browser import (
    PHONE,
    aside,
    browser_test,
    report_problems,
    session_of,
    shows,
    sign_in,
    until,
    with_chromium,
)
from tests.dashboard.factories import judged
from tests.dashboard.test_labelling import make_annotator

pytestmark = browser_test

KEYS = {"1": "negative", "2": "neutral", "3": "positive"}
WORDS = [
    "alder",
    "birch",
    "cedar",
    "elm",
    "fig",
    "hazel",
    "larch",
    "maple",
    "oak",
    "pine",
    "rowan",
    "spruce",
    "willow",
    "yew",
]


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> Iterator[Settings]:
    settings.LABELLING_RANDOM_SHARE = settings.LABELLING_OVERLAP = settings.LABELLING_GOLD = 0
    yield settings
    likeness.reset()


def make_pool(size: int) -> list[str]:
    return [
        judged(f"{WORDS[i % 14]} {WORDS[i // 14]} post {i}", category="neutral").text
        for i in range(size)
    ]


def at_desks(
    site: str,
    sessions: list[str],
    visit: Callable[..., None],
    forgiven: str | None = None,
    **context: Any,
) -> None:
    """Run `visit` on one open page a session, each in a context of its own.

    Fails for any console error but `forgiven` ones.
    """
    problems: list[str] = []

    def work(browser: Any) -> None:
        pages = []
        for session in sessions:
            desk = browser.new_context(**context)
            sign_in(desk, site, session)
            page = desk.new_page()
            report_problems(page, site, problems)
            page.goto(f"{site}/label/")
            pages.append(page)
        for page in pages:
            page.wait_for_selector("#sheet:not([data-state=waiting])")
        visit(*pages)

    with_chromium(work)
    assert [one for one in problems if forgiven is None or forgiven not in one] == []


def current(page: Any) -> str:
    """The text on the desk; waits until there is one."""
    page.wait_for_selector("#sheet:not([data-state=waiting])")
    return str(page.inner_text("#text"))


def saved(page: Any) -> None:
    until(page, "document.getElementById('save').dataset.state === 'saved'")


def labels() -> dict[str, str]:
    found: dict[str, str] = {}
    aside(
        lambda: found.update(
            Annotation.objects.current().values_list("post__text", "category__key")
        )
    )
    return found


def test_twenty_posts_are_labelled_by_keyboard_alone(live_site: str) -> None:
    make_pool(30)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        expected: dict[str, str] = {}
        for number in range(20):
            text, key = current(page), "123"[number % 3]
            assert text not in expected
            page.keyboard.press(key)
            expected[text] = KEYS[key]
            if number == 9:
                # The next one shows at once; the last comes back to be answered anew.
                assert current(page) != text
                page.keyboard.press("u")
                assert current(page) == text
                page.keyboard.press("3")
                expected[text] = "positive"
        skipped = current(page)
        page.keyboard.press(" ")
        flagged = current(page)
        page.keyboard.press("f")
        assert current(page) == flagged
        page.keyboard.type("1 is no category of <b>mine</b>")
        page.keyboard.press("Enter")
        unclear = current(page)
        page.keyboard.press("f")
        page.keyboard.type("thought better of it")
        page.keyboard.press("Escape")
        decided = current(page)
        page.keyboard.press("f")
        page.click("#skip")
        saved(page)
        assert labels() == expected
        states: dict[str, tuple[str, str]] = {}
        rows = Assignment.objects.values_list("post__text", "status", "note")
        aside(lambda: states.update({text: (status, note) for text, status, note in rows}))
        assert states[flagged] == ("flagged", "1 is no category of <b>mine</b>")
        assert states[unclear] == ("flagged", "")
        assert states[skipped] == states[decided] == ("skipped", "")
        shows(page, "#here", "20")
        shows(page, "#day", "20")
        # To an earlier post and back, and another label for it.
        last = page.inner_text("#past li:nth-child(5) .line")
        for _ in range(5):
            page.keyboard.press("j")
        assert current(page) == last
        page.keyboard.press("k")
        assert current(page) == skipped
        page.keyboard.press("j")
        page.keyboard.press("1")
        saved(page)
        assert labels() == {**expected, last: "negative"}
        page.keyboard.press("u")
        saved(page)
        assert labels() == expected
        # What was undone at the end of one visit can be undone at the next.
        page.reload()
        current(page)
        page.keyboard.press("u")
        until(page, "document.getElementById('day').textContent === '19'")

    at_desks(live_site, [session], visit)


def test_two_people_at_once_never_get_the_same_post(live_site: str) -> None:
    make_pool(60)
    sessions = [session_of(make_annotator(name)) for name in ("ann", "bob")]

    def visit(first: Any, second: Any) -> None:
        seen: tuple[set[str], set[str]] = (set(), set())
        for _ in range(20):
            for page, texts in zip((first, second), seen, strict=True):
                texts.add(current(page))
                page.keyboard.press("2")
        saved(first)
        saved(second)
        assert len(seen[0]) == len(seen[1]) == 20
        assert not seen[0] & seen[1]
        assert len(labels()) == 40

    at_desks(live_site, sessions, visit)


def test_posts_that_come_late_do_not_take_back_what_was_counted(live_site: str) -> None:
    make_pool(30)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        held: list[tuple[Any, Any]] = []
        page.route("**/label/next/**", lambda route: held.append((route, route.fetch())))
        while not held:
            current(page)
            page.keyboard.press("1")
            saved(page)
        count = int(page.inner_text("#day"))
        page.keyboard.press("2")
        saved(page)
        shows(page, "#day", str(count + 1))
        route, answer = held[0]
        with page.expect_response("**/label/next/**") as told:
            route.fulfill(response=answer)
        told.value.finished()
        page.evaluate("new Promise((done) => setTimeout(done))")
        assert page.inner_text("#day") == str(count + 1)

    at_desks(live_site, [session], visit)


def test_nothing_is_lost_without_a_connection(live_site: str) -> None:
    make_pool(10)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        page.context.set_offline(True)
        expected = {}
        for key in "123":
            expected[current(page)] = KEYS[key]
            page.keyboard.press(key)
        until(page, "document.getElementById('save').dataset.state === 'offline'")
        shows(page, "#save", "3 not saved yet", whole=False)
        assert labels() == {}
        # Not even by leaving the page: what is kept is sent at the next visit.
        kept = page.evaluate("Object.values(localStorage).join()")
        assert kept.count('"label"') == 3
        page.on("dialog", lambda dialog: dialog.accept())
        page.context.set_offline(False)
        page.reload()
        current(page)
        saved(page)
        assert labels() == expected

    at_desks(live_site, [session], visit, forgiven="ERR_INTERNET_DISCONNECTED")


def test_who_is_signed_out_is_told_and_keeps_what_is_not_saved(live_site: str) -> None:
    make_pool(10)
    ann = make_annotator("ann")
    session = session_of(ann)

    def visit(page: Any) -> None:
        text = current(page)
        page.context.clear_cookies()
        page.keyboard.press("3")
        page.wait_for_selector("#save[data-state=signedout] a")
        renewed: list[str] = []
        aside(lambda: renewed.append(session_of(ann)))
        page.context.add_cookies(
            [
                {"name": "sessionid", "value": renewed[0], "url": live_site},
                {"name": "csrftoken", "value": "x" * 32, "url": live_site},
            ]
        )
        saved(page)
        assert labels() == {text: "positive"}

    at_desks(live_site, [session], visit, forgiven="40")


def test_what_waits_in_a_page_is_nobody_else_s_who_signs_in(live_site: str) -> None:
    make_pool(30)
    ann, bob = make_annotator("ann"), make_annotator("bob")
    sessions = session_of(ann), session_of(bob)

    def authors() -> dict[str, str]:
        found: dict[str, str] = {}
        rows = Annotation.objects.current().values_list("post__text", "annotator__username")
        aside(lambda: found.update(rows))
        return found

    def visit(page: Any) -> None:
        text = current(page)
        sign_in(page.context, live_site, sessions[1])
        page.keyboard.press("3")
        page.wait_for_selector("#save[data-state=signedout] a")
        shows(page, "#save", "1 not saved yet", whole=False)
        # Who has signed in labels beside it, and takes nothing over.
        other = page.context.new_page()
        other.goto(f"{live_site}/label/")
        theirs = current(other)
        other.keyboard.press("1")
        saved(other)
        other.close()
        assert authors() == {theirs: "bob"}
        sign_in(page.context, live_site, sessions[0])
        saved(page)
        assert authors() == {theirs: "bob", text: "ann"}

    at_desks(live_site, [sessions[0]], visit, forgiven="401")


def test_the_model_s_opinion_shows_only_when_asked_for(live_site: str) -> None:
    make_pool(5)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        current(page)
        assert page.locator(".opinion:visible").count() == 0
        page.keyboard.press("m")
        shows(page, ".opinion:visible", "model 90%")
        page.keyboard.press("?")
        page.wait_for_selector("#keys[open]")
        # While the help is open no key labels.
        page.keyboard.press("1")
        page.click("#keys-on")
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        page.keyboard.press("Control+1")
        shows(page, "#here", "0")

    at_desks(live_site, [session], visit)


def test_it_works_by_touch_on_a_phone(live_site: str) -> None:
    judged("https://example.org/" + "long" * 60 + " <b>bold</b>", category="neutral")
    make_pool(5)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        expected = {}
        for key in ("positive", "negative"):
            expected[current(page)] = key
            page.tap(f".choice[data-category={key}]")
        page.tap("#undo")
        saved(page)
        assert labels() == dict(list(expected.items())[:1])
        assert page.locator("#text b").count() == 0
        for path in ("/label/review/", "/label/search/?q=example"):
            page.goto(live_site + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360

    at_desks(live_site, [session], visit, viewport=PHONE, has_touch=True)


def test_the_space_bar_presses_the_button_that_has_the_focus(live_site: str) -> None:
    make_pool(5)
    session = session_of(make_annotator("ann"))

    def visit(page: Any) -> None:
        text = current(page)
        page.focus(".choice[data-category=positive]")
        page.keyboard.press(" ")
        saved(page)
        assert labels() == {text: "positive"}
        focused = "document.activeElement.dataset.category"
        assert page.evaluate(focused) == "positive"
        # After a click by hand the space bar skips again.
        text = current(page)
        page.click(".choice[data-category=negative]")
        page.keyboard.press(" ")
        saved(page)
        assert len(labels()) == 2
        assert re.search("skipped", page.inner_text("#past li"))

    at_desks(live_site, [session], visit)
