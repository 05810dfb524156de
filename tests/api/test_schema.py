"""The schema: an example of every body, each as the schema says it is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft202012Validator

from api import examples
from ingestion.models import Stream

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found = Client().get("/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    result: dict[str, Any] = json.loads(found.content)
    return result


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where it is, media type and what is said of it, of every body."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in METHODS:
                continue
            sent = operation.get("requestBody", {})
            for where, body in [("request", sent), *operation["responses"].items()]:
                for kind, media in body.get("content", {}).items():
                    yield f"{method} {path} {where}", kind, media


def test_every_body_has_an_example_that_conforms(document: dict[str, Any]) -> None:
    seen = 0
    for where, kind, media in bodies(document):
        given = [media["example"]] if "example" in media else []
        given += [example["value"] for example in media.get("examples", {}).values()]
        assert given, f"{where} ({kind}) has no example"
        schema = {**media["schema"], "components": document["components"]}
        for example in given:
            errors = list(Draft202012Validator(schema).iter_errors(example))
            assert not errors, f"{where} ({kind}): {errors[0].message}"
            seen += 1
    assert seen > 400


def test_no_component_is_left_without_use(document: dict[str, Any]) -> None:
    known = document["components"]["schemas"]
    for name in examples.COMPONENTS:
        assert name in known


@pytest.mark.django_db
def test_the_example_of_a_stream_can_be_made(admin_client: Client) -> None:
    body = examples.COMPONENTS["StreamRequest"]
    made = admin_client.post("/api/v1/streams", body, content_type="application/json")
    assert made.status_code == 201, made.content
    assert Stream.objects.get().query == body["query"]
    assert set(made.json()) == set(examples.COMPONENTS["Stream"])
