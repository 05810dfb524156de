"""Predictions over HTTP: the contract, and everything that is not it."""

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
