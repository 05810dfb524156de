"""Texts that programs ask about become posts where STORE_API_TEXTS is on, and nowhere else."""

import json
import urllib.request

import pytest
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling.models import ModelVersion, Prediction
from modeling.services.classify import classify_pending
from tests.conftest import table_away

pytestmark = pytest.mark.django_db(transaction=True)


def ask(site: str, path: str, body: bytes, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(site + path, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def ask_every_way(site: str) -> None:
    ask(site, "/predict", b'{"text": "one"}')
    ask(site, "/predict", b'{"text": "two", "explain": true}')
    ask(site, "/predict/batch", b'{"texts": ["three", "three"]}')
    ask(site, "/predict/batch", b'{"texts": ["four"], "all_scores": false}')
    ask(site, "/api/v1/predictions/stream", b'"five"\n"six"\n', "application/x-ndjson")


def test_texts_are_kept_and_classified_as_any_post(
    live_site: str, champion: ModelVersion, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = False
    settings.STORE_API_TEXTS = True
    ask_every_way(live_site)
    posts = Post.objects.filter(source="api").order_by("pk")
    texts = list(posts.values_list("text", flat=True))
    assert texts == ["one", "two", "three", "three", "four", "five", "six"]
    classify_pending()
    assert Prediction.objects.filter(post__in=posts).count() == 7
    found = urllib.request.urlopen(f"{live_site}/api/v1/posts?source=api", timeout=30)
    assert {row["source"] for row in json.load(found)["results"]} == {"api"}


def test_texts_are_forgotten_otherwise(
    live_site: str, champion: ModelVersion, settings: Settings
) -> None:
    settings.API_REQUIRE_AUTH = False
    ask_every_way(live_site)
    assert not Post.objects.exists()


def test_an_answer_does_not_wait_for_the_store(
    live_site: str,
    champion: ModelVersion,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.API_REQUIRE_AUTH = False
    settings.STORE_API_TEXTS = True
    ask(live_site, "/predict", b'{"text": "one"}')
    with table_away("ingestion_post"):
        ask(live_site, "/predict", b'{"text": "two"}')
    assert "1 texts of the API could not be stored" in caplog.text
    assert Post.objects.get().text == "one"
