"""Pages as a browser set to German shows them, on a phone."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from modeling.models import LabelScheme, ModelVersion
from tests.dashboard.browser import PHONE, browser_test, in_browser, judge
from tests.dashboard.test_model_pages_browser import populated

pytestmark = browser_test


def test_a_browser_in_germany_reads_german(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")

    def visit(shown: Any) -> None:
        shown.locator(".post").wait_for()
        text = shown.inner_text("body")
        for german in (
            "Neueste Beiträge",
            "Die Stimmung ist sehr negativ",
            "Warum?",
            "Nettostimmung",
        ):
            assert german in text
        for english in ("Newest posts", "The mood", "Why?", "Net sentiment", "Side by side"):
            assert english not in text
        assert shown.inner_text("#net") == "−1,00"
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        choices = shown.locator(".foot button")
        boxes = [choices.nth(number).bounding_box() for number in range(choices.count())]
        assert [box["height"] for box in boxes] == [32, 32], "as high as the page's other controls"

    in_browser(live_site, visit, locale="de-DE", viewport=PHONE)


def test_the_pages_about_the_model_and_their_charts_are_german_and_fit_a_phone(
    live_site: str, make_version: Callable[..., ModelVersion], scheme: LabelScheme
) -> None:
    paths = populated(make_version, scheme)
    axes = {
        "/models/": ("Makro-Recall", "0,80"),
        "/models/2/": ("vom Modell erkannt als", "80\xa0%"),
        "/models/reports/": ("wahr bei eingeordneten Beiträgen", "90\xa0%"),
    }

    def visit(page: Any) -> None:
        for path in paths:
            page.goto(live_site + path)
            for chart in page.locator("[data-figure]").all():
                expect(chart.locator(".main-svg").first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
            drawn = " ".join(page.locator("[data-figure] svg text").all_text_contents())
            for german in axes.get(path, ()):
                assert german in drawn, path

    in_browser(live_site, visit, locale="de-DE", viewport=PHONE)
