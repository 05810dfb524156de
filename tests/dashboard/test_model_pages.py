"""The pages about the model: what a person who answers for it finds, and can do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Alert
from modeling.models import (
    LabelScheme,
    ModelVersion,
    Prediction,
    Promotion,
    QualityReport,
    TrainingPost,
    TrainingRun,
)
from modeling.services.promote import promote
from tests.dashboard.factories import make_post, make_posts
from tests.dashboard.model_rows import champion_and_rival, gate_verdict, judged_fields

pytestmark = pytest.mark.django_db

HTML = {"Accept": "text/html"}
Versions = Callable[..., ModelVersion]


def text_of(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.content
    return _words(answer.content.decode())


def _words(page: str) -> str:
    """What a person reads of a page."""
    page = re.sub(r"<script.*?</script>", " ", page, flags=re.S)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.fixture
def manager(client: Client, settings: Settings) -> Client:
    """Somebody who may promote, where the site is closed."""
    settings.API_REQUIRE_AUTH = True
    user = User.objects.create_user("mona", password="a-long-password")
    user.user_permissions.add(Permission.objects.get(codename="change_modelversion"))
    client.force_login(user)
    return client


@pytest.fixture
def looker(settings: Settings) -> Client:
    """Somebody who may look and no more."""
    settings.API_REQUIRE_AUTH = True
    client = Client()
    client.force_login(User.objects.create_user("ann", password="a-long-password"))
    return client


def test_an_empty_installation_says_what_to_do(client: Client) -> None:
    page = text_of(client, "/models/")
    assert "No version serves yet" in page and "manage.py bootstrap" in page
    assert "It takes two versions to compare" in text_of(client, "/models/compare/")
    assert "Nothing was trained" in text_of(client, "/models/runs/")
    assert "No report yet" in text_of(client, "/models/reports/")
    assert "Nothing to roll back" in text_of(client, "/models/rollback/")


def test_the_list_tells_figures_with_intervals_origin_gate_and_ledger(
    client: Client, make_version: Versions, scheme: LabelScheme
) -> None:
    champion, rival = champion_and_rival(make_version)
    boss = User.objects.create_user("boss")
    TrainingRun.objects.create(
        scheme=scheme, version=rival, requested_by=boss, options={"teacher": "1"}
    )
    promote(rival, by=boss, reason="sounder on irony", override=True)
    page = text_of(client, "/models/")
    assert "Version 2 serves" in page
    test = rival.metrics["test"]
    low, high = test["intervals"]["macro_recall"]
    assert f"{test['macro_recall']:.3f}" in page and f"{low:.3f} to {high:.3f}" in page
    assert "180 texts (180 annotated)" in page
    assert "for boss , taught by version 1" in page.replace("boss,", "boss ,")
    assert "Passed against version 1, on 180 held-out posts" in page
    assert "boss version 1 version 2 gate overridden: sounder on irony" in page


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        (
            "https://ada:secret@mlflow.example.org/base",
            "https://mlflow.example.org/base/#/models/sentiment/versions/1",
        ),
        ("sqlite:////tmp/mlflow.sqlite3", ""),
    ],
)
def test_mlflow_is_linked_where_it_is_a_server_and_its_password_kept(
    client: Client, make_version: Versions, settings: Settings, uri: str, link: str
) -> None:
    settings.MLFLOW_TRACKING_URI = uri
    make_version(1)
    page = client.get("/models/").content.decode()
    assert (f'href="{link}"' in page) is bool(link)
    assert "secret" not in page and ("MLflow</a>" in page) is bool(link)


def test_a_version_s_page_tells_everything_of_it(
    client: Client, make_version: Versions, scheme: LabelScheme
) -> None:
    _, rival = champion_and_rival(make_version)
    TrainingPost.objects.create(version=rival, post=make_post(), split="train")
    ModelVersion.objects.filter(pk=rival.pk).update(forgotten_posts=4)
    TrainingRun.objects.create(
        scheme=scheme, version=rival, history=[{"epoch": 1, "loss": 0.51, "macro_recall": 0.9}]
    )
    Alert.objects.create(
        kind="model", key="sentiment", message="version 2 cannot be loaded: gone.onnx is missing"
    )
    page = text_of(client, "/models/2/")
    test = rival.metrics["test"]
    for name, scores in test["per_class"].items():
        assert f"{name.title()} {scores['precision']:.3f}" in page
    assert "emoji: no" in page and "negation: no" in page
    assert f"Negative {test['confusion'][0][0]} " in page
    assert "80% to 90% 180 80.0%" in page
    assert "✗" not in page and "slices falls" not in page
    assert "accuracy falls too far on: &lt;b&gt;emoji&lt;/b&gt;" in page
    assert "Epochs 8" in page and "1 0.510 0.900" in page
    assert "Stored posts among them 1 (1 training)" in page
    assert "Deleted at their source since 4" in page
    assert "version 2 cannot be loaded: gone.onnx is missing" in page and "still so" in page


def test_a_version_that_is_not_there_is_not_found(client: Client, champion: ModelVersion) -> None:
    for path in ("/models/9/", "/models/99999999999999999999/", "/models/runs/9/"):
        text_of(client, path, 404)
    for query in ("a=x&b=1", "a=1&b=9", "a=-1&b=1", "a=²&b=1", f"a={'9' * 40}&b=1"):
        text_of(client, f"/models/compare/?{query}", 404)
    text_of(client, "/models/?scheme=none", 404)


def test_a_version_of_before_has_its_calibration_from_its_folder(
    client: Client, make_version: Versions, tmp_path: Path
) -> None:
    fields = judged_fields()
    bins = fields["metrics"].pop("calibration")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "calibration.json").write_text(json.dumps(bins))
    make_version(3, artifact_uri=str(tmp_path / "model"), **fields)
    assert "80% to 90% 180" in text_of(client, "/models/3/")
    (tmp_path / "reports" / "calibration.json").unlink()
    assert "No calibration curve is stored" in text_of(client, "/models/3/")


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
    make_version(1, stage="champion", **judged_fields())
    make_version(
        2, gate=gate_verdict(passed=False), **{**judged_fields(0.5), "artifact_digests": {}}
    )
    page = text_of(manager, "/models/2/promote/")
    assert "Refused against version 1" in page and "Promote it even if the gate refuses it" in page
    form = {"champion": "1", "reason": ""}
    refused = _words(manager.post("/models/2/promote/", form).content.decode())
    assert "the gate refuses version 2" in refused
    bare = _words(manager.post("/models/2/promote/", {**form, "override": "on"}).content.decode())
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
    page = _words(manager.post("/models/2/promote/", {"judge": "yes"}).content.decode())
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


def differing_predictions(first: ModelVersion, second: ModelVersion, posts: int = 6) -> None:
    """Of which the versions differ on every second post; and one that only one of them judged."""
    keys = list(first.scheme.categories.all())
    for place, post in enumerate(make_posts(posts, "the <i>game</i>")):
        for version, category in ((first, keys[0]), (second, keys[place % 2])):
            Prediction.objects.create(
                post=post,
                scheme=first.scheme,
                model_version=version,
                category=category,
                confidence=0.75,
                scores={},
                is_serving=version == first,
            )
    Prediction.objects.create(
        post=make_post("alone"),
        scheme=first.scheme,
        model_version=first,
        category=keys[0],
        confidence=0.75,
        scores={},
    )


def test_two_versions_stand_side_by_side(client: Client, make_version: Versions) -> None:
    champion, rival = champion_and_rival(make_version)
    differing_predictions(champion, rival)
    page = text_of(client, "/models/compare/?a=1&b=2")
    mine, other = (v.metrics["test"]["accuracy"] for v in (champion, rival))
    assert f"{other - mine:+.3f}" in page and "intervals apart" in page
    assert "Negative: F1" in page and "negation: no" in page
    assert "What version 1 takes for what" in page and "What version 2 takes for what" in page
    assert "Held against each other by the gate" in page
    assert "6 posts were judged by both versions. They agree on 50.0% and differ on 3" in page
    assert page.count("the &lt;i&gt;game&lt;/i&gt;") == 3 and "alone" not in page


def test_without_being_asked_the_champion_is_compared_with_the_newest_other_one(
    client: Client, make_version: Versions
) -> None:
    champion_and_rival(make_version)
    make_version(3, **judged_fields())
    assert "Version 1 and version 3" in text_of(client, "/models/compare/")


def test_both_judge_stored_posts_on_demand(
    manager: Client, make_version: Versions, champion: ModelVersion
) -> None:
    make_version(2)
    for word in ("awful", "wonderful", "tuesday"):
        make_post(f"the game {word} today")
    make_post("the game awful today")
    page = _words(manager.post("/models/compare/?a=1&b=2").content.decode())
    assert "Both judged the newest 3 stored posts just now" in page
    assert "They agree on 100.0% and differ on 0" in page
    assert not Prediction.objects.exists()


def a_run(scheme: LabelScheme, **fields: Any) -> TrainingRun:
    values: dict[str, Any] = {
        "status": "failed",
        "triggers": {
            "labels": {"value": 120, "threshold": 100, "fired": True, "unlabelled_posts": 900},
            "drift": {"value": 0.31, "threshold": 0.25, "fired": False, "drifted": ["characters"]},
        },
    }
    return TrainingRun.objects.create(scheme=scheme, **{**values, **fields})


def test_a_run_s_page_tells_triggers_and_errors_in_words(
    client: Client, scheme: LabelScheme
) -> None:
    run = a_run(scheme, error="NotEnoughData: label at least 88 more", is_automatic=True)
    page = text_of(client, f"/models/runs/{run.pk}/")
    assert "NotEnoughData: label at least 88 more" in page
    assert "120 from 100 fires 900 posts wait for a label" in page
    assert "0.31 from 0.25 quiet moved: length in characters" in page
    listed = text_of(client, "/models/runs/")
    assert f"Run {run.pk} failed" in listed and "the retraining check" in listed
    assert "What would start a training now" in listed


def test_an_active_run_is_followed(client: Client, scheme: LabelScheme) -> None:
    run = a_run(scheme, status="running", progress=0.4, message="epoch 2 of 3", loss=0.5)
    data = client.get(f"/models/runs/{run.pk}/data/").json()
    assert (data["is_active"], data["progress"], data["message"]) == (True, 0.4, "epoch 2 of 3")
    run.history = [{"epoch": 1, "loss": 0.9, "macro_recall": 0.7}]
    run.save()
    data = client.get(f"/models/runs/{run.pk}/data/").json()
    assert data["epochs"] == 1 and data["figure"]["data"][0]["y"] == [0.9]


def a_report(scheme: LabelScheme, **fields: Any) -> QualityReport:
    now = timezone.now()
    values: dict[str, Any] = {
        "window_start": now - timedelta(hours=24),
        "window_end": now,
        "post_count": 800,
        "has_drift": True,
        "statistics": {
            "labels": {"psi": 0.02, "threshold": 0.25, "verdict": "ok"},
            "characters": {
                **{"psi": 0.4, "threshold": 0.25, "verdict": "drift"},
                **{"reference_mean": 87.2, "window_mean": 75.6},
            },
        },
        "summary": {
            **{"verdict": "drift", "sampled": 800, "mean_confidence": 0.76},
            "category_shares": {"negative": 0.5, "positive": 0.5},
            "reference": {"labels": {"negative": 30, "positive": 70}, "mean_confidence": 0.81},
        },
        "accuracy": {
            **{"estimated": 0.862, "low": 0.803, "high": 0.909, "is_trusted": False},
            **{"reason": "the posts are unlike", "true": 0.9, "true_low": 0.8, "true_high": 0.95},
            **{"labelled": 40, "estimated_on_labelled": 0.88},
        },
    }
    return QualityReport.objects.create(scheme=scheme, **{**values, **fields})


def test_a_report_tells_what_moved_from_what_to_what(client: Client, scheme: LabelScheme) -> None:
    report = a_report(scheme)
    Alert.objects.create(kind="drift", key="sentiment", message="posts differ in: characters")
    page = text_of(client, f"/models/reports/{report.pk}/")
    assert "What moved: length in characters" in page
    assert "Length in characters 87.2 75.6 PSI 0.400 0.250 drift" in page
    assert page.index("Length in characters 87.2") < page.index("Labels given – –")
    assert "Negative 30.0% 50.0%" in page and "Positive 70.0% 50.0%" in page
    assert "86.2% 80.3% to 90.9% not to be trusted: the posts are unlike" in page
    assert "90.0% 80.0% to 95.0% 40 posts of the window were labelled" in page
    assert "posts differ in: characters" in page
    listed = text_of(client, "/models/reports/")
    assert "drift length in characters 800 86.2%" in listed and "posts differ in" in listed


@pytest.mark.parametrize("verdict", ["too_few", "no_reference"])
def test_a_report_without_statistics_has_a_page(
    client: Client, scheme: LabelScheme, verdict: str
) -> None:
    report = a_report(scheme, statistics={}, summary={"verdict": verdict}, accuracy={})
    assert "not judged" in text_of(client, f"/models/reports/{report.pk}/")


def test_another_scheme_s_versions_are_its_own(client: Client, make_version: Versions) -> None:
    other = LabelScheme.objects.create(key="mood", name="Mood")
    make_version(1, scheme=other, base_model="mood-model")
    assert "No version serves yet" in text_of(client, "/models/")
    page = client.get("/models/?scheme=mood").content.decode()
    assert 'href="/models/1/?scheme=mood"' in page
    assert "mood-model" in text_of(client, "/models/1/?scheme=mood")
    text_of(client, "/models/1/", 404)


def test_pages_bring_no_style_or_script_of_their_own(
    client: Client, make_version: Versions
) -> None:
    champion_and_rival(make_version)
    for path in ("/models/", "/models/2/", "/models/2/promote/", "/models/compare/?a=1&b=2"):
        page = client.get(path).content.decode()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page), path
        scripts = re.findall(r"<script([^>]*)>", page)
        assert all("src=" in s or 'type="application/json"' in s for s in scripts), path
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page), path


@pytest.mark.parametrize("rows", [1, 15])
def test_pages_ask_few_queries_however_many_rows(
    client: Client,
    make_version: Versions,
    scheme: LabelScheme,
    django_assert_max_num_queries: Callable[[int], Any],
    rows: int,
) -> None:
    champion, rival = champion_and_rival(make_version)
    for number in range(3, 3 + rows):
        version = make_version(number, **judged_fields())
        run = a_run(scheme, version=version)
        a_report(scheme, model_version=version)
        Promotion.objects.create(scheme=scheme, version=version, previous=champion)
    differing_predictions(champion, rival, posts=rows)
    for path, most in (
        ("/models/", 12),
        ("/models/2/", 12),
        ("/models/2/promote/", 7),
        ("/models/rollback/", 7),
        ("/models/compare/?a=1&b=2", 10),
        ("/models/runs/", 16),
        (f"/models/runs/{run.pk}/", 6),
        ("/models/reports/", 8),
        (f"/models/reports/{QualityReport.objects.latest('pk').pk}/", 7),
    ):
        with django_assert_max_num_queries(most):
            text_of(client, path)
