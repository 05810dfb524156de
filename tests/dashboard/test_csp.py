"""The Content-Security-Policy: on every page, strict, and kept by what the pages load."""

import json
import re
from pathlib import Path
from typing import Any

import plotly
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from modeling.models import ModelVersion
from tests.chromium import CHROMIUM
from tests.dashboard.browser import PATIENCE_MS, on_sqlite, session_of, sign_in, with_chromium

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
HTML = {"Accept": "text/html"}
# Redoc asks its makers' host for their logo; that the policy stops it is well.
LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
LISTEN = """
addEventListener('securitypolicyviolation', (event) => {
  console.error(`Blocked ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:`
    + `${event.lineNumber} ${event.sample}`);
});
"""


def directives(policy: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in policy.split(";"))}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/login/", "/admin/login/", "/docs", "/docs/redoc", "/nowhere", "/health"]
)
def test_every_answer_has_the_policy(client: Client, path: str) -> None:
    policy = directives(client.get(path, headers=HTML).headers["Content-Security-Policy"])
    assert policy["default-src"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert policy["script-src"][0] == "'self'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(policy["script-src"])
    assert ("'unsafe-inline'" in policy["style-src"]) == (path == "/docs/redoc")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/login/", "/docs", "/docs/redoc"])
def test_pages_hold_no_inline_script_style_or_handler(client: Client, path: str) -> None:
    page = client.get(path, headers=HTML).content.decode()
    for tag in re.findall(r"<script\b[^>]*>", page):
        assert "src=" in tag or 'type="application/json"' in tag
    assert not re.search(r"<style\b|\son\w+=|\sstyle=|javascript:", page)


def test_plotly_s_style_sheet_is_the_package_s() -> None:
    """A newer package may have other rules: then `static/css/plotly.css` needs them."""
    package = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    script = package.read_text(encoding="utf-8")
    rules = re.findall(r'"X \.((?:main-svg|crisp|cursor|user-select|ease)[^"]*)":"', script)
    ours = (Path(settings.BASE_DIR) / "static/css/plotly.css").read_text(encoding="utf-8")
    assert len(rules) > 15
    assert [rule for rule in rules if f".js-plotly-plot .plotly .{rule} {{" not in ours] == []
    assert ".no-inline-styles" in script


def problems_of(site: str, paths: list[str], session: str) -> dict[str, list[str]]:
    """What Chromium complains of, by page."""
    found: dict[str, list[str]] = {}

    def visit(context: Any, path: str) -> list[str]:
        told: list[str] = []
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda m: m.type == "error" and told.append(m.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on(
            "request",
            lambda r: r.url.startswith((site, "data:", "blob:")) or told.append(f"left: {r.url}"),
        )
        page.goto(site + path)
        page.wait_for_load_state("load")
        if path.startswith("/docs"):
            page.get_by_text("Sentiment API").first.wait_for()
        page.wait_for_timeout(500)
        page.close()
        return [text for text in told if path != "/docs/redoc" or LOGO not in text]

    def work(browser: Any) -> None:
        context = browser.new_context()
        context.add_init_script(LISTEN)
        sign_in(context, site, session)
        found.update({path: visit(context, path) for path in paths})

    with_chromium(work)
    return found


@needs_browser
@on_sqlite
@pytest.mark.browser
@pytest.mark.timeout(400)
@pytest.mark.django_db(transaction=True)
def test_no_page_breaks_the_policy(
    live_site: str, champion: ModelVersion, admin_user: User
) -> None:
    paths = [
        *("/", "/login/", "/docs", "/docs/redoc", "/admin/", "/admin/ingestion/post/"),
        *("/admin/modeling/modelversion/", "/admin/django_celery_beat/periodictask/add/"),
        *("/admin/ingestion/stream/add/", "/admin/auth/user/add/"),
    ]
    problems = problems_of(live_site, paths, session_of(admin_user))
    assert set(problems) == set(paths)
    broken = {path: told for path, told in problems.items() if told}
    assert broken == {}, json.dumps(broken, indent=1)
