"""Predictions over HTTP: the contract, and everything that is not it."""

import gzip
import json
from typing import Any

import pytest
from django.test import Client

from ingestion.models import Post
from modeling import serving
from modeling.models import LabelScheme, ModelVersion

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, body: Any) -> Any:
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.post(path, data, content_type="application/json")


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    assert set(document) >= {"type", "title", "status", "detail"}
    assert document["status"] == status
    return document


@pytest.mark.parametrize("path", ["/predict", "/predict/"])
def test_one_text(client: Client, champion: ModelVersion, path: str) -> None:
    answer = post(client, path, {"text": "the food wonderful today"}).json()
    assert set(answer) == {"label", "confidence", "scores", "model_version", "latency_ms"}
    assert (answer["label"], answer["model_version"]) == ("positive", "1")
    assert set(answer["scores"]) == {"negative", "neutral", "positive"}
    assert answer["confidence"] == pytest.approx(answer["scores"]["positive"])


@pytest.mark.parametrize("path", ["/predict/batch", "/predict/batch/"])
def test_a_batch_keeps_its_order(client: Client, champion: ModelVersion, path: str) -> None:
    texts = ["the food awful today", "the food wonderful today"] * 3
    answer = post(client, path, {"texts": texts}).json()
    assert [item["label"] for item in answer["predictions"]] == ["negative", "positive"] * 3
    assert set(answer) == {"predictions", "model_version", "latency_ms"}


def test_a_thousand_texts_are_a_batch(client: Client, champion: ModelVersion) -> None:
    answer = post(client, "/predict/batch", {"texts": ["word"] * 1000}).json()
    assert len(answer["predictions"]) == 1000


def test_an_explanation_tells_what_each_word_does(client: Client, champion: ModelVersion) -> None:
    text = "the food wonderful today"
    answer = post(client, "/predict", {"text": text, "explain": True}).json()
    assert answer["label"] == "positive" and answer["model_version"] == "1"
    words = answer["explanation"]
    assert [word["word"] for word in words] == text.split()
    assert all(text[word["start"] : word["end"]] == word["word"] for word in words)
    without = post(client, "/predict", {"text": "the food  today"}).json()["scores"]["positive"]
    drop = answer["scores"]["positive"] - without
    # What shares a batch moves an int8 score a little.
    assert words[2]["weight"] == pytest.approx(drop, abs=0.03) and words[2]["weight"] > 0
    long = post(client, "/predict", {"text": "word " * 500, "explain": True}).json()
    assert len(long["explanation"]) == 64 and long["truncated"] is True
    document = problem(post(client, "/predict/batch", {"texts": ["a"], "explain": True}), 400)
    assert "one by one" in document["detail"]


def test_scores_may_be_left_out(client: Client, champion: ModelVersion) -> None:
    assert "scores" not in post(client, "/predict", {"text": "a", "all_scores": False}).json()
    answer = post(client, "/predict/batch", {"texts": ["a", "b"], "all_scores": False}).json()
    assert all("scores" not in item and "label" in item for item in answer["predictions"])


@pytest.mark.parametrize("version", ["champion", "1", 1])
def test_the_version_that_serves_may_be_asked_for(
    client: Client, champion: ModelVersion, version: Any
) -> None:
    body = {"text": "a", "version": version}
    assert post(client, "/predict", body).json()["model_version"] == "1"


@pytest.mark.parametrize("version", ["challenger", "2", 2, True, None, [1]])
def test_another_version_is_refused(client: Client, champion: ModelVersion, version: Any) -> None:
    for path, texts in (("/predict", {"text": "a"}), ("/predict/batch", {"texts": ["a"]})):
        document = problem(post(client, path, {**texts, "version": version}), 400)
        assert document["errors"][0]["field"] == "version"


@pytest.mark.parametrize(
    "path", ["/predict", "/retrain/", "/model/info", "/metrics", "/", "/health"]
)
def test_head_and_options_are_answered(client: Client, champion: ModelVersion, path: str) -> None:
    options = client.options(path)
    assert options.status_code in {200, 204} and "OPTIONS" in options["Allow"]
    head = client.head(path)
    assert head.status_code == (200 if "GET" in options["Allow"] else 405)
    assert head.content == b""


