"""Promoting and rolling back by page: what is shown first, who may, and what the ledger keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from modeling.models import ModelVersion, Promotion
from modeling.services.promote import promote
from tests.dashboard.model_rows import champion_and_rival, gate_verdict, judged_fields
from tests.dashboard.reading import HTML, text_of, words_of
from tests.verdicts import refusal

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


def test_promoting_asks_first_with_the_verdict_and_what_changes(
    manager: Client, make_version: Versions
) -> None:
    champion, rival = champion_and_rival(make_version)
    page = text_of(manager, "/models/2/promote/")
    assert "Version 2 judges new posts in the place of version 1" in page
    assert "Passed against version 1, on 180 held-out posts" in page
    assert "Promote it even if" not in page
    assert ModelVersion.objects.champions().get() == champion
    answer = manager.post(
        "/models/2/promote/", {"reason": "sounder on irony", "champion": "1"}, follow=True
    )
    assert "Version 2 is the champion now." in answer.content.decode()
    assert ModelVersion.objects.champions().get() == rival
    entry = Promotion.objects.get()
    assert (entry.promoted_by and entry.promoted_by.username, entry.reason) == (
        "mona",
        "sounder on irony",
    )


def test_what_the_gate_refuses_takes_a_reason(manager: Client, make_version: Versions) -> None:
    scheme = make_version(1, stage="champion", **judged_fields()).scheme
    gate = {**gate_verdict(passed=False), **refusal(scheme)}
    make_version(2, gate=gate, **{**judged_fields(0.5), "artifact_digests": {}})
    page = text_of(manager, "/models/2/promote/")
    assert "Refused against version 1" in page and "Promote it even if the gate refuses it" in page
    form = {"champion": "1", "reason": ""}
    refused = words_of(manager.post("/models/2/promote/", form).content.decode())
    assert "the gate refuses version 2" in refused
    bare = words_of(manager.post("/models/2/promote/", {**form, "override": "on"}).content.decode())
    assert "Say why the gate is overridden." in bare
    assert not Promotion.objects.exists()
    manager.post("/models/2/promote/", {**form, "override": "on", "reason": "labels are wrong"})
    assert Promotion.objects.get().reason == "gate overridden: labels are wrong"


def test_a_champion_that_changed_meanwhile_is_shown_before_anything_happens(
    manager: Client, make_version: Versions
) -> None:
    champion_and_rival(make_version)
    answer = manager.post("/models/2/promote/", {"reason": "", "champion": "7"})
    assert "Another version has become the champion" in answer.content.decode()
    assert not Promotion.objects.exists()


def test_a_version_is_judged_on_demand(
    manager: Client, make_version: Versions, champion: ModelVersion
) -> None:
    make_version(2)
    assert "Judge it now" in text_of(manager, "/models/2/promote/")
    page = words_of(manager.post("/models/2/promote/", {"judge": "yes"}).content.decode())
    assert "against version 1, on" in page and "Judge it now" not in page
    assert ModelVersion.objects.get(version=2).gate["champion"] == 1
    assert ModelVersion.objects.champions().get() == champion


def test_a_version_that_cannot_be_loaded_says_so(
    manager: Client, make_version: Versions, tmp_path: Path
) -> None:
    make_version(1, stage="champion", **judged_fields())
    make_version(2, artifact_uri=str(tmp_path), gate=gate_verdict(passed=True), **judged_fields())
    page = manager.post("/models/2/promote/", {"champion": "1"}).content.decode()
    assert "it cannot be loaded" in page and "is missing" in page


def test_a_damaged_champion_is_told_and_replaced_by_override(
    manager: Client, make_version: Versions
) -> None:
    make_version(
        1, stage="champion", **{**judged_fields(), "artifact_digests": {"model.onnx": "0" * 64}}
    )
    rival = make_version(2, gate=gate_verdict(passed=True), **judged_fields())
    form = {"champion": "1", "reason": "the disk died"}
    page = words_of(manager.post("/models/2/promote/", form).content.decode())
    assert "files of version 1 are damaged" in page and "model.onnx is not the file" in page
    assert "Promote it even if the gate refuses it" in page
    manager.post("/models/2/promote/", {**form, "override": "on"})
    assert ModelVersion.objects.champions().get() == rival


def test_a_former_champion_is_told_that_it_is_judged_anew(
    manager: Client, make_version: Versions
) -> None:
    champion, rival = champion_and_rival(make_version)
    promote(rival, actor="a test")
    ModelVersion.objects.filter(pk=champion.pk).update(
        gate=gate_verdict(passed=True, champion=None)
    )
    page = text_of(manager, "/models/1/promote/")
    assert "not against version 2, which serves now: promoting judges it anew." in page


def test_what_was_rolled_back_from_is_offered_to_nobody(
    manager: Client, make_version: Versions
) -> None:
    champion, rival = champion_and_rival(make_version)
    promote(rival, actor="a test")
    manager.post("/models/rollback/", {"champion": "2", "reason": ""})
    assert ModelVersion.objects.champions().get() == champion
    assert "/rollback/" not in manager.get("/models/").content.decode()
    assert "No earlier champion is left to go back to." in text_of(manager, "/models/rollback/")
    manager.post("/models/rollback/", {"champion": "1", "reason": ""})
    assert ModelVersion.objects.champions().get() == champion


def test_rolling_back_brings_the_one_before_back(manager: Client, make_version: Versions) -> None:
    champion, rival = champion_and_rival(make_version)
    promote(rival, actor="a test")
    page = text_of(manager, "/models/rollback/")
    assert "Version 1 judges new posts in the place of version 2" in page
    assert ModelVersion.objects.champions().get() == rival
    form = {"champion": "2", "reason": "too gloomy"}
    done = manager.post("/models/rollback/", form, follow=True).content.decode()
    assert "Version 1 is the champion again." in done
    assert ModelVersion.objects.champions().get() == champion
    entry = Promotion.objects.first()
    assert entry is not None and entry.reason == "rollback from version 2: too gloomy"


def test_who_may_only_look_finds_no_way_to_promote(looker: Client, make_version: Versions) -> None:
    _, rival = champion_and_rival(make_version)
    promote(rival, actor="a test")
    page = looker.get("/models/").content.decode()
    assert "/promote/" not in page and "/rollback/" not in page
    assert "/promote/" not in looker.get("/models/1/").content.decode()
    for path in ("/models/1/promote/", "/models/rollback/"):
        assert looker.post(path, {"champion": "2"}, headers=HTML).status_code == 403
    assert looker.post("/models/compare/?a=1&b=2").status_code == 403
    assert ModelVersion.objects.champions().get() == rival


def test_where_the_site_is_open_the_ledger_says_that_a_page_did_it(
    client: Client, make_version: Versions
) -> None:
    champion_and_rival(make_version)
    client.post("/models/2/promote/", {"champion": "1", "reason": ""})
    assert Promotion.objects.get().actor == "web page"


def test_promoting_takes_the_page_s_own_token(make_version: Versions) -> None:
    champion, _ = champion_and_rival(make_version)
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/models/2/promote/", {"champion": "1"}).status_code == 403
    assert ModelVersion.objects.champions().get() == champion
