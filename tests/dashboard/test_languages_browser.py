"""The live page as a browser set to German shows it, on a phone."""

from typing import Any

from modeling.models import ModelVersion
from tests.dashboard.browser import PHONE, browser_test, in_browser, judge

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
