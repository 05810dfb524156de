"""The short way of predictions: plain requests over a socket, the rest as ever."""

import json
import math
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

from api import tokens
from api.models import ApiToken
from modeling import serving
from modeling.exceptions import EngineOverloaded
from modeling.models import ModelVersion
from modeling.services import classify
from modeling.services.promote import promote
from tests.conftest import table_away

pytestmark = pytest.mark.django_db(transaction=True)


def ask(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


@pytest.fixture
def site(live_site: str, champion: ModelVersion, settings: Settings) -> str:
    settings.API_REQUIRE_AUTH = False
    return live_site


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": "the food wonderful today"}),
        ("/predict/", {"text": "word " * 500}),
        ("/predict/batch", {"texts": ["the food awful today", "\u0000 שלום 👍"]}),
    ],
)
def test_both_ways_answer_alike(site: str, client: Client, path: str, body: Any) -> None:
    code, headers, short = ask(site + path, body, **{"X-Request-ID": "mine"})
    full = client.post(path, json.dumps(body), content_type="application/json")
    assert (code, full.status_code) == (200, 200)
    long = full.json()
    for answer in (short, long, *short.get("predictions", []), *long.get("predictions", [])):
        del answer["latency_ms"]
    assert short == long
    assert headers["x-request-id"] == "mine"
    for name in ("Content-Type", "X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options"):
        assert headers[name.lower()] == full[name]


def test_what_breaks_a_rule_is_answered_by_django(site: str) -> None:
    for body in ({"text": " "}, {"text": "a", "b": 1}, b'{"text": "a", "text": "b"}', b"[", {}):
        code, headers, document = ask(site + "/predict", body)
        assert (code, headers["content-type"]) == (400, "application/problem+json")
        assert document["status"] == 400


def test_a_token_is_asked_for_and_its_scope_counts(site: str, settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True
    body = {"text": "the food wonderful today"}
    assert ask(site + "/predict", body)[0] == 401
    assert ask(site + "/predict", body, Authorization="Bearer nonsense")[0] == 401
    secrets = {
        scope: tokens.issue(scope, [scope], days=1)[1]
        for scope in (ApiToken.Scope.PREDICT.value, ApiToken.Scope.READ.value)
    }
    assert ask(site + "/predict", body, Authorization=f"Bearer {secrets['predict']}")[0] == 200
    assert ask(site + "/predict", body, Authorization=f"Bearer {secrets['read']}")[0] == 403


def test_a_database_that_is_away_is_told(site: str, settings: Settings) -> None:
    settings.API_REQUIRE_AUTH = True
    secret = tokens.issue("a program", [ApiToken.Scope.PREDICT], days=1)[1]
    with table_away("api_apitoken"):
        code, headers, document = ask(
            site + "/predict", {"text": "a"}, Authorization=f"Bearer {secret}"
        )
    assert (code, headers["retry-after"]) == (503, "1")
    assert document["detail"] == "The database is unavailable."


def test_a_connection_that_the_database_closed_is_replaced(site: str, settings: Settings) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite closes none")
    settings.API_REQUIRE_AUTH = True
    secret = tokens.issue("a program", [ApiToken.Scope.PREDICT], days=1)[1]
    for _ in range(2):
        tokens._remembered.clear()
        bearer = {"Authorization": f"Bearer {secret}"}
        assert ask(site + "/predict", {"text": "a"}, **bearer)[0] == 200
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )


def test_another_format_than_json_is_refused_as_ever(site: str) -> None:
    assert ask(site + "/predict", {"text": "a"}, Accept="application/xml")[0] == 406
    assert ask(site + "/predict?format=csv", {"text": "a"})[0] == 404
    for accept in ("*/*", "application/json, text/plain, */*", "application/json"):
        assert ask(site + "/predict", {"text": "a"}, Accept=accept)[0] == 200


def test_what_nobody_foresaw_is_a_problem_and_in_the_log(
    site: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving.champion().engine.close()
    code, headers, document = ask(site + "/predict", {"text": "a"})
    assert (code, headers["content-type"]) == (500, "application/problem+json")
    assert document["status"] == 500
    assert "EngineClosed" in caplog.text


def test_what_dashboards_and_alerts_look_at_is_counted(site: str) -> None:
    series: list[tuple[str, dict[str, str]]] = [
        ("django_http_requests_before_middlewares_total", {}),
        ("django_http_requests_total_by_method_total", {"method": "POST"}),
        ("django_http_responses_total_by_status_total", {"status": "200"}),
        ("django_http_requests_latency_including_middlewares_seconds_count", {}),
        (
            "django_http_requests_latency_seconds_by_view_method_count",
            {"view": "predict", "method": "POST"},
        ),
    ]

    def counts() -> list[float]:
        return [REGISTRY.get_sample_value(*one) or 0.0 for one in series]

    before = counts()
    # By Django, and the short way.
    for body in ({"text": "a", "all_scores": True}, {"text": "a"}):
        assert ask(site + "/predict", body)[0] == 200
        after = counts()
        assert [new - old for new, old in zip(after, before, strict=True)] == [1] * len(series)
        before = after


def test_a_foreign_host_is_refused(site: str) -> None:
    assert ask(site + "/predict", {"text": "hello"}, Host="evil.example")[0] == 400


def test_a_full_queue_is_told_at_once(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serving.champion()

    def refuse(texts: list[str], patience: float) -> None:
        raise EngineOverloaded("7 texts are waiting already")

    monkeypatch.setattr(served, "_submit", refuse)
    for path, body in (("/predict", {"text": "a"}), ("/predict/batch", {"texts": ["a"]})):
        code, headers, document = ask(site + path, body)
        assert (code, headers["retry-after"]) == (503, "1")
        assert "waiting" in document["detail"]


def test_a_promotion_under_load_fails_nobody_and_mixes_no_batch(
    site: str, make_version: Callable[..., ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0.05)
    # A machine that stands still for a while refuses nobody here.
    monkeypatch.setattr(classify, "PATIENCE_SECONDS", math.inf)
    second = make_version(2)
    answered, is_over = threading.Semaphore(0), threading.Event()

    def one(texts: list[str]) -> tuple[int, str, set[str]]:
        code, _, answer = ask(site + "/predict/batch", {"texts": texts})
        versions = {item["model_version"] for item in answer.get("predictions", [])}
        return code, answer.get("model_version", ""), versions

    def ask_until_the_second_answers(asker: int) -> list[tuple[int, str, set[str]]]:
        answers: list[tuple[int, str, set[str]]] = []
        while not is_over.is_set() and (not answers or answers[-1][1] == "1"):
            answers.append(one([f"text {asker} {len(answers)} {place}" for place in range(3)]))
            answered.release()
        return answers

    with ThreadPoolExecutor(8) as pool:
        askers = [pool.submit(ask_until_the_second_answers, number) for number in range(8)]
        try:
            for _ in range(50):
                assert answered.acquire(timeout=30)
            promote(second, override=True, reason="a test")
            told = [asker.result(60) for asker in askers]
        finally:
            is_over.set()
    answers = [answer for each in told for answer in each]
    assert {code for code, _, _ in answers} == {200}
    assert all(versions == {version} for _, version, versions in answers)
    assert len(answers) >= 50 and [each[-1][1] for each in told] == ["2"] * 8


def test_a_process_that_serves_onnx_loads_no_torch(
    champion: ModelVersion, database_url: str
) -> None:
    code = (
        "import sentiment_site.asgi, sys\n"
        "from modeling import serving\n"
        "serving.champion().classify(['hello'])\n"
        "print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
