"""Pages in German: by the browser's wish, by choice, over the websocket; the API stays English."""

import re
import shutil
from pathlib import Path
from typing import Any

import polib
import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from dashboard import summary
from dashboard.languages import language_of

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}
FOLDER = Path(settings.BASE_DIR) / "locale" / "de" / "LC_MESSAGES"
DOMAINS = pytest.mark.parametrize("domain", ["django", "djangojs"])


def page(client: Client, address: str, **headers: Any) -> str:
    answer = client.get(address, HTTP_ACCEPT="text/html", **headers)
    assert answer.status_code == 200
    assert {"Accept-Language", "Cookie"} <= set(re.split(r",\s*", answer["Vary"]))
    return answer.content.decode()


def test_the_live_page_is_in_the_browser_s_language(admin_client: Client) -> None:
    shown = page(admin_client, "/", **GERMAN)
    assert '<html lang="de">' in shown and "Neueste Beiträge" in shown and "Negativ" in shown
    assert "Es wird auf die ersten Beiträge gewartet." in shown
    assert '<html lang="en">' in page(admin_client, "/")


def test_labelling_and_signing_in_are_in_german(admin_client: Client) -> None:
    assert "Meinung des Modells" in page(admin_client, "/label/", **GERMAN)
    assert "Zweifelhafte Einordnungen" in page(admin_client, "/label/review/", **GERMAN)
    assert "Anmelden" in page(Client(), "/login/", **GERMAN)


@pytest.mark.django_db
def test_a_choice_outlasts_the_browser_s_wish_and_takes_a_token() -> None:
    client = Client(enforce_csrf_checks=True)
    shown = page(client, "/login/")
    chosen = {"language": "de", "next": "/login/"}
    assert client.post("/language/", chosen).status_code == 403
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown)
    assert token is not None
    answer = client.post("/language/", {**chosen, "csrfmiddlewaretoken": token[1]})
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert '<html lang="de">' in page(client, "/login/", HTTP_ACCEPT_LANGUAGE="en")


@pytest.mark.django_db
def test_the_api_is_english_and_the_same_for_everyone(admin_client: Client) -> None:
    answer = admin_client.get("/api/v1/posts/999/", **GERMAN)
    assert answer.status_code == 404
    assert answer.json() == admin_client.get("/api/v1/posts/999/").json()
    assert "Accept-Language" not in answer.get("Vary", "")


def test_words_of_scripts_may_be_kept_as_long_as_they_hold(client: Client) -> None:
    with translation.override("de"):
        address = re.search(r"/words/de/\w+\.js", page_source(client))
    assert address is not None
    answer = client.get(address[0])
    assert "Anhalten" in answer.content.decode() and "immutable" in answer["Cache-Control"]
    assert client.get("/words/de/old.js")["Cache-Control"] == "no-cache"
    assert client.get("/words/xx/old.js").status_code == 404


def page_source(client: Client) -> str:
    return page(client, "/login/", **GERMAN)


def test_a_websocket_has_the_language_of_its_browser() -> None:
    wish = (b"accept-language", b"de-DE")
    assert language_of({"headers": [wish]}) == "de"
    assert language_of({"headers": [wish, (b"cookie", b"a=b; django_language=en")]}) == "en"
    assert language_of({"headers": [(b"cookie", b"django_language=../x")]}) == "en"
    assert language_of({}) == "en"


def test_a_headline_is_a_whole_sentence_with_german_numbers() -> None:
    counts = {"negative": 1500, "positive": 500}
    with translation.override("de"):
        told = summary.headline(counts, -0.5, {})
    assert told == "Die Stimmung ist sehr negativ: 75\xa0% von 2.000 Beiträgen sind negativ."


def test_a_headline_about_one_post_is_in_the_singular() -> None:
    with translation.override("de"):
        told = summary.headline({"positive": 1}, 1.0, {})
    assert told == "Die Stimmung ist sehr positiv: 100\xa0% von 1 Beitrag sind positiv."


@DOMAINS
def test_every_text_is_translated_with_the_same_placeholders(domain: str) -> None:
    entries = [e for e in polib.pofile(str(FOLDER / f"{domain}.po")) if not e.obsolete]
    assert entries
    for entry in entries:
        texts = list(entry.msgstr_plural.values()) or [entry.msgstr]
        assert all(texts) and not entry.fuzzy, entry.msgid
        for text in texts:
            assert placeholders(text) == placeholders(entry.msgid), entry.msgid


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s|</?\w+", text))


@DOMAINS
def test_what_is_compiled_is_what_is_written(domain: str) -> None:
    def told(file: Any) -> dict[Any, Any]:
        return {(e.msgctxt, e.msgid): (e.msgstr, e.msgstr_plural) for e in file}

    compiled = polib.mofile(str(FOLDER / f"{domain}.mo"))
    assert told(compiled) == told(polib.pofile(str(FOLDER / f"{domain}.po")))


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="gettext is not installed")
@DOMAINS
def test_the_sources_hold_no_other_texts(domain: str, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("dashboard", "modeling", "sentiment_site", "templates", "static", "locale"):
        shutil.copytree(
            Path(settings.BASE_DIR) / name,
            tmp_path / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "LOCALE_PATHS", [tmp_path / "locale"])
    call_command("makemessages", locale=["de"], domain=domain, no_obsolete=True, verbosity=0)
    found = polib.pofile(str(tmp_path / "locale/de/LC_MESSAGES" / f"{domain}.po"))
    known = polib.pofile(str(FOLDER / f"{domain}.po"))
    assert {(e.msgctxt, e.msgid) for e in found} == {(e.msgctxt, e.msgid) for e in known}
