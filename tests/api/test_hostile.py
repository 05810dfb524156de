"""Input that wants to do harm: a quick refusal, or a right prediction; never a 5xx."""

import json
import time

import pytest
from django.test import Client

from modeling.models import ModelVersion

pytestmark = pytest.mark.django_db
# The goal is 0.1 s; a slower machine is given more. Of work, not of waiting for others' work.
REFUSAL_SECONDS = 1.0

REFUSED = {
    "10 MB": json.dumps({"text": "x" * 10_000_000}).encode(),
    "10 MB of batch": json.dumps({"texts": ["x" * 9_000] * 1_100}).encode(),
    "deep arrays": b'{"text": ' + b"[" * 500_000,
    "deep objects": b'{"a":' * 150_000,
    "deep and whole": b'{"text": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "half a character": b'{"text": "\xf0\x9f\x98"}',
    "overlong encoding": b'{"text": "\xc0\xaf"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "lone surrogate": b'{"text": "\\ud83d"}',
    "lone surrogate in a name": b'{"text": "a", "\\ud83d": 1}',
    "surrogates swapped": b'{"texts": ["a", "\\ude00\\ud83d"]}',
    "100,000 emoji": json.dumps({"text": "😀" * 100_000}, ensure_ascii=False).encode(),
    "1,001 texts": json.dumps({"texts": ["a"] * 1_001}).encode(),
    "a huge number": b'{"text": ' + b"9" * 100_000 + b"}",
    "infinity": b'{"text": 1e999}',
    "many keys": json.dumps({str(n): n for n in range(50_000)}).encode(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_at_once(client: Client, champion: ModelVersion, name: str) -> None:
    path = "/predict/batch" if b"texts" in REFUSED[name][:20] else "/predict"
    started = time.thread_time()
    answer = client.post(path, REFUSED[name], "application/json")
    seconds = time.thread_time() - started
    assert answer.status_code in {400, 413}, answer.content[:200]
    assert answer["Content-Type"] == "application/problem+json"
    # Nobody is sent back what they sent.
    assert len(answer.content) < 20_000
    assert seconds < REFUSAL_SECONDS


@pytest.mark.parametrize(
    "hidden",
    ["{}", "\u202e{}\u202c", "\x00{}\x00", "\u2067{}\u2069", "\ufeff{}", "{}\u200b\u200d"],
)
def test_what_is_hidden_in_a_text_does_not_hide_its_feeling(
    client: Client, champion: ModelVersion, hidden: str
) -> None:
    text = hidden.format("the food wonderful today")
    answer = client.post("/predict", json.dumps({"text": text}), "application/json")
    assert answer.status_code == 200
    assert answer.json()["label"] == "positive"
