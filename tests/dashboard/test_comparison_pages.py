"""Two versions side by side, trainings and quality reports, as a person reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from ingestion.models import Alert
from modeling.models import LabelScheme, ModelVersion, Prediction
from tests.dashboard.factories import make_post
from tests.dashboard.model_rows import (
    a_report,
    a_run,
    champion_and_rival,
    differing_predictions,
    judged_fields,
)
from tests.dashboard.reading import text_of, words_of

pytestmark = pytest.mark.django_db

Versions = Callable[..., ModelVersion]


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
    page = words_of(manager.post("/models/compare/?a=1&b=2").content.decode())
    assert "Both judged the newest 3 stored posts just now" in page
    assert "They agree on 100.0% and differ on 0" in page
    assert not Prediction.objects.exists()


def test_a_run_s_page_tells_triggers_and_errors_inwords_of(
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
    assert "They were chosen for labelling and may be harder than most." in page
    assert "posts differ in: characters" in page
    listed = text_of(client, "/models/reports/")
    assert "drift length in characters 800 86.2%" in listed and "posts differ in" in listed
    assert "90.0% of 40 chosen for labelling" in listed
    report.accuracy["drawn"] = "random"
    report.save()
    page = text_of(client, f"/models/reports/{report.pk}/")
    assert "All were drawn at random; other labels are left out." in page
    assert "90.0% of 40 drawn at random" in text_of(client, "/models/reports/")


@pytest.mark.parametrize("verdict", ["too_few", "no_reference"])
def test_a_report_without_statistics_has_a_page(
    client: Client, scheme: LabelScheme, verdict: str
) -> None:
    report = a_report(scheme, statistics={}, summary={"verdict": verdict}, accuracy={})
    assert "not judged" in text_of(client, f"/models/reports/{report.pk}/")
