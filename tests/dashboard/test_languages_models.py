"""The pages about the model in German: no text is left out, what is stored stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polib
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from django.utils.translation import trans_real
from pytest_django.fixtures import Settings

from dashboard import model_figures
from dashboard.model_pages import stories, tables, words
from ingestion.models import Alert
from modeling.models import LabelScheme, ModelVersion, Promotion, TrainingPost, TrainingRun
from tests.dashboard.factories import make_post
from tests.dashboard.model_rows import (
    a_report,
    a_run,
    champion_and_rival,
    differing_predictions,
    gate_verdict,
    judged_fields,
)

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]
GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de", "HTTP_ACCEPT": "text/html"}
CATALOG = Path(settings.BASE_DIR) / "locale" / "de" / "LC_MESSAGES" / "django.po"

PAGES = {
    "/models/": ("Version 1 ist im Einsatz", "Gegen Version 1 bestanden", "Makro-Recall"),
    "/models/2/": (
        "Was sie wofür hält",
        "auf 180 zurückgehaltenen Beiträgen",
        "Prüfsumme des Datensatzes",
    ),
    "/models/2/promote/": ("Version 2 einsetzen?", "anstelle von Version 1", "Das Protokoll"),
    "/models/rollback/": ("Zu Version 3 zurückkehren?", "Abbrechen"),
    "/models/compare/?a=1&b=2": ("Version 1 und Version 2", "sind sie sich einig"),
    "/models/runs/": (
        "Was jetzt ein Training auslösen würde",
        "gescheitert",
        "Stunden seit dem letzten",
    ),
    "/models/runs/{run}/": ("ab 100", "900 Beiträge warten auf eine Einordnung", "Warum er begann"),
    "/models/reports/": ("Qualität der eintreffenden Beiträge", "86,2 %", "Länge in Zeichen"),
    "/models/reports/{report}/": ("Ist dem Modell zu trauen?", "87,2", "80,3 % bis 90,9 %"),
}


# The id of no version.
NOBODY = "999999999"


@pytest.fixture
def filled(make_version: Versions, scheme: LabelScheme) -> dict[str, int]:
    """Rows for every part of every page, with no word of which a text could be made."""
    champion, rival = champion_and_rival(make_version)
    ModelVersion.objects.filter(pk=rival.pk).update(forgotten_posts=4)
    third = make_version(3, gate=gate_verdict(passed=False, champion=None), **judged_fields())
    Promotion.objects.create(scheme=scheme, version=champion, previous=third, actor="7")
    differing_predictions(champion, rival)
    TrainingPost.objects.create(version=rival, post=make_post(), split="train")
    for kind in ("drift", "quality", "model", "training"):
        Alert.objects.create(kind=kind, key=scheme.key, message="version 2 cannot be loaded: gone")
    run = a_run(
        scheme,
        version=rival,
        error="the disk is full",
        reason="forced",
        gate=gate_verdict(passed=True),
        parameters={"epochs": 8, "class_weights": True, "base_model": "tiny"},
        options={"teacher": "1"},
        history=[{"epoch": n, "loss": 0.5, "macro_recall": 0.8} for n in (1, 2)],
        requested_by=User.objects.create_user("7"),
    )
    a_run(scheme, is_automatic=True, status="interrupted", message="epoch 1 of 2", reason="forced")
    report = a_report(scheme, model_version=champion)
    a_report(scheme, model_version=champion)
    return {"run": run.pk, "report": report.pk, "rival": rival.pk, "third": third.pk}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_in_german(client: Client, filled: dict[str, int], path: str) -> None:
    page = client.get(path.format(**filled), **GERMAN).content.decode()
    told = " ".join(spoken(page)).replace("\xa0", " ")
    assert '<html lang="de">' in page
    for german in PAGES[path]:
        assert german in told


class Reader(HTMLParser):
    """What is read of a page in its own language: text and what attributes say, without what is
    marked as of another one, code, posts and times."""

    VOID = {"meta", "link", "input", "img", "br", "line"}
    SKIPPED = {"script", "style", "time", "code", "template"}
    # A post, and a version's files.
    DATA = {"text", "files", "soft break"}

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.figures: list[Any] = []
        self.open: list[tuple[str, bool]] = []
        self.is_figure = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        is_foreign = tag != "html" and "lang" in told
        is_data = tag in self.SKIPPED or told.get("class") in self.DATA
        self.is_figure = told.get("type") == "application/json"
        if tag not in self.VOID:
            self.open.append((tag, is_foreign or is_data))
        if not self.is_silent and tag != "meta":
            names = ("aria-label", "title", "data-label", "placeholder", "alt")
            self.said += [value for name in names if (value := told.get(name))]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.is_figure and data.strip():
            self.figures.append(json.loads(data))
        elif not self.is_silent and data.strip():
            self.said.append(" ".join(data.split()))

    @property
    def is_silent(self) -> bool:
        return any(silent for _, silent in self.open)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def spoken(page: str) -> list[str]:
    return read(page).said


def texts_of(figure: Any) -> Iterator[str]:
    """What a chart shows as words: names, titles, ticks and what a pointer is told."""
    for trace in figure["data"]:
        yield trace.get("name") or ""
        yield re.sub(r"%\{[^}]*\}|</?extra>", "", trace.get("hovertemplate") or "")
        yield from (text for text in trace.get("text") or [] if isinstance(text, str))
        if trace.get("orientation") == "h":
            yield from trace["y"]
    for axis in ("xaxis", "yaxis", "yaxis2"):
        yield figure["layout"].get(axis, {}).get("title", {}).get("text", "")


WIDE = {
    ord(c): chr(ord(c) + 0xFEE0) for c in map(chr, range(ord("A"), ord("z") + 1)) if c.isalpha()
}
# Names, and what stands as a key in every language.
KEPT = {"Live", "sentiment", "API", "English", "Deutsch", "PSI", "F", "tiny"}


@pytest.fixture
def strange_german(tmp_path: Path, settings: Settings) -> Iterator[None]:
    """German of which every letter is a wide one: whatever is not translated stands out."""
    catalog = polib.pofile(str(CATALOG))
    for entry in catalog:
        if entry.msgctxt != "format of a moment":
            entry.msgstr = widened(entry.msgstr)
            entry.msgstr_plural = {n: widened(s) for n, s in entry.msgstr_plural.items()}
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    catalog.save_as_mofile(str(folder / "django.mo"))
    settings.LOCALE_PATHS = [tmp_path]
    yield
    trans_real._translations.pop("de", None)


def widened(text: str) -> str:
    parts = re.split(r"(%\(\w+\)s|<[^>]*>|&\w+;)", text)
    return "".join(part.translate(WIDE) if n % 2 == 0 else part for n, part in enumerate(parts))


@pytest.mark.parametrize("path", [*PAGES, "/models/1/", "/models/3/promote/"])
def test_no_text_of_a_page_or_chart_is_left_out_of_the_catalog(
    client: Client, filled: dict[str, int], strange_german: None, path: str
) -> None:
    reader = read(client.get(path.format(**filled), **GERMAN).content.decode())
    shown = reader.said + [text for figure in reader.figures for text in texts_of(figure)]
    assert len(shown) > 30
    left = {word for text in shown for word in re.findall(r"[A-Za-z]+", text)} - KEPT
    assert left == set(), [text for text in shown if left & {*text.split()}]


def test_the_api_tells_the_same_whatever_the_browser_wishes(
    admin_client: Client, filled: dict[str, int]
) -> None:
    for path in (
        *("/api/v1/models/", "/api/v1/training-runs/", "/api/v1/reports/"),
        *("/api/v1/promotions/", "/api/v1/alerts/", "/model/info"),
        *(f"/api/v1/models/{filled['rival']}/", f"/api/v1/models/{NOBODY}/"),
        f"/api/v1/training-runs/{filled['run']}/",
        f"/api/v1/reports/{filled['report']}/",
    ):
        german = admin_client.get(path, HTTP_ACCEPT_LANGUAGE="de")
        assert german.status_code == (404 if NOBODY in path else 200), path
        assert german.content == admin_client.get(path).content, path
    refused = {"content_type": "application/json", "data": {"reason": 7 * "x" * 100}}
    address = f"/api/v1/models/{filled['third']}/promote/"
    told = [
        admin_client.post(address, **refused, HTTP_ACCEPT_LANGUAGE=language)
        for language in ("de", "en")
    ]
    assert told[0].content == told[1].content and told[0].status_code == 400


def test_what_is_stored_as_a_sentence_is_marked_as_english(
    client: Client, filled: dict[str, int]
) -> None:
    page = client.get("/models/2/", **GERMAN).content.decode()
    assert '<main id="main">' in page
    assert '<p class="reason" lang="en">macro recall 0.930 against 0.800</p>' in page
    assert '<span lang="en">accuracy falls too far on: &lt;b&gt;emoji&lt;/b&gt;</span>' in page
    assert '<span lang="en">version 2 cannot be loaded: gone</span>' in page
    run = client.get(f"/models/runs/{filled['run']}/", **GERMAN).content.decode()
    assert '<p class="notice" lang="en">the disk is full</p>' in run
    report = client.get(f"/models/reports/{filled['report']}/", **GERMAN).content.decode()
    assert '<span lang="en">the posts are unlike</span>' in report


def test_what_is_refused_is_said_in_german_but_for_the_reason(
    manager: Client, make_version: Versions, tmp_path: Path
) -> None:
    make_version(1, stage="champion", **judged_fields())
    make_version(2, artifact_uri=str(tmp_path), gate=gate_verdict(passed=True), **judged_fields())
    form = {"champion": "1", "reason": ""}
    page = manager.post("/models/2/promote/", form, **GERMAN).content.decode()
    assert '<li><span lang="en">version 2 is not promoted, it cannot be loaded' in page
    page = manager.post("/models/2/promote/", {**form, "champion": "7"}, **GERMAN).content.decode()
    assert "ist eine andere Version Champion geworden" in page
    page = manager.post("/models/2/promote/", {"judge": "yes"}, **GERMAN).content.decode()
    assert 'Sie konnte nicht geprüft werden: <span lang="en">' in page
    bare = manager.post("/models/2/promote/", {**form, "override": "on"}, **GERMAN)
    assert "Sag, warum die Prüfung übergangen wird." in bare.content.decode()


def test_every_stage_and_status_has_a_name_that_says_in_english_what_its_label_says() -> None:
    assert {key: str(name) for key, name in words.STAGES.items()} == dict(
        ModelVersion.Stage.choices
    )
    assert {key: str(name) for key, name in words.STATUSES.items()} == dict(
        TrainingRun.Status.choices
    )


def test_numbers_and_names_are_written_as_german_does() -> None:
    with translation.override("de"):
        assert [tables.number(v) for v in (0.25, 1234, 1234.5, -0.05, 0.0)] == [
            *("0,25", "1.234", "1.234,5", "−0,05", "0"),
        ]
        assert tables.Figure(0.9, 0.85, 0.95).interval == "0,850 bis 0,950"
        assert tables.Difference("", tables.Figure(0.5), tables.Figure(0.4)).change == "−0,100"
        assert dict(tables.parameters({"learning_rate": 1e-4, "seed": 13, "odd_one": True})) == {
            "Lernrate": "0,0001",
            "Startwert des Zufalls": "13",
            "odd one": "ja",
        }
        assert words.slice_name({"dimension": "length", "value": "short"}) == "Länge: kurz"
        assert words.slice_name({"dimension": "stream", "value": "short"}) == "Stream: short"
        assert words.actor_name("training run 12") == "Trainingslauf 12"
        assert words.actor_name("web page") == "Webseite" and words.actor_name("ann") == "ann"
        at = datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert words.moment(at) == (
            '<time datetime="2026-03-01T10:00:00+00:00">1. März 2026, 10:00 UTC</time>'
        )
        # A noun keeps its capital amid a sentence.
        note = {"drifted": ["characters", "emoji"], "value": 0.3, "threshold": 0.25}
        assert stories.triggers({"drift": note})[0].note == "bewegt: Länge in Zeichen, Emoji"
        one = {"passed": True, "champion": 1, "test_size": 1}
        assert tables.gate(one).words.endswith("auf 1 zurückgehaltenen Beitrag")


def test_a_chart_writes_per_cent_as_german_does() -> None:
    with translation.override("de"):
        figure = model_figures.shares(["gut"], [0.4], [0.5])
        matrix = model_figures.confusion(["gut"], [[1200]])
    assert figure["layout"]["yaxis"]["ticksuffix"] == "\xa0%"
    assert figure["data"][0]["hovertemplate"] == "%{x} beim Training: %{y:.0f}\xa0%<extra></extra>"
    assert matrix["data"][0]["text"] == [["1.200<br>100\xa0%"]]
