"""Times on the live page are by the viewer's own clock, also when clocks change."""

from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser import browser_test, in_browser, shows, until
from tests.dashboard.factories import judged
from tests.dashboard.test_outages_browser import outage

pytestmark = browser_test

LAYOUT = "document.getElementById('timeline').layout"
# As `ticks` of static/js/zone.js tells them, ISO moment and words.
TICKS = """async ([from, to, most]) => {
  const { ticks } = await import("/static/js/zone.js");
  return ticks(Date.parse(from), Date.parse(to), most)
    .map((tick) => [new Date(tick.at).toISOString().slice(0, 16), tick.text]);
}"""


def drawn(page: Any) -> tuple[list[str], list[str], str]:
    """Where the axis has ticks, what they say, and its title."""
    until(page, f"!!{LAYOUT}?.xaxis?.ticktext?.length")
    axis = page.evaluate(f"{LAYOUT}.xaxis")
    return axis["tickvals"], axis["ticktext"], axis["title"]["text"]


@pytest.mark.parametrize(
    ("zone", "hours", "told", "name"),
    [
        ("Australia/Adelaide", 10.5, "10:05 PM", "Australia/Adelaide (GMT+10:30)"),
        ("America/New_York", -5, "6:35 AM", "America/New_York (EST)"),
        ("UTC", 0, "11:35 AM", "UTC"),
    ],
)
def test_axis_hover_and_table_are_by_the_viewer_s_clock(
    live_site: str, zone: str, hours: float, told: str, name: str
) -> None:
    judged("old", at=datetime(2015, 2, 24, 11, 35, tzinfo=UTC))
    judged("old", at=datetime(2015, 2, 24, 10, 5, tzinfo=UTC))

    def visit(page: Any) -> None:
        places, words, title = drawn(page)
        assert title == name
        assert page.text_content("#timeline .xtitle") == name
        for place, word in zip(places, words, strict=True):
            at = datetime.fromisoformat(place.replace("Z", "+00:00"))
            minutes = round((at.hour + hours) * 60 + at.minute) % 1440
            assert word.startswith(f"{minutes // 60:02}:{minutes % 60:02}")
        page.click("#bins summary")
        # Filled once it is open.
        expect(page.locator("#bins thead th").first).to_have_text(f"From, {name}")
        newest = page.locator("#bins tbody button").first.inner_text()
        assert newest.replace("\u202f", " ") == f"Feb 24, 2015, {told}"
        page.hover("#timeline .nsewdrag", position={"x": 40, "y": 40})
        box = page.locator("#timeline .hoverlayer .legend")
        box.wait_for()
        clock = f"{round(10 * 60 + 5 + hours * 60) % 1440 // 60:02}:"
        assert clock in (box.text_content() or "")

    in_browser(live_site, visit, timezone_id=zone, locale="en-US")


def test_when_clocks_change_every_hour_is_drawn_once(live_site: str) -> None:
    def visit(page: Any) -> None:
        # Berlin's 02:00 to 03:00 comes twice on the 25th of October 2026, and not on 29 March.
        back = page.evaluate(TICKS, ["2026-10-24T22:00Z", "2026-10-25T04:00Z", 8])
        assert back == [
            ["2026-10-24T22:00", "00:00<br>Oct 25"],
            ["2026-10-24T23:00", "01:00"],
            ["2026-10-25T00:00", "02:00"],
            ["2026-10-25T01:00", "02:00"],
            ["2026-10-25T02:00", "03:00"],
            ["2026-10-25T03:00", "04:00"],
            ["2026-10-25T04:00", "05:00"],
        ]
        ahead = page.evaluate(TICKS, ["2026-03-28T23:00Z", "2026-03-29T03:00Z", 8])
        assert [text.split("<")[0] for _, text in ahead] == [
            *("00:00", "00:30", "01:00", "01:30", "03:00", "03:30", "04:00", "04:30", "05:00")
        ]
        days = page.evaluate(TICKS, ["2026-10-23T12:00Z", "2026-10-28T12:00Z", 5])
        assert [at for at, _ in days] == [
            *("2026-10-23T22:00", "2026-10-24T22:00", "2026-10-25T23:00", "2026-10-26T23:00"),
            "2026-10-27T23:00",
        ]
        months = page.evaluate(TICKS, ["2026-01-15T00:00Z", "2027-01-15T00:00Z", 5])
        assert [text for _, text in months] == ["Apr 2026", "Jul 2026", "Oct 2026", "Jan 2027"]
        name = page.evaluate(
            """async () => (await import("/static/js/zone.js"))
            .zoneName(Date.parse("2026-10-24"), Date.parse("2026-10-26"))"""
        )
        assert name == "Europe/Berlin (GMT+2, GMT+1)"

    in_browser(live_site, visit, timezone_id="Europe/Berlin", locale="en-US")


def test_outages_are_told_by_the_viewer_s_clock(live_site: str) -> None:
    judged("the food awful today")
    outage(started_at=datetime(2026, 1, 15, 9, tzinfo=UTC), ended_at=None, state="open")

    def visit(page: Any) -> None:
        shows(page, "#gap-list li", "since Jan 15 14:30 GMT+5:30", whole=False)

    in_browser(live_site, visit, timezone_id="Asia/Kolkata", locale="en-US")
