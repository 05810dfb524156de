"""What an open page says when the model changes, and when it cannot be brought up to date."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from django.db.models import F
from django.utils import timezone

from dashboard.models import SentimentBucket, SentimentPeriod
from ingestion.models import Post
from modeling.models import LabelScheme, ModelVersion, Prediction, Promotion
from tests.conftest import serve
from tests.dashboard.browser import (
    aside,
    browser_test,
    complete,
    in_browser,
    judge,
    shows,
    until,
)
from tests.dashboard.factories import judged, make_post
from tests.ports import reserved_port

pytestmark = browser_test

LAYOUT = "document.getElementById('timeline').layout"
# Every text that comes into a region which a screen reader reads out.
LISTEN = """() => {
  window.heard = [];
  for (const region of document.querySelectorAll("[role=status]")) {
    new MutationObserver((changes) => {
      for (const change of changes) heard.push(...[...change.addedNodes].map((n) => n.textContent));
    }).observe(region, { childList: true, subtree: true });
  }
}"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def promote(old: ModelVersion, new: ModelVersion, reason: str) -> None:
    scheme = LabelScheme.objects.get(key=LabelScheme.DEFAULT_KEY)
    ModelVersion.objects.filter(pk=old.pk).update(stage=ModelVersion.Stage.ARCHIVED)
    ModelVersion.objects.filter(pk=new.pk).update(stage=ModelVersion.Stage.CHAMPION)
    Promotion.objects.create(
        scheme=scheme, version=new, previous=old, reason=reason, promoted_at=timezone.now()
    )


