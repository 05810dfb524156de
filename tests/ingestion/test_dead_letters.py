"""Messages that could not be understood: kept, bounded, replayed."""

import json
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from ingestion.events import malformed
from ingestion.models import DailyUsage, DeadLetter, Post
from ingestion.services import dead_letters
from ingestion.sources.x import XSource
from tests.conftest import wait_until
from tests.ingestion.factories import stream
from tests.x_api import XApi

pytestmark = pytest.mark.django_db(transaction=True)

LINE = {
    "data": {"id": "7", "text": "cats", "created_at": "2026-11-24T15:00:00.000Z"},
    "matching_rules": [],
}


@pytest.fixture
def x(settings: Settings) -> Iterator[XApi]:
    with XApi(keep_alive_seconds=0.2) as api:
        settings.TWITTER_API_BASE_URL = api.url
        settings.TWITTER_BEARER_TOKEN = api.token
        yield api


def letter(message: bytes, reason: str = "broken") -> DeadLetter:
    dead_letters.keep("x", [malformed(reason, message)])
    return DeadLetter.objects.latest("id")


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"data": {"id": ',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"data": {"text": "no id"}}',
        b'{"data": {"id": "8", "text": "no time"}}',
        b'{"data": 5}',
        b'{"errors": [{"title": "Odd", "detail": "nothing that ends the stream"}]}',
        b"[" * 5000,
    ],
    ids=range(8),
)
def test_garbage_is_put_aside_and_the_stream_goes_on(
    x: XApi, run: Callable, garbage: bytes
) -> None:
    stream(query="cats")
    with run(XSource(x.token, x.url)) as it:
        x.wait_for_stream()
        x.send(garbage + b"\r\n")
        x.publish("cats")
        wait_until(lambda: Post.objects.exists() and DeadLetter.objects.exists())
    kept = DeadLetter.objects.get()
    assert bytes(kept.excerpt) == garbage[:2048]
    assert kept.size == len(garbage)
    assert kept.reason
    assert x.connects == 1
    assert it.tally.malformed == 1


def test_a_letter_is_replayed_as_if_it_came_now(x: XApi) -> None:
    kept = letter(json.dumps(LINE).encode())
    assert dead_letters.replay([kept.pk]) == {kept.pk: "1 saved, 0 known before, 0 forgotten"}
    assert Post.objects.get().text == "cats"
    assert dead_letters.replay([kept.pk]) == {kept.pk: "0 saved, 1 known before, 0 forgotten"}
    kept.refresh_from_db()
    assert kept.replayed_at is not None and kept.outcome.startswith("0 saved")


def test_a_letter_that_is_still_garbage_says_so(x: XApi) -> None:
    kept = letter(b'{"data": ')
    assert "still not understood" in dead_letters.replay([kept.pk])[kept.pk]


def test_of_a_page_in_a_letter_the_good_posts_are_saved(x: XApi) -> None:
    good = {"id": "7", "text": "cats", "created_at": "2026-01-01T00:00:00Z"}
    page = {"data": [good, good | {"id": "8", "text": ""}, good | {"id": "9"}]}
    dead_letters.keep("file", [malformed("broken", json.dumps(page).encode())])
    outcome = dead_letters.replay([DeadLetter.objects.get().pk]).popitem()[1]
    assert outcome.startswith("2 saved, 0 known before, 0 forgotten; still not understood: post 2")
    assert set(Post.objects.values_list("external_id", flat=True)) == {"7", "9"}
    # X has delivered none of them, and bills none.
    assert not DailyUsage.objects.filter(source="x").exists()


def test_of_a_long_letter_only_the_beginning_is_there(x: XApi) -> None:
    kept = letter(json.dumps(LINE | {"long": "x" * 5000}).encode())
    assert not kept.is_whole
    assert "only the first 2,048" in dead_letters.replay([kept.pk])[kept.pk]


def test_without_credentials_replaying_says_what_is_missing(settings: Settings) -> None:
    settings.TWITTER_BEARER_TOKEN = ""
    kept = letter(json.dumps(LINE).encode())
    assert "TWITTER_BEARER_TOKEN" in dead_letters.replay([kept.pk])[kept.pk]


def test_a_deletion_is_replayed_too(x: XApi) -> None:
    letter(json.dumps(LINE).encode())
    dead_letters.replay(DeadLetter.objects.values_list("pk", flat=True))
    gone = letter(b'{"data": {"delete": {"tweet": {"id": "7", "author_id": "1"}}}}')
    assert "1 forgotten" in dead_letters.replay([gone.pk])[gone.pk]
    assert Post.objects.get().text == ""


def test_the_oldest_letters_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "KEPT_A_SOURCE", 20)
    letters = [malformed(str(number), b"x") for number in range(1001)]
    dead_letters.keep("bluesky", letters[:5])
    for start in range(0, 1001, 10):
        dead_letters.keep("x", letters[start : start + 10])
    kept = DeadLetter.objects.filter(source="x")
    # Looked at every 500 letters.
    assert kept.count() < 20 + 510
    assert kept.first().reason == "1000"
    assert DeadLetter.objects.filter(source="bluesky").count() == 5
