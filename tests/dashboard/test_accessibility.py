"""axe-core finds nothing to say about any page: both themes, on a desk and on a phone.

Playwright brings axe's source in by the debugger's door, so the pages keep their policy.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.contrib.auth.models import User
from django.utils import timezone

from ingestion.models import Alert, Connection, Gap, Stream
from ingestion.services import audit
from modeling.models import Annotation, Category, LabelScheme, ModelVersion
from modeling.services import annotate
from tests.dashboard.browser import (
    PATIENCE_MS,
    PHONE,
    browser_test,
    complete,
    on_sqlite,
    session_of,
    sign_in,
    until,
    with_chromium,
)
from tests.dashboard.factories import judge, judged, make_post, make_stream
from tests.dashboard.model_rows import (
    a_report,
    a_run,
    champion_and_rival,
    differing_predictions,
)

# Some seventy pages, of which each is quick.
pytestmark = [pytest.mark.timeout(1100), *browser_test, on_sqlite]

DESK = {"width": 1280, "height": 900}
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Rule → what it is not held against: markup that Swagger UI and Redoc write, and no style mends.
FORGIVEN = {
    # The title and the tabs of servers stand above Swagger's own <main>.
    "region": ".swagger-ui .information-container",
    # From the title to its operations both skip a level of headings.
    "heading-order": ".swagger-ui .opblock-tag, redoc h5",
    # A button that opens an operation holds a link to it.
    "nested-interactive": ".swagger-ui .opblock-summary-control",
}
RUN = """async ([source, options, forgiven]) => {
  if (!window.axe) { (0, eval)(source); }
  const {violations} = await axe.run(document, options);
  const counts = (id) => (node) =>
    !(id in forgiven && document.querySelector(node.target[0])?.matches(forgiven[id]));
  return violations.flatMap(({id, nodes}) => nodes.filter(counts(id)).map((node) =>
    `${id}: ${node.target.join(' ')} (${node.any.concat(node.all, node.none)[0]?.message})`));
}"""
EVERYTHING = {"runOnly": TAGS, "preload": False}
# What a narrow page, and what the other theme, may break that was well before.
NARROW = {
    "runOnly": ["color-contrast", "target-size", "scrollable-region-focusable"],
    "preload": False,
}
DARK = {"runOnly": ["color-contrast", "link-in-text-block"], "preload": False}
FILLED = [
    *("/", "/?range=24h&category=negative&q=game", "/?range=1h&stream=999"),
    *("/label/", "/label/review/", "/label/search/", "/label/search/?q=game"),
    *("/models/", "/models/2/", "/models/2/promote/", "/models/compare/?a=1&b=2"),
    *("/models/rollback/", "/models/runs/", "/models/runs/{run}/"),
    *("/models/reports/", "/models/reports/{report}/"),
    *("/admin/", "/admin/ingestion/post/", "/admin/ingestion/stream/"),
    *("/admin/ingestion/stream/{stream}/change/", "/admin/modeling/modelversion/"),
    *("/admin/modeling/modelversion/{version}/change/", "/admin/ingestion/gap/"),
    *("/admin/ingestion/stream/add/", "/admin/password_change/"),
    *("/admin/modeling/annotation/", "/admin/ingestion/auditentry/"),
]
EMPTY = [
    *("/", "/label/", "/label/review/", "/models/", "/models/compare/", "/models/runs/"),
    *("/models/reports/", "/models/rollback/", "/admin/ingestion/post/", "/admin/"),
]
STRANGE = ["/login/", "/admin/login/", "/nowhere"]
LISTS = [
    *("ingestion/post", "ingestion/stream", "ingestion/alert", "ingestion/auditentry"),
    *("ingestion/gap", "modeling/annotation", "modeling/modelversion", "modeling/trainingrun"),
    *("modeling/prediction", "auth/user"),
]
# What of a list of the admin's must be moved sideways, and what its first row's cells are called.
CARDS = """() => {
  const scroller = document.scrollingElement;
  const cells = [...document.querySelectorAll('#result_list tbody tr:first-child > [data-label]')];
  return {
    tooWide: [scroller, ...document.querySelectorAll('#content *')].filter((one) =>
      one.scrollWidth > one.clientWidth + 1 && ['auto', 'scroll'].includes(
        getComputedStyle(one).overflowX)).map((one) => one.className || one.tagName),
    width: scroller.scrollWidth - innerWidth,
    names: cells.filter((cell) => cell.tagName === 'TD').map((cell) =>
      JSON.parse(getComputedStyle(cell, '::before').content.replace('none', '""'))),
    wider: cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth).length,
  };
}"""


def violations(
    site: str, session: str, paths: list[str], strange: list[str]
) -> dict[str, list[str]]:
    """What axe says, by page; and which pages must be scrolled sideways on a phone."""
    found: dict[str, list[str]] = {}

    def work(browser: Any) -> None:
        for size in (DESK, PHONE):
            known = browser.new_context(viewport=size, reduced_motion="reduce")
            sign_in(known, site, session)
            stranger = browser.new_context(viewport=size, reduced_motion="reduce")
            for context, places in ((known, paths), (stranger, strange)):
                page = context.new_page()
                page.set_default_timeout(PATIENCE_MS)
                for path in places:
                    said = looked_at(page, site + path, is_narrow=size is PHONE)
                    found.setdefault(path, []).extend(said)

    with_chromium(work, seconds=1000)
    return {path: said for path, said in found.items() if said}


def looked_at(page: Any, address: str, *, is_narrow: bool) -> list[str]:
    page.emulate_media(color_scheme="light")
    answer = page.goto(address)
    assert answer.status == (404 if address.endswith("/nowhere") else 200), address
    page.wait_for_load_state("load")
    if page.locator("#status").count():
        complete(page)
    if page.locator("#sheet").count():
        until(page, "!document.getElementById('text').textContent.startsWith('Fetching')")
    if "/docs" in address:
        page.locator(".opblock, redoc h1").first.wait_for()
    until(page, "!document.querySelector('[data-figure]:not(:has(.main-svg))')")
    rules = NARROW if is_narrow else EVERYTHING
    said = [f"light: {one}" for one in page.evaluate(RUN, [AXE_SCRIPT, rules, FORGIVEN])]
    # The API's documentation is light in both.
    if "/docs" not in address:
        page.emulate_media(color_scheme="dark")
        said += [f"dark: {one}" for one in page.evaluate(RUN, [AXE_SCRIPT, DARK, FORGIVEN])]
    if is_narrow and (width := page.evaluate("document.documentElement.scrollWidth")) > 360:
        said.append(f"{width} pixels wide")
    return said


@pytest.fixture
def filled(make_version: Callable[..., ModelVersion], scheme: LabelScheme) -> dict[str, int]:
    """Rows for every part of every page; the ids that addresses name."""
    champion, rival = champion_and_rival(make_version)
    stream = make_stream()
    for category in ("negative", "neutral", "positive"):
        for number in range(3):
            judged(
                f"the game of {category} {number} 😡 #tag", category, streams=[stream], lang="en"
            )
    differing_predictions(champion, rival)
    now = timezone.now()
    Gap.objects.create(
        source="x",
        started_at=now - timedelta(minutes=9),
        ended_at=now - timedelta(minutes=4),
        cause="network",
        state="partial",
    )
    Connection.objects.create(source="x", status="failed", last_error="The token was revoked.")
    Alert.objects.create(kind="drift", key="sentiment", message="posts have changed")
    clashing_labels(scheme)
    run = a_run(scheme, version=rival, history=[{"epoch": 1, "loss": 0.5, "macro_recall": 0.8}])
    report = a_report(scheme, model_version=champion)
    return {"run": run.pk, "report": report.pk, "stream": stream.pk, "version": rival.pk}


def clashing_labels(scheme: LabelScheme) -> None:
    """A post on which two people differ, and one that was flagged."""
    categories = list(Category.objects.filter(scheme=scheme))
    post, odd = make_post("a game of two halves"), make_post("unreadable game")
    judge(post, odd)
    for name, category in zip(("ann", "bob"), categories, strict=False):
        person = User.objects.create_user(name)
        annotate.annotate(post, category, annotator=person)
    annotate.flag(odd, scheme, annotator=person)
    assert Annotation.objects.current().count() == 2


def test_pages_with_data_are_accessible(
    live_site: str, filled: dict[str, int], admin_user: User
) -> None:
    paths = [path.format(**filled) for path in FILLED]
    assert violations(live_site, session_of(admin_user), paths, STRANGE) == {}


def test_the_admin_s_lists_are_cards_on_a_phone(
    live_site: str, filled: dict[str, int], admin_user: User
) -> None:
    session = session_of(admin_user)
    audit.record("changed", Stream.objects.get(), audit.AT_A_SHELL, before={"name": "b" * 99})

    def work(browser: Any) -> None:
        context = browser.new_context(viewport=PHONE)
        sign_in(context, live_site, session)
        page = context.new_page()
        for name in LISTS:
            page.goto(f"{live_site}/admin/{name}/")
            seen = page.evaluate(CARDS)
            assert (seen["width"], seen["tooWide"], seen["wider"]) == (0, [], 0), name
            assert any(seen["names"]), name
        page.goto(f"{live_site}/admin/ingestion/post/")
        assert "Author username" in page.evaluate(CARDS)["names"]
        page.set_viewport_size(DESK)
        # With room it is a table, whose head names the columns.
        assert not any(page.evaluate(CARDS)["names"])
        assert page.locator("thead .column-author_username").is_visible()

    with_chromium(work)


def test_the_api_s_documentation_is_accessible(live_site: str, admin_user: User) -> None:
    paths = ["/docs", "/docs/redoc"]
    assert violations(live_site, session_of(admin_user), paths, []) == {}


def test_empty_pages_are_accessible(live_site: str, admin_user: User) -> None:
    assert violations(live_site, session_of(admin_user), EMPTY, []) == {}
