"""What one asks of the live page, in a real browser: filters, reasons, bins, files, print."""

import re
from datetime import timedelta
from typing import Any

from django.utils import timezone

from modeling.models import ModelVersion
from tests.dashboard.browser import PHONE, browser_test, choose, in_browser, judge, shows, until
from tests.dashboard.factories import make_stream

pytestmark = browser_test


def test_what_one_types_is_judged(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        page.fill("#try-text", "the song wonderful today")
        page.wait_for_selector("#try-result strong")
        assert page.inner_text("#try-result strong").startswith("Positive")

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
        # By a clock of the test's: a machine that is busy lets time pass between two keys.
        page.clock.install()
        page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
        page.type("#try-text", "the song wonderful today")
        page.clock.run_for(250)
        page.locator("#try-result", has_text="asking again in 1 s").wait_for()
        page.clock.run_for(1000)
        page.wait_for_selector("#try-result strong")
        # One question for all the keys, and one more.
        assert busy["times"] == 2

    in_browser(live_site, visit, forgiven="503")


def test_a_phone_needs_no_sideways_scrolling(live_site: str, champion: ModelVersion) -> None:
    judge("https://example.org/" + "long" * 40 + " the food awful today")

    def visit(page: Any) -> None:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360

    in_browser(live_site, visit, viewport=PHONE)


MARKUP = "</script><img src=x onerror=window.taken=1><b>bold</b> &amp; the food awful today"


def test_a_post_s_markup_is_shown_as_text(live_site: str, champion: ModelVersion) -> None:
    judge(MARKUP, author_username="<i>ada</i>")

    def visit(page: Any) -> None:
        judge(f"live {MARKUP}")
        page.locator(".post", has_text="live ").wait_for()
        shows(page, ".post p", [f"live {MARKUP}", MARKUP])
        assert "@<i>ada</i>" in page.locator(".post").last.inner_text()
        assert page.locator(".post img, .post b, .post i:not(.meter i)").count() == 0
        assert page.evaluate("window.taken") is None

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
        shows(page, "#posts .post p", ["the food awful today"])
        told["address"] = page.url

    in_browser(live_site, visit)

    def visit_again(page: Any) -> None:
        page.goto(told["address"])
        page.wait_for_selector("#status[data-state=live]")
        shows(page, "#streams .chosen", "2 streams")
        shows(page, "#categories .chosen", "Negative")
        assert page.input_value("#q") == "food"
        judge("the food terrible today", streams=[one], lang="en")
        judge("the city terrible today", streams=[one], lang="en")
        # The server counts words, so it is asked.
        page.locator(".post", has_text="the food terrible").wait_for()
        assert page.locator(".post").count() == 2
        shows(page, "[data-count=negative]", "2")
        with page.expect_navigation():
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
        page.locator(".why .judged").wait_for()
        shows(page, ".why", "Version 1 says", whole=False)
        marked = set(page.locator(".why mark").all_inner_texts())
        assert marked <= {"😡", "the", "food", "awful", "today"}
        page.evaluate("document.querySelectorAll('.why small').forEach((e) => e.remove())")
        shows(page, ".why .judged", "😡 the food awful today")
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
        row.locator("button").wait_for()
        assert row.locator("td").all_inner_texts()[:4] == ["1", "0", "0", "1"]
        row.locator("button").click()
        page.wait_for_selector("dialog[open]")
        shows(page, "#bin-posts .post p", ["the train awful today"])
        page.keyboard.press("Escape")
        page.locator("dialog[open]").wait_for(state="detached")
        page.click("[data-mode=net]")
        until(page, "document.getElementById('timeline').data.some((t) => t.name === 'Net')")
        until(page, "document.querySelector('#timeline .nsewdrag')")
        page.evaluate(
            "document.getElementById('timeline').emit('plotly_click',"
            " {points: [{data: document.getElementById('timeline').data[2], pointNumber: 0}]})"
        )
        page.wait_for_selector("dialog[open]")
        shows(page, "#bin-posts .post p", ["the train awful today"])

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
