"""A comparison on the live page, in a real browser."""

import re
from datetime import timedelta
from typing import Any

from django.utils import timezone

from tests.dashboard.browser import PHONE, aside, browser_test, choose, in_browser, shows, until
from tests.dashboard.factories import judge, judged, make_posts, make_stream

pytestmark = browser_test

TRACES = "document.getElementById('timeline').data"


def many(number: int, category: str, **fields: Any) -> None:
    streams = fields.pop("streams", ())
    posts = make_posts(number, **fields)
    for post in posts:
        post.streams.set(streams)
    judge(*posts, category=category)


def open_comparison(page: Any, site: str, query: str) -> None:
    page.goto(f"{site}/?{query}")
    page.wait_for_selector("#status[data-state=live]")
    page.wait_for_selector("#compare tbody tr")


def test_two_streams_are_chosen_in_the_bar_and_shown_side_by_side(live_site: str) -> None:
    one, two = make_stream("one"), make_stream("two")
    many(20, "positive", streams=[one], text="the #sunny weather")
    many(20, "negative", streams=[two], text="a #delayed train")

    def visit(page: Any) -> None:
        with page.expect_navigation():
            choose(page, "#streams", str(one.pk))
        with page.expect_navigation():
            choose(page, "#against", str(two.pk))
        assert f"against={two.pk}" in page.url and f"stream={one.pk}" in page.url
        page.wait_for_selector("#compare tbody tr")
        shows(page, "#against .chosen", "against two")
        shows(page, "#side-this", "one")
        shows(page, "#side-other", "two")
        assert page.inner_text("#verdict").startswith("Net sentiment is 2.00 higher than in “two”")
        net = page.locator("#compare tbody tr").first
        assert net.locator("td").all_inner_texts()[:2] == ["+1.00", "−1.00"]
        assert net.locator("td").last.inner_text() == "higher"
        shows(page, "#apart-this", "#sunny", whole=False)
        shows(page, "#apart-other", "#delayed", whole=False)
        until(page, f"{TRACES}?.some((t) => t.side === 'other' && t.name === 'two')")
        for mode, traces in (("share", 3), ("count", 1), ("net", 3)):
            page.click(f"[data-mode={mode}]")
            until(page, f"{TRACES}.filter((t) => t.side === 'other').length === {traces}")
        assert page.locator("#other-legend").is_visible()
        page.click("#bins + .export #csv", trial=True)
        assert f"against={two.pk}" in page.get_attribute("#csv", "href")

    in_browser(live_site, visit)


def test_the_period_before_is_aligned_and_its_bins_open_its_posts(live_site: str) -> None:
    many(10, "positive", text="lovely game")
    before = timezone.now() - timedelta(minutes=70)
    many(10, "negative", text="awful game", at=before)

    def visit(page: Any) -> None:
        open_comparison(page, live_site, "range=1h&against=before")
        shows(page, "#verdict", "than in the period before", whole=False)
        other = f"{TRACES}?.find((t) => t.side === 'other' && t.customdata)"
        until(page, f"{other}?.x.length === 1")
        shown = page.evaluate(f"Date.parse({other}.x[0])") / 1000
        minute = before.replace(second=0, microsecond=0).timestamp()
        assert shown == minute + 3600
        until(page, "document.querySelector('#timeline .nsewdrag')")
        page.evaluate(
            "document.getElementById('timeline').emit('plotly_click',"
            f" {{points: [{{data: {other}, pointNumber: 0}}]}})"
        )
        page.wait_for_selector("dialog[open]")
        assert page.locator("#bin-posts .post").count() == 10
        shows(page, "#bin-posts", "awful game", whole=False)

    in_browser(live_site, visit)


def test_a_period_of_one_s_own_is_chosen_by_the_viewer_s_clock(live_site: str) -> None:
    many(5, "positive")

    def visit(page: Any) -> None:
        page.click("#against summary")
        page.fill("#against [name=since]", "2026-01-15T09:30")
        assert page.is_checked("#against [value=since]")
        with page.expect_navigation():
            page.click("#against button")
        # Kolkata is five and a half hours ahead.
        assert "since=2026-01-15T04%3A00Z" in page.url
        page.wait_for_selector("#compare tbody tr")
        assert page.input_value("#against [name=since]") == "2026-01-15T09:30"
        shows(page, "#side-other", "09:30", whole=False)

    in_browser(live_site, visit, timezone_id="Asia/Kolkata")


def test_new_posts_reach_the_comparison(live_site: str) -> None:
    many(5, "positive")
    many(5, "positive", at=timezone.now() - timedelta(minutes=70))

    def visit(page: Any) -> None:
        open_comparison(page, live_site, "range=1h&against=before")
        posts = page.locator("#compare tbody tr").last.locator("td").first
        assert posts.inner_text() == "5"
        aside(lambda: judged("one more", category="negative"))
        until(
            page,
            "[...document.querySelectorAll('#compare tbody tr')].pop().cells[1].innerText === '6'",
            30,
        )

    in_browser(live_site, visit)


def test_a_wrong_comparison_is_said_and_the_page_goes_on(live_site: str) -> None:
    many(5, "positive")

    def visit(page: Any) -> None:
        page.goto(f"{live_site}/?range=all&against=before")
        page.wait_for_selector("#status[data-state=live]")
        shows(page, "#problem", "Choose a shorter time range", whole=False)
        assert page.locator("#compare").count() == 0 and page.locator(".post").count() == 5

    in_browser(live_site, visit)


def test_a_comparison_that_cannot_be_read_says_so(live_site: str) -> None:
    many(5, "positive")

    def visit(page: Any) -> None:
        page.route("**/live/compare/**", lambda route: route.fulfill(status=503, body="{}"))
        page.goto(f"{live_site}/?range=1h&against=before")
        page.locator("#verdict", has_text="cannot be read now").wait_for()

    in_browser(live_site, visit, forgiven="503")


def test_a_comparison_fits_a_phone_and_a_printed_page(live_site: str) -> None:
    words = "weather train music garden kitchen football winter #a #b #c #d 😀 😡 🎉"
    many(20, "positive", text=words, streams=[make_stream(name) for name in "abcdefgh"])
    many(20, "negative", text="#late again and again", at=timezone.now() - timedelta(minutes=70))

    def visit(page: Any) -> None:
        open_comparison(page, live_site, "range=1h&against=before")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.wait_for_selector("#by-stream li")
        pdf = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1
        page.emulate_media(media="print")
        assert page.locator("#verdict").is_visible() and page.locator("#compare table").is_visible()

    in_browser(live_site, visit, viewport=PHONE)
