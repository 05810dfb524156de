"""Pictures of every page, in both themes, on a desk and on a phone.

`make screenshots` writes them to `var/screenshots/` from a server that it starts by itself, with
models that it trains at the first call (some minutes) and a day of written posts.
`ARGS="--only live --sizes wide --full"` takes fewer, other or longer ones; `ARGS=--docs` renews
the README's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.chromium import ARGUMENTS, CHROMIUM
from tests.screenshots.site import LOGIN

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"desktop": (1440, 1000), "phone": (390, 844), "wide": (2560, 1440)}
THEMES = ("light", "dark")
# Name → address, and what is there when the page is.
PAGES = {
    "live": ("/?range=1h", "#by-stream li"),
    "live-filtered": ("/?range=24h&category=negative&category=positive&q=train", "#by-stream li"),
    "label": ("/label/", "#sheet:not([data-state=waiting])"),
    "label-review": ("/label/review/", ".case"),
    "label-search": ("/label/search/?q=train", ".pick"),
    "models": ("/models/", "h1"),
    "version": ("/models/2/", "h1"),
    "compare": ("/models/compare/?a=1&b=2", "h1"),
    "promote": ("/models/3/promote/", "#confirm-title"),
    "runs": ("/models/runs/", "table"),
    "run": ("/models/runs/2/", "h1"),
    "reports": ("/models/reports/", "h1"),
    "report": ("/models/reports/5/", "h1"),
    "login": ("/login/", "form"),
    "api": ("/docs", ".opblock"),
    "admin": ("/admin/", "#content"),
    "admin-posts": ("/admin/ingestion/post/", "#result_list"),
    "admin-streams": ("/admin/ingestion/stream/", "#result_list"),
    "admin-stream": ("/admin/ingestion/stream/1/change/", "form"),
    "admin-versions": ("/admin/modeling/modelversion/", "#result_list"),
    "admin-version": ("/admin/modeling/modelversion/2/change/", "form"),
    "admin-login": ("/admin/login/", "form"),
}
STRANGERS = {"login", "admin-login"}
# README's picture → page, size, theme.
DOCS = {
    "live": ("live", "desktop", "light"),
    "labelling": ("label", "desktop", "light"),
    "models": ("models", "desktop", "dark"),
    "phone": ("live", "phone", "dark"),
}
TRAINING_SECONDS = 1800
SEEDING_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PAGES, default=list(PAGES), metavar="PAGE")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["desktop", "phone"])
    parser.add_argument("--themes", nargs="+", choices=THEMES, default=list(THEMES))
    parser.add_argument("--full", action="store_true", help="The whole page, not what is in view.")
    parser.add_argument("--docs", action="store_true", help="Renew docs/images/ too.")
    parser.add_argument("--out", type=Path, default=ROOT / "var" / "screenshots")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("Chromium is not installed: `apt-get install chromium`")
    options.out.mkdir(parents=True, exist_ok=True)
    with _site(options.out / "site") as address:
        began = time.monotonic()
        taken = _shoot(address, options)
    print(f"{taken} pictures in {options.out}, in {time.monotonic() - began:.0f} s")


@contextmanager
def _site(folder: Path) -> Iterator[str]:
    """A server of its own, in a folder of its own, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **{k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}},
        **{"VAR_DIR": str(folder), "ENV_FILE": os.devnull},
        **{"API_REQUIRE_AUTH": "0", "SECURE_SITE": "0"},
    }
    program = [sys.executable, "-m", "tests.screenshots.site"]
    trained = folder / "trained.sqlite3"
    database = folder / "db.sqlite3"
    _remove(database)
    if not trained.exists():
        print("==> Training the models (once)", flush=True)
        subprocess.run(
            [*program, "models"], cwd=ROOT, env=environment, check=True, timeout=TRAINING_SECONDS
        )
        with closing(sqlite3.connect(database)) as built, closing(sqlite3.connect(trained)) as kept:
            built.backup(kept)
        _remove(database)
    shutil.copy(trained, database)
    # A newer version of the program may have newer tables.
    migrate = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True, timeout=SEEDING_SECONDS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print("==> Seeding a day of posts", flush=True)
    server = subprocess.Popen([*program, "serve", str(port)], cwd=ROOT, env=environment)
    try:
        _wait_for(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _remove(database: Path) -> None:
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SEEDING_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}; see above")
        try:
            with urllib.request.urlopen(f"{address}/model/info", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"the server did not answer within {SEEDING_SECONDS} s")


def _shoot(address: str, options: argparse.Namespace) -> int:
    from playwright.sync_api import sync_playwright

    taken = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for size in options.sizes:
            for theme in options.themes:
                width, height = SIZES[size]
                settings: dict[str, Any] = {
                    "viewport": {"width": width, "height": height},
                    "color_scheme": theme,
                    "reduced_motion": "reduce",
                    "has_touch": size == "phone",
                    "is_mobile": size == "phone",
                }
                stranger, known = browser.new_context(**settings), browser.new_context(**settings)
                _sign_in(known, address)
                for name in options.only:
                    context = stranger if name in STRANGERS else known
                    path = options.out / f"{name}-{size}-{theme}.png"
                    _take(context, address, name, path, is_full=options.full)
                    taken += 1
                    _keep_for_docs(path, name, size, theme, is_wanted=options.docs)
                stranger.close()
                known.close()
        browser.close()
    return taken


def _sign_in(context: Any, address: str) -> None:
    page = context.new_page()
    page.goto(f"{address}/login/")
    page.fill("[name=username]", LOGIN[0])
    page.fill("[name=password]", LOGIN[1])
    with page.expect_navigation():
        page.click("button.primary")
    page.close()


def _take(context: Any, address: str, name: str, path: Path, *, is_full: bool) -> None:
    place, shown = PAGES[name]
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(address + place)
    page.locator(shown).first.wait_for()
    page.locator("[data-figure]:not(:has(.main-svg))").first.wait_for(state="detached")
    # Charts that are drawn twice, fonts and pictures that come late.
    page.wait_for_load_state("load")
    page.wait_for_timeout(700)
    page.screenshot(path=path, full_page=is_full)
    page.close()


def _keep_for_docs(path: Path, name: str, size: str, theme: str, *, is_wanted: bool) -> None:
    from PIL import Image

    for picture, wanted in DOCS.items():
        if is_wanted and wanted == (name, size, theme):
            # Few colours: a third of the bytes, and nothing that the eye misses.
            small = Image.open(path).convert("RGB").quantize(192, dither=Image.Dither.NONE)
            small.save(ROOT / "docs" / "images" / f"{picture}.png", optimize=True)


if __name__ == "__main__":
    main()