def test_a_promotion_is_seen_on_the_open_page_at_once_and_announced_once(
    live_site: str, champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    judge("the food awful today")
    better = make_version(2)

    def visit(page: Any) -> None:
        page.wait_for_selector("#by-source li")
        # What is asked for has no answer: the chart knows it from the message.
        page.route("**/live/details/**", lambda route: None)
        page.evaluate(LISTEN)
        aside(lambda: promote(champion, better, "it is better"))
        page.locator(".toast", has_text="Version 2 classifies from now on.").wait_for()
        shows(page, "#model-version", "2")
        until(page, f"{LAYOUT}.annotations.some((each) => each.text === 'v2')")
        until(page, f"{LAYOUT}.shapes.some((each) => each.type === 'line')")
        assert "it is better" in page.evaluate(f"{LAYOUT}.annotations[0].hovertext")
        judge("the train awful today")
        page.locator(".post", has_text="the train").wait_for()
        heard = page.evaluate("heard")
        assert [text for text in heard if "Version 2" in text] == [
            "Version 2 classifies from now on."
        ]
        # A state that stays is not read out with every message.
        assert "live" not in heard

    in_browser(live_site, visit)


def test_a_promotion_that_was_missed_is_told_when_the_page_is_back(
    transactional_db: None,
    champion: ModelVersion,
    make_version: Callable[..., ModelVersion],
) -> None:
    better = make_version(2)
    with reserved_port() as port, ExitStack() as servers:
        site = servers.enter_context(serve(port))

        def visit(page: Any) -> None:
            page.clock.install()
            servers.close()
            page.wait_for_selector("#status[data-state=reconnecting]")
            page.locator("#away", has_text="The server does not answer").wait_for()
            aside(lambda: promote(champion, better, ""))
            # The page does not try by itself: its clock stands still.
            page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
            servers.enter_context(serve(port))
            page.get_by_role("button", name="Try now").click()
            page.wait_for_selector("#status[data-state=live]")
            page.locator(".toast", has_text="Version 2").wait_for()
            until(page, "document.getElementById('away').textContent === ''")

        in_browser(site, visit, forgiven="ERR_CONNECTION_REFUSED")


def test_offline_is_said_and_ends_by_itself(live_site: str, champion: ModelVersion) -> None:
    def visit(page: Any) -> None:
        sockets: list[Any] = []
        page.route_web_socket(
            "**/ws/live/**",
            lambda socket: sockets.append((socket, socket.connect_to_server())),
        )
        page.reload()
        complete(page)
        page.route_web_socket("**/ws/live/**", lambda socket: socket.close())
        page.context.set_offline(True)
        sockets[-1][0].close()
        page.wait_for_selector("#status[data-state=offline]")
        page.locator("#away", has_text="This device is offline").wait_for()
        page.route_web_socket("**/ws/live/**", lambda socket: socket.connect_to_server())
        page.context.set_offline(False)
        page.wait_for_selector("#status[data-state=live]")
        until(page, "document.getElementById('away').textContent === ''", 60)

    in_browser(live_site, visit, forgiven="ERR_INTERNET_DISCONNECTED")


def test_a_client_that_missed_a_message_asks_for_everything(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        lost: list[str] = []
        asked: list[str] = []

        def relay(socket: Any) -> None:
            server = socket.connect_to_server()

            def to_page(text: str) -> None:
                # The first tick with posts is lost on its way.
                if not lost and json.loads(text).get("counts"):
                    lost.append(text)
                else:
                    socket.send(text)

            server.on_message(to_page)
            socket.on_message(lambda text: (asked.append(text), server.send(text)))

        page.route_web_socket("**/ws/live/**", relay)
        page.reload()
        page.wait_for_selector("#status[data-state=live]")
        judge("the food awful today")
        page.locator(".post", has_text="the food").wait_for()
        until(page, "document.querySelector('[data-count=negative]').textContent === '1'")
        assert len(lost) == 1 and asked == ["snapshot"]

    in_browser(live_site, visit)


def test_a_hidden_tab_catches_up_when_it_is_looked_at(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        page.evaluate(HIDE, True)
        for number in range(3):
            judge(f"the food awful today {number}", lang="en")
        until(page, "document.querySelector('[data-count=negative]').textContent === '3'")
        shows(page, "#headline", "Waiting for the first posts.")
        page.evaluate(HIDE, False)
        page.locator("#headline", has_text="100% of 3 posts are negative").wait_for()
        page.wait_for_selector("#by-language li")

    in_browser(live_site, visit)


def test_a_tab_whose_connection_was_put_to_sleep_comes_back(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        sockets: list[Any] = []

        def relay(socket: Any) -> None:
            socket.connect_to_server()
            sockets.append(socket)

        page.route_web_socket("**/ws/live/**", relay)
        page.reload()
        page.wait_for_selector("#status[data-state=live]")
        page.evaluate(HIDE, True)
        sockets[-1].close()
        judge("the food awful today")
        page.evaluate(HIDE, False)
        page.locator(".post", has_text="the food").wait_for()
        page.wait_for_selector("#status[data-state=live]")
        assert len(sockets) >= 2

    in_browser(live_site, visit)


def test_numbers_that_cannot_be_read_are_said_and_asked_for_again(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        page.route("**/live/d*/**", lambda route: route.fulfill(status=503, body="{}"))
        page.evaluate(HIDE, True)
        judge("the food awful today")
        until(page, "document.querySelector('[data-count=negative]').textContent === '1'")
        page.evaluate(HIDE, False)
        page.locator("#away", has_text="cannot be brought up to date").wait_for()
        page.unroute("**/live/d*/**")
        page.get_by_role("button", name="Try now").click()
        page.locator("#headline", has_text="100% of 1 post is").wait_for()
        until(page, "document.getElementById('away').textContent === ''")

    in_browser(live_site, visit, forgiven="503")


def test_what_has_left_the_window_leaves_the_page_though_nothing_comes(
    live_site: str, champion: ModelVersion
) -> None:
    def visit(page: Any) -> None:
        # Whoever asks for words is brought up to date every 5 s.
        page.goto(f"{live_site}/?range=15m&q=food")
        complete(page)
        judge("the food awful today")
        page.locator("#headline", has_text="100% of 1 post is").wait_for()
        page.locator("#posts", has_text="the food awful").wait_for()
        aside(an_hour_later)
        # The timers go on as before: no silent socket is taken for a dead one, and opened anew.
        page.clock.set_fixed_time(page.evaluate("Date.now()") / 1000 + 90)
        until(page, "document.querySelector('[data-count=negative]').textContent === '0'")
        until(page, "!document.getElementById('posts').textContent.includes('awful')")

    in_browser(live_site, visit)


def an_hour_later() -> None:
    hour = timedelta(hours=1)
    Post.objects.update(created_at=F("created_at") - hour)
    Prediction.objects.update(created_at=F("created_at") - hour)
    SentimentBucket.objects.update(minute=F("minute") - hour)
    SentimentPeriod.objects.update(start=F("start") - timedelta(days=1))


def test_a_view_without_posts_says_so_in_each_place(live_site: str) -> None:
    judged("the game")
    make_post("unjudged")

    def visit(page: Any) -> None:
        page.goto(f"{live_site}/?range=1h&q=zebra")
        complete(page)
        shows(page, "#headline", "with these words", whole=False)
        assert page.locator("#no-posts").is_visible()
        assert page.locator("#hashtags .empty").is_visible()
        assert page.inner_text("#terms").count("not enough posts yet") == 3
        until(page, f"{LAYOUT}?.annotations?.some((each) => each.text === 'No posts in this time')")

    in_browser(live_site, visit)
