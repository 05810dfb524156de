"""The page in a real browser, against the real server."""

import re
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from ingestion.models import Connection, Gap, MonthlyUsage
from ingestion.services import forget
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


def until(page: Any, condition: str, seconds: float = 10.0) -> None:
    """Wait until an expression of the page holds. The page's policy forbids the `eval` by which
    Playwright's own `wait_for_function` polls."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        page.wait_for_timeout(50)


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
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
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
        until(page, "document.querySelector('[data-count=negative]').textContent == '1'")
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


def choose(page: Any, menu: str, *values: str) -> None:
    """Tick boxes in a menu of the filters, and show what they ask for."""
    page.click(f"{menu} summary")
    for value in values:
        page.check(f"{menu} input[value='{value}']")
    page.click(f"{menu} button")


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


def test_a_deleted_post_leaves_the_open_page(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today", external_id="7")
    judge("the train awful today")

    def visit(page: Any) -> None:
        assert page.locator(".post").count() == 2
        aside(lambda: forget("file", ["7"]))
        page.locator(".post", has_text="the food").wait_for(state="detached", timeout=5000)
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


def shaded(page: Any) -> int:
    """Outages that the chart shades."""
    count: int = page.evaluate("(document.getElementById('timeline').layout.shapes || []).length")
    return count


def outage(**fields: Any) -> None:
    now = timezone.now()
    values = {
        "source": "x",
        "started_at": now - timedelta(minutes=9),
        "ended_at": now - timedelta(minutes=4),
        "cause": "network",
        "state": "partial",
        "recovered": 85,
        "expected": 100,
        "filled_by": "recent search",
    }
    Gap.objects.create(**{**values, **fields})


def test_an_outage_is_shaded_and_told_in_words(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")
    outage()

    def visit(page: Any) -> None:
        told = page.locator("#gap-list li")
        assert told.inner_text().startswith("X was away ")
        assert "UTC (network); 85% got back (recent search)." in told.inner_text()
        until(page, "document.getElementById('timeline').layout?.shapes?.length == 1")
        aside(lambda: outage(started_at=timezone.now(), ended_at=None, state="open", cause="dns"))
        page.locator("#gap-list li.open").wait_for(timeout=5000)
        assert "X is away since" in page.inner_text("#gap-list li.open")
        until(page, "document.getElementById('timeline').layout.shapes.length == 2")
        page.click("[data-mode=share]")
        assert shaded(page) == 2
        page.evaluate("new Promise(requestAnimationFrame)")
        assert page.locator("#gap-legend").is_visible()

    in_browser(live_site, visit)


def test_sources_and_what_they_need_are_shown_live(live_site: str, champion: ModelVersion) -> None:
    def tell(**fields: Any) -> None:
        Connection.objects.update_or_create(source="x", defaults=fields)

    def visit(page: Any) -> None:
        assert page.locator("#sources").is_hidden() and page.locator("#alerts").is_hidden()
        month = timezone.now().date().replace(day=1)
        aside(
            lambda: MonthlyUsage.objects.create(source="x", month=month, posts_read=90, budget=100)
        )
        aside(lambda: tell(status="failed", last_error="The token <b>was</b> revoked."))
        page.locator("#alerts li", has_text="The token <b>was</b> revoked.").wait_for(timeout=5000)
        assert page.locator("#alerts li").count() == 2
        assert "failed: needs attention" in page.inner_text(".source[data-status=failed]")
        assert "90 of 100 posts (90%)" in page.inner_text(".source")
        page.reload()
        page.wait_for_selector("#status[data-state=live]")
        assert page.locator("#alerts li").count() == 2
        aside(lambda: tell(status="stopped", last_error=""))
        page.locator("#alerts li", has_text="token").wait_for(state="detached", timeout=5000)
        assert page.locator("#alerts li").count() == 1

    in_browser(live_site, visit)


def test_gaps_and_sources_fit_a_phone(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")
    outage(detail="https://example.org/" + "long" * 40)
    Connection.objects.create(source="x", status="failed", last_error="long" * 60)

    def visit(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    in_browser(live_site, visit, viewport={"width": 360, "height": 740})


def test_a_reconnection_that_missed_nothing_leaves_the_list(
    live_site: str, champion: ModelVersion
) -> None:
    now = timezone.now()

    def visit(page: Any) -> None:
        aside(lambda: outage(started_at=now, ended_at=None, state="open"))
        page.locator("#gap-list li.open").wait_for(timeout=5000)
        ended = now + timedelta(milliseconds=300)
        aside(lambda: Gap.objects.update(state="filled", ended_at=ended))
        page.locator("#gaps").wait_for(state="hidden", timeout=5000)
        until(page, "!document.getElementById('timeline').layout.shapes.length")

    in_browser(live_site, visit)


def test_a_view_of_old_posts_has_no_outage_of_today(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today", at=timezone.now() - timedelta(days=400))

    def visit(page: Any) -> None:
        aside(lambda: outage(started_at=timezone.now(), ended_at=None, state="open"))
        aside(lambda: Connection.objects.create(source="x", status="stopped"))
        # Both are told in one tick at the latest: the panel shows that it has come.
        page.locator(".source").wait_for(timeout=5000)
        assert page.locator("#gaps").is_hidden()

    in_browser(live_site, visit)


def test_a_view_is_an_address_and_an_address_a_view(live_site: str, champion: ModelVersion) -> None:
    one, two, three = (make_stream(name) for name in ("one", "two", "three"))
    judge("the train awful today", streams=[one], lang="en")
    judge("the food awful today", streams=[two], lang="en")
    judge("the city wonderful today", streams=[two], lang="en")
    judge("the song awful today", streams=[three], lang="en")
    told: dict[str, str] = {}

    def visit(page: Any) -> None:
        with page.expect_navigation():
            choose(page, "#streams", str(one.pk), str(two.pk))
        with page.expect_navigation():
            choose(page, "#categories", "negative")
        assert page.locator(".post").count() == 2
        with page.expect_navigation():
            page.fill("#q", "food")
            page.press("#q", "Enter")
        page.wait_for_selector("#status[data-state=live]")
        assert page.locator("#posts .post p").all_inner_texts() == ["the food awful today"]
        told["address"] = page.url

    in_browser(live_site, visit)

    def visit_again(page: Any) -> None:
        page.goto(told["address"])
        page.wait_for_selector("#status[data-state=live]")
        assert page.inner_text("#streams .chosen") == "2 streams"
        assert page.inner_text("#categories .chosen") == "Negative"
        assert page.input_value("#q") == "food"
        judge("the food terrible today", streams=[one], lang="en")
        judge("the city terrible today", streams=[one], lang="en")
        # The server counts words, so it is asked.
        page.locator(".post", has_text="the food terrible").wait_for(timeout=12000)
        assert page.locator(".post").count() == 2
        assert page.inner_text("[data-count=negative]") == "2"
        page.click(".clear")
        page.wait_for_selector("#status[data-state=live]")
        assert page.locator(".post").count() == 6

    in_browser(live_site, visit_again)


def test_a_post_says_why_it_is_judged_so(live_site: str, champion: ModelVersion) -> None:
    judge("😡 the food awful today")

    def visit(page: Any) -> None:
        why = page.get_by_role("button", name="Why?")
        why.focus()
        page.keyboard.press("Enter")
        page.locator(".why .judged").wait_for(timeout=10000)
        assert "Version 1 says" in page.inner_text(".why")
        marked = set(page.locator(".why mark").all_inner_texts())
        assert marked <= {"😡", "the", "food", "awful", "today"}
        page.evaluate("document.querySelectorAll('.why small').forEach((e) => e.remove())")
        assert page.inner_text(".why .judged") == "😡 the food awful today"
        assert why.get_attribute("aria-expanded") == "true"
        why.click()
        assert page.locator(".why").count() == 0

    in_browser(live_site, visit)


def test_a_bin_s_posts_are_shown_on_demand(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")
    judge("the train awful today", at=timezone.now() - timedelta(minutes=7))

    def visit(page: Any) -> None:
        page.click("#bins summary")
        row = page.locator("#bins tbody tr").last
        assert row.locator("td").all_inner_texts()[:4] == ["1", "0", "0", "1"]
        row.locator("button").click()
        page.wait_for_selector("dialog[open]")
        assert page.locator("#bin-posts .post p").all_inner_texts() == ["the train awful today"]
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        page.click("[data-mode=net]")
        until(page, "document.getElementById('timeline').data.some((t) => t.name === 'Net')")
        until(page, "document.querySelector('#timeline .nsewdrag')")
        page.evaluate(
            "document.getElementById('timeline').emit('plotly_click',"
            " {points: [{data: document.getElementById('timeline').data[2], pointNumber: 0}]})"
        )
        page.wait_for_selector("dialog[open]")
        assert page.locator("#bin-posts .post p").all_inner_texts() == ["the train awful today"]

    in_browser(live_site, visit)


def test_the_chart_leaves_as_picture_and_file(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")

    def visit(page: Any) -> None:
        with page.expect_download() as csv:
            page.click("#csv")
        assert csv.value.suggested_filename.startswith("sentiment-15m-")
        with page.expect_download() as png:
            page.click("#png")
        assert png.value.suggested_filename == "sentiment-15m.png"
        with open(png.value.path(), "rb") as picture:
            assert picture.read(8) == b"\x89PNG\r\n\x1a\n"

    in_browser(live_site, visit, accept_downloads=True)


def test_a_report_is_one_printed_page(live_site: str, champion: ModelVersion) -> None:
    for name in "abcdefgh":
        judge(f"the food awful today #{name} 😡", streams=[make_stream(name)], lang="en")

    def visit(page: Any) -> None:
        page.wait_for_selector("#by-stream li")
        pdf = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1

    in_browser(live_site, visit)


def test_a_busy_model_is_asked_again(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        busy = {"times": 0}

        def answer(route: Any) -> None:
            busy["times"] += 1
            if busy["times"] == 1:
                route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")
            else:
                route.continue_()

        page.route("**/predict", answer)
        page.type("#try-text", "the song wonderful today", delay=10)
        page.locator("#try-result", has_text="asking again in 1 s").wait_for(timeout=5000)
        page.wait_for_selector("#try-result strong")
        # One question for all the keys, and one more.
        assert busy["times"] == 2

    in_browser(live_site, visit, forgiven="503")


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
        page.locator(".post", has_text="the food awful").wait_for(timeout=5000)

    in_browser(live_site, visit)
