"""The pages about the model: what a person who answers for it finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from ingestion.models import Alert
from modeling.models import (
    LabelScheme,
    ModelVersion,
    Promotion,
    QualityReport,
    TrainingPost,
    TrainingRun,
)
from modeling.services.promote import promote
from tests.dashboard.factories import make_post
from tests.dashboard.model_rows import (
    a_report,
    a_run,
    champion_and_rival,
    differing_predictions,
    judged_fields,
)
from tests.dashboard.reading import text_of

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


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
