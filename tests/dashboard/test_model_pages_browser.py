"""The pages about the model in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from modeling.models import LabelScheme, ModelVersion, Promotion, TrainingRun
from tests.dashboard.browser import PHONE, aside, browser_test, in_browser, until
from tests.dashboard.model_rows import (
    a_report,
    a_run,
    champion_and_rival,
    differing_predictions,
)

pytestmark = browser_test

Versions = Callable[..., ModelVersion]


def test_a_promotion_on_one_page_is_seen_on_another_that_is_open(
    live_site: str, make_version: Versions
) -> None:
    champion_and_rival(make_version)

    def visit(page: Any) -> None:
        page.evaluate("window.sameVisit = true")
        expect(page.locator("#model-version")).to_have_text("1")
        other = page.context.browser.new_page()
        other.goto(f"{live_site}/models/")
        other.get_by_role("link", name="Promote version 2").click()
        other.get_by_label("Why").fill("sounder on irony")
        other.get_by_role("button", name="Promote version 2").click()
        expect(other.get_by_text("Version 2 is the champion now.")).to_be_visible()
        expect(page.locator("#model-version")).to_have_text("2")
        other.get_by_role("link", name="Roll back to version 1").click()
        other.get_by_role("button", name="Roll back to version 1").click()
        expect(page.locator("#model-version")).to_have_text("1")
        assert page.evaluate("window.sameVisit") is True

    in_browser(live_site, visit)
    assert [entry.version.version for entry in Promotion.objects.select_related("version")] == [
        1,
        2,
    ]


def populated(make_version: Versions, scheme: LabelScheme) -> list[str]:
    """Rows for every page, with long words; the pages' addresses."""
    champion, rival = champion_and_rival(make_version)
    long = "https://example.org/" + "long" * 40
    ModelVersion.objects.filter(pk=rival.pk).update(base_model=long)
    run = a_run(
        scheme,
        version=rival,
        error=long,
        history=[{"epoch": n, "loss": 0.5, "macro_recall": 0.8} for n in (1, 2)],
        parameters={"base_model": long},
        options={"data": long},
    )
    Promotion.objects.create(scheme=scheme, version=champion, reason=long, actor=long[:150])
    differing_predictions(champion, rival)
    report = a_report(scheme, model_version=champion)
    a_report(scheme, model_version=champion)
    return [
        *("/models/", "/models/1/", "/models/2/", "/models/2/promote/"),
        "/models/compare/?a=1&b=2",
        *("/models/runs/", f"/models/runs/{run.pk}/"),
        *("/models/reports/", f"/models/reports/{report.pk}/"),
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_a_phone_and_draws_its_charts(
    live_site: str, make_version: Versions, scheme: LabelScheme, theme: str
) -> None:
    paths = populated(make_version, scheme)

    def visit(page: Any) -> None:
        for path in paths:
            page.goto(live_site + path)
            for chart in page.locator("[data-figure]").all():
                expect(chart.locator(".main-svg").first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
            unnamed = page.locator("table:not(:has(caption)), [data-figure]:not([aria-label])")
            assert unnamed.count() == 0, path
            assert page.locator("h1").count() == 1, path

    in_browser(live_site, visit, viewport=PHONE, color_scheme=theme)


def test_every_page_fits_desks_of_any_width(
    live_site: str, make_version: Versions, scheme: LabelScheme
) -> None:
    paths = populated(make_version, scheme)

    def visit(page: Any) -> None:
        for path in paths:
            page.goto(live_site + path)
            for width in (768, 1024, 1081, 1280, 1920):
                page.set_viewport_size({"width": width, "height": 900})
                # Charts follow in a moment of their own.
                until(page, f"document.documentElement.scrollWidth <= {width}")

    in_browser(live_site, visit)


def test_times_are_those_of_the_viewer(
    live_site: str, make_version: Versions, scheme: LabelScheme
) -> None:
    champion_and_rival(make_version)

    def visit(page: Any) -> None:
        page.goto(f"{live_site}/models/2/")
        # 10:00 UTC.
        told = page.locator('time[datetime="2026-03-01T10:00:00+00:00"]')
        expect(told).to_contain_text("19:00")
        assert told.get_attribute("title") == "2026-03-01 10:00:00 UTC"

    in_browser(live_site, visit, timezone_id="Asia/Tokyo", locale="en-GB")


def test_a_run_is_followed_to_its_end(
    live_site: str, champion: ModelVersion, scheme: LabelScheme
) -> None:
    run = a_run(scheme, status="running", progress=0.2, message="epoch 1 of 2", loss=0.9)

    def move(**fields: Any) -> None:
        aside(lambda: TrainingRun.objects.filter(pk=run.pk).update(**fields))

    def visit(page: Any) -> None:
        page.goto(f"{live_site}/models/runs/{run.pk}/")
        expect(page.locator("#run-message")).to_have_text("epoch 1 of 2")
        expect(page.locator("#no-epochs")).to_be_visible()
        points = "document.querySelector('[data-figure]').data[0].y.length"
        move(loss=0.8, losses=[[0.1, 1.0], [0.2, 0.9], [0.3, 0.8]])
        expect(page.locator("#run-loss")).to_have_text("0.800")
        assert page.evaluate(points) == 3
        expect(page.locator("#no-epochs")).to_be_visible()
        move(progress=0.6, history=[{"epoch": 1, "loss": 0.71, "macro_recall": 0.8}])
        expect(page.locator("#run-share")).to_have_text("60%")
        expect(page.locator(".epochs tbody tr")).to_have_count(1)
        move(status="failed", error="the disk is full")
        expect(page.get_by_text("the disk is full")).to_be_visible()
        expect(page.locator("#run-progress")).to_have_count(0)

    in_browser(live_site, visit)


def test_versions_are_chosen_and_compared_by_keyboard(
    live_site: str, make_version: Versions
) -> None:
    champion_and_rival(make_version)

    def visit(page: Any) -> None:
        page.goto(f"{live_site}/models/compare/?a=1&b=2")
        page.get_by_label("First").select_option("2")
        page.get_by_label("Second").select_option("1")
        page.get_by_role("button", name="Compare").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Version 2 and version 1")
        assert page.url.endswith("?a=2&b=1")

    in_browser(live_site, visit)