def test_what_cannot_be_had_is_a_problem(client: Client, champion: ModelVersion) -> None:
    problem(client.get("/model/info", headers={"Accept": "image/png"}), 406)
    problem(client.delete("/metrics"), 405)
    problem(client.put("/"), 405)
    problem(client.get("/health", headers={"Host": "evil.example.org"}), 400)


def test_long_answers_are_packed(client: Client, champion: ModelVersion) -> None:
    body = json.dumps({"texts": ["a"] * 50})
    answer = client.post(
        "/predict/batch", body, "application/json", headers={"Accept-Encoding": "gzip"}
    )
    assert answer["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer.content))["predictions"]) == 50


def test_nothing_is_stored(client: Client, champion: ModelVersion) -> None:
    post(client, "/predict", {"text": "keep this to yourself"})
    assert Post.objects.count() == 0


def test_a_cut_text_says_so(client: Client, champion: ModelVersion) -> None:
    assert post(client, "/predict", {"text": "word " * 500}).json()["truncated"] is True


@pytest.mark.parametrize(
    "text", ["😂" * 500, "שלום עולם", "a\u200bb\u202ec", "\u0000nul", "x" * 10_000, "ﷺ", "👨‍👩‍👧"]
)
def test_strange_texts_are_judged(client: Client, champion: ModelVersion, text: str) -> None:
    assert post(client, "/predict", {"text": text}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"text": ""}, "text", "empty"),
        ({"text": " \n"}, "text", "empty"),
        ({"text": "x" * 10_001}, "text", "10000"),
        ({"text": 5}, "text", "Not a string"),
        ({"text": None}, "text", "null"),
        ({"text": ["a"]}, "text", "Not a string"),
        ({}, "text", "required"),
        ({"text": "a", "txet": "b"}, "txet", "Unknown field"),
        ('{"text": "\\ud83d"}', "text", "surrogate"),
    ],
)
def test_a_bad_text_is_refused_by_name(
    client: Client, champion: ModelVersion, body: Any, field: str, says: str
) -> None:
    document = problem(post(client, "/predict", body), 400)
    assert document["errors"][0]["field"] == field
    assert says in document["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"text": "a', "not JSON"),
        ('{"text": NaN}', "NaN"),
        ('{"text": "a", "text": "b"}', "twice"),
        (b'{"text": "\xff"}', "not UTF-8"),
        ("[" * 100_000, "deep"),
    ],
)
def test_a_bad_body_is_refused(client: Client, body: str | bytes, says: str) -> None:
    assert says in problem(post(client, "/predict", body), 400)["detail"]


@pytest.mark.parametrize("body", ["[]", '"a"', "5", "null"])
def test_a_body_that_is_no_object_is_refused(client: Client, body: str) -> None:
    problem(post(client, "/predict", body), 400)


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ([], "texts"),
        (["a"] * 1001, "texts"),
        (["a", "", "b"], "texts[1]"),
        (["a", "b", 3], "texts[2]"),
        ("abc", "texts"),
    ],
)
def test_a_bad_batch_names_the_place(
    client: Client, champion: ModelVersion, texts: Any, field: str
) -> None:
    document = problem(post(client, "/predict/batch", {"texts": texts}), 400)
    assert document["errors"][0]["field"] == field


def test_a_body_over_one_mebibyte_is_too_large(client: Client) -> None:
    body = json.dumps({"texts": ["x" * 1000] * 1050})
    problem(post(client, "/predict/batch", body), 413)


def test_only_json_is_taken(client: Client) -> None:
    problem(client.post("/predict", {"text": "a"}), 415)


def test_reading_a_prediction_route_is_not_allowed(client: Client) -> None:
    problem(client.get("/predict"), 405)


def test_without_a_model_the_service_is_unavailable(client: Client, scheme: LabelScheme) -> None:
    serving.reset()
    response = post(client, "/predict", {"text": "a"})
    assert "bootstrap" in problem(response, 503)["detail"]
    assert response["Retry-After"] == "1"
