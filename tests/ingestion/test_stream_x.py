"""`manage.py stream --source x` against the stand-in, over a real socket."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ingestion.models import Connection, Post, Stream
from modeling.models import ModelVersion, Prediction
from tests.conftest import wait_until
from tests.x_api import XApi
from tests.x_api_refusals import (
    Refusal,
    no_credits,
    not_enrolled,
    rate_limited,
    too_many_connections,
    unauthorized,
    unavailable,
)

pytestmark = pytest.mark.django_db(transaction=True)
Manage = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=1.0) as api:
        yield api


@pytest.fixture
def start(manage: Manage, x: XApi) -> Manage:
    """Starts the command."""
    return partial(manage, "stream", "--source", "x", "--json", **x.environment)


def summary(process: subprocess.Popen[str], timeout: float = 60) -> dict[str, object]:
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    result: dict[str, object] = json.loads(out)
    return result


def texts() -> list[str]:
    return list(Post.objects.order_by("id").values_list("text", flat=True))


def test_a_post_is_stored_classified_and_counted_within_seconds(
    champion: ModelVersion, celery_worker: None, x: XApi, start: Callable
) -> None:
    process = start("--query", "cats")
    x.wait_for_stream()
    x.publish("cats are wonderful 🐱 today", username="catperson")
    # The first one waits for the model to be loaded.
    wait_until(lambda: Prediction.objects.exists(), 60)
    post = Post.objects.get()
    assert (post.source, post.author_username) == ("x", "catperson")
    assert [stream.query for stream in post.streams.all()] == ["cats"]
    delays = [_seconds_until_classified(x, f"cats number {number}") for number in range(3)]
    # Two, and what other tests on the same cores may cost; they do not always.
    assert min(delays) < 4
    process.send_signal(signal.SIGTERM)
    assert summary(process)["saved"] == 4
    assert Connection.objects.get().lease_owner == ""


def _seconds_until_classified(x: XApi, text: str) -> float:
    began = time.monotonic()
    x.publish(text)
    wait_until(lambda: Prediction.objects.filter(post__text=text).exists(), 60)
    return time.monotonic() - began


def test_a_bad_line_is_counted_and_the_stream_goes_on(x: XApi, start: Callable) -> None:
    process = start("--query", "cats", "--max-posts", "2")
    x.wait_for_stream()
    x.publish("cats one")
    x.send(b'{"data": {"id": \r\n')
    x.send(b"\xff\xfe\r\n")
    x.send(b'{"data": {"text": "cats without an id"}, "matching_rules": []}\r\n')
    x.publish("cats two")
    result = summary(process)
    assert (result["saved"], result["malformed"]) == (2, 3)
    assert texts() == ["cats one", "cats two"]


def test_chunk_borders_inside_lines_and_characters_do_no_harm(
    manage: Manage, database_url: str
) -> None:
    with XApi(keep_alive_seconds=1.0, chunk_bytes=7) as x:
        arguments = ("--source", "x", "--json", "--query", "cats", "--max-posts", "1")
        process = manage("stream", *arguments, **x.environment)
        x.wait_for_stream()
        x.publish("cats 🐱🐱🐱 füße")
        assert summary(process)["saved"] == 1
    assert texts() == ["cats 🐱🐱🐱 füße"]


@pytest.mark.parametrize("how", ["close", "reset", "cut", "farewell"])
def test_after_a_disconnect_it_comes_back_and_misses_nothing_delivered(
    x: XApi, start: Callable, how: str
) -> None:
    process = start("--query", "cats", "--max-posts", "2")
    x.wait_for_stream()
    x.publish("cats before")
    wait_until(lambda: Post.objects.count() == 1)
    x.end(how)
    x.wait_for_stream(connects=2)
    x.publish("cats after")
    assert summary(process)["reconnects"] == 1
    assert texts() == ["cats before", "cats after"]


@pytest.mark.parametrize(
    "refusal", [unavailable(), too_many_connections(), rate_limited(reset_in=2), rate_limited(1)]
)
def test_what_can_pass_is_tried_again(x: XApi, start: Callable, refusal: Refusal) -> None:
    x.script.append(refusal)
    process = start("--query", "cats", "--max-posts", "1")
    x.wait_for_stream(connects=2, seconds=60)
    x.publish("cats at last")
    assert summary(process)["saved"] == 1


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (unauthorized(), "TWITTER_BEARER_TOKEN"),
        (not_enrolled(), "developer portal"),
        (no_credits(), "credit"),
    ],
)
def test_what_cannot_pass_stops_and_says_what_to_check(
    x: XApi, start: Callable, refusal: Refusal, says: str
) -> None:
    x.script.append(refusal)
    process = start("--query", "cats")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert says in err
    row = Connection.objects.get()
    assert row.status == Connection.Status.FAILED
    assert says in row.last_error


def values(x: XApi) -> set[str]:
    """What the standing rules ask for."""
    with x.lock:
        return {rule["value"] for rule in x.rules.values()}


def test_rules_follow_the_streams_and_foreign_ones_stay(x: XApi, start: Callable) -> None:
    foreign = x.add_rule("dogs", "somebody else's")
    process = start("--query", "cats")
    x.wait_for_stream()
    Stream.objects.create(name="birds", query="birds")
    wait_until(lambda: values(x) == {"dogs", "cats", "birds"})
    Stream.objects.filter(query="cats").update(is_active=False)
    wait_until(lambda: values(x) == {"dogs", "birds"})
    assert foreign in x.rules
    assert x.connects == 1
    process.send_signal(signal.SIGTERM)
    summary(process)


def test_a_rule_that_x_refuses_is_shown_on_its_stream(x: XApi, start: Callable) -> None:
    Stream.objects.create(name="bad", query="-only -negations")
    process = start("--query", "cats")
    x.wait_for_stream()
    wait_until(lambda: Stream.objects.get(name="bad").last_error)
    assert "non-negation" in Stream.objects.get(name="bad").last_error
    process.send_signal(signal.SIGTERM)
    summary(process)


def test_a_killed_process_is_followed_by_the_next(x: XApi, start: Callable) -> None:
    first = start("--query", "cats")
    x.wait_for_stream()
    x.publish("cats one")
    wait_until(lambda: Post.objects.count() == 1)
    second = start("--query", "cats", "--max-posts", "1")
    first.kill()
    first.communicate()
    # When the lease has run out, and the process has begun.
    x.wait_for_stream(connects=2, seconds=45)
    x.publish("cats two")
    assert summary(second)["saved"] == 1
    assert texts() == ["cats one", "cats two"]


def test_without_a_token_it_says_which_variable(manage: Manage) -> None:
    process = manage("stream", "--query", "cats")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "TWITTER_BEARER_TOKEN" in err


def test_without_a_stream_it_says_what_to_do(x: XApi, start: Callable) -> None:
    process = start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--query" in err
