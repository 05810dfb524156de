"""The other root routes."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
import yaml
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django.fixtures import Settings

from api.exceptions import problem_response
from ingestion.models import Connection
from modeling import serving
from modeling.models import LabelScheme, ModelVersion, QualityReport, TrainingRun
from tests.brokers import broker_away

pytestmark = pytest.mark.django_db


def test_the_root_answers_programs_in_json_and_browsers_in_html(
    client: Client, champion: ModelVersion
) -> None:
    assert "POST /predict" in client.get("/").json()["routes"]
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page["Content-Type"].startswith("text/html")
    assert "Accept" in page["Vary"]


@pytest.mark.parametrize("path", ["/health", "/health/"])
def test_health_is_ok(client: Client, champion: ModelVersion, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    state = answer.json()
    assert (state["status"], state["database"], state["broker"]) == ("ok", "ok", "ok")
    assert state["model"]["version"] == "1" and state["model"]["loaded"] is True
    assert state["streams"] == []


def test_without_a_model_health_is_unavailable(client: Client, scheme: LabelScheme) -> None:
    serving.reset()
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"


def test_a_failed_stream_degrades_health(client: Client, champion: ModelVersion) -> None:
    Connection.objects.create(source="x", status="failed", last_error="check the token")
    state = client.get("/health").json()
    assert state["status"] == "degraded"
    assert state["streams"][0]["reason"] == "check the token"


def test_model_info_tells_what_serves(client: Client, champion: ModelVersion) -> None:
    info = client.get("/model/info/").json()
    assert (info["version"], info["stage"]) == (1, "champion")
    assert info["labels"] == ["negative", "neutral", "positive"]


def test_model_info_without_a_model_says_what_to_do(client: Client, scheme: LabelScheme) -> None:
    answer = client.get("/model/info")
    assert answer.status_code == 503 and "bootstrap" in answer.json()["detail"]


def test_data_quality_is_the_newest_report(
    client: Client, champion: ModelVersion, scheme: LabelScheme
) -> None:
    assert client.get("/data/quality").json()["status"] == "no_report"
    now = timezone.now()
    QualityReport.objects.create(
        scheme=scheme, model_version=champion, window_start=now, window_end=now, has_drift=True
    )
    answer = client.get("/data/quality/").json()
    assert answer["status"] == "drift"
    assert 0 <= answer["age_seconds"] < 600 and not answer["is_stale"]
    with time_machine.travel(now + timedelta(hours=3, minutes=5)):
        answer = client.get("/data/quality").json()
    assert answer["age_seconds"] >= 3 * 3600 and answer["is_stale"]


def test_metrics_have_their_documented_names(client: Client, champion: ModelVersion) -> None:
    client.post("/predict", json.dumps({"text": "a"}), content_type="application/json")
    text = client.get("/metrics").content.decode()
    for name in (
        "sentiment_predictions_total",
        "sentiment_prediction_duration_seconds_bucket",
        "sentiment_prediction_confidence_bucket",
        "sentiment_inference_batch_size_bucket",
        "sentiment_inference_queue_depth",
        "sentiment_posts_ingested_total",
        "sentiment_stream_connected",
        "sentiment_stream_lag_seconds",
        "sentiment_stream_reconnects_total",
        "sentiment_drift_score",
        "sentiment_retraining_runs_total",
        "django_http_requests_total_by_method_total",
    ):
        assert name in text, name


def test_metrics_are_open_to_the_configured_networks_alone(
    client: Client, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = True
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 403
    # Behind a proxy every request comes from the proxy: what was forwarded counts as foreign.
    assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403


def test_retraining_that_is_not_needed_says_why(client: Client, champion: ModelVersion) -> None:
    answer = client.post("/retrain", "{}", content_type="application/json")
    assert answer.status_code == 200
    assert answer.json()["status"] == "not_needed"
    assert answer.json()["reason"] == "no trigger fired"
    trigger = answer.json()["triggers"]["labels"]
    assert trigger == {"value": 0, "threshold": 200, "fired": False, "unlabelled_posts": 0}


def test_forced_retraining_queues_a_run_and_a_second_finds_it(
    client: Client, champion: ModelVersion
) -> None:
    first = client.post("/retrain", '{"force": true}', content_type="application/json")
    again = client.post("/retrain/", '{"force": true}', content_type="application/json")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["run"] == again.json()["run"] == TrainingRun.objects.get().pk
    assert (first.json()["status"], first.json()["reason"]) == ("queued", "forced")


@pytest.mark.django_db(transaction=True)
def test_while_the_broker_is_away_a_run_is_kept_until_it_is_back(
    client: Client, champion: ModelVersion
) -> None:
    with broker_away():
        for _ in range(2):
            answer = client.post("/retrain", '{"force": true}', content_type="application/json")
            assert answer.status_code == 503
            assert answer["Content-Type"] == "application/problem+json"
            run = TrainingRun.objects.get()
            assert f"run {run.pk} is kept and starts when it can" in answer.json()["detail"]
            assert run.status == "queued"
    again = client.post("/retrain", "{}", content_type="application/json")
    assert (again.status_code, again.json()["run"]) == (202, run.pk)
    run.refresh_from_db()
    assert run.error == ""


def test_an_unknown_address_is_a_problem(client: Client) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


def test_the_schema_is_valid_openapi_without_warnings(tmp_path: Path) -> None:
    path = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    schema = yaml.safe_load(path.read_text())
    assert schema["openapi"].startswith("3.1")
    assert "/predict" in {name.rstrip("/") for name in schema["paths"]}


@pytest.mark.parametrize("path", ["/docs", "/docs/redoc"])
def test_the_documentation_needs_no_other_host(client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert "http://" not in page.replace("http://testserver", "") and "//cdn" not in page


@pytest.mark.parametrize(("language", "back"), [("en", "Back to the start"), ("de", "Zurück")])
def test_a_browser_is_told_what_is_wrong_in_the_looks_of_the_pages(
    client: Client, language: str, back: str
) -> None:
    answer = client.get("/nowhere", headers={"Accept": "text/html", "Accept-Language": language})
    page = answer.content.decode()
    assert answer.status_code == 404
    assert "Nothing is at this address" in page and "css/app.css" in page and back in page


def test_what_is_told_to_a_browser_is_text_and_asks_no_database(
    django_assert_num_queries: Callable[..., AbstractContextManager[object]],
) -> None:
    request = RequestFactory().get("/", headers={"Accept": "text/html"})
    with django_assert_num_queries(0):
        page = problem_response(request, 503, "<b>away</b>").content.decode()
    assert '<h1 lang="en">Service Unavailable</h1>' in page and "&lt;b&gt;away" in page
