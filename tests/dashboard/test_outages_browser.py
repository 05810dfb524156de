"""Outages and sources on the live page, in a real browser."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from ingestion.models import Connection, Gap, MonthlyUsage
from modeling.models import ModelVersion
from tests.dashboard.browser import PHONE, aside, browser_test, in_browser, judge, shows, until

pytestmark = browser_test


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
        page.locator("#gap-list li.open").wait_for()
        shows(page, "#gap-list li.open", "X is away since", whole=False)
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
        page.locator("#alerts li", has_text="The token <b>was</b> revoked.").wait_for()
        assert page.locator("#alerts li").count() == 2
        shows(page, ".source[data-status=failed]", "failed: needs attention", whole=False)
        shows(page, ".source", "90 of 100 posts (90%)", whole=False)
        page.reload()
        page.wait_for_selector("#status[data-state=live]")
        assert page.locator("#alerts li").count() == 2
        aside(lambda: tell(status="stopped", last_error=""))
        page.locator("#alerts li", has_text="token").wait_for(state="detached")
        assert page.locator("#alerts li").count() == 1

    in_browser(live_site, visit)


def test_gaps_and_sources_fit_a_phone(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today")
    outage(detail="https://example.org/" + "long" * 40)
    Connection.objects.create(source="x", status="failed", last_error="long" * 60)

    def visit(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    in_browser(live_site, visit, viewport=PHONE)


def test_a_reconnection_that_missed_nothing_leaves_the_list(
    live_site: str, champion: ModelVersion
) -> None:
    now = timezone.now()

    def visit(page: Any) -> None:
        aside(lambda: outage(started_at=now, ended_at=None, state="open"))
        page.locator("#gap-list li.open").wait_for()
        ended = now + timedelta(milliseconds=300)
        aside(lambda: Gap.objects.update(state="filled", ended_at=ended))
        page.locator("#gaps").wait_for(state="hidden")
        until(page, "!document.getElementById('timeline').layout.shapes.length")

    in_browser(live_site, visit)


def test_a_view_of_old_posts_has_no_outage_of_today(live_site: str, champion: ModelVersion) -> None:
    judge("the food awful today", at=timezone.now() - timedelta(days=400))

    def visit(page: Any) -> None:
        aside(lambda: outage(started_at=timezone.now(), ended_at=None, state="open"))
        aside(lambda: Connection.objects.create(source="x", status="stopped"))
        # Both are told in one tick at the latest: the panel shows that it has come.
        page.locator(".source").wait_for()
        assert page.locator("#gaps").is_hidden()

    in_browser(live_site, visit)
