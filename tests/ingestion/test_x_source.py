"""One connection to X: what ends it, and how soon."""

import threading
import time
from collections.abc import Iterator

import pytest

from ingestion.events import Connected, Event, Heartbeat, IncomingPost, PostDeleted
from ingestion.exceptions import Closed, NeedsAttention, NetworkFault, RateLimited, Stalled
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.x import XSource
from tests.x_api import XApi
from tests.x_api_refusals import too_many_connections, usage_cap_exceeded


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=0.2) as api:
        api.add_rule("cats", "sentiment:1:Cats")
        yield api


def source(x: XApi, stall_seconds: float = 5.0) -> XSource:
    return XSource(x.token, x.url, stall_seconds=stall_seconds)


def open_stream(x: XApi, live: XSource) -> Iterator[Event]:
    events = live.connect(Resume())
    assert isinstance(next(events), Connected)
    x.wait_for_stream()
    return events


def first_post(events: Iterator[Event]) -> IncomingPost:
    return next(event for event in events if isinstance(event, IncomingPost))


def test_keep_alives_are_heard(x: XApi) -> None:
    assert isinstance(next(open_stream(x, source(x))), Heartbeat)


def test_a_post_comes_with_what_was_asked_for(x: XApi) -> None:
    events = open_stream(x, source(x))
    x.publish("cats 🐱", username="catperson", lang="de", in_reply_to_user_id="3")
    post = first_post(events)
    assert (post.text, post.author_username, post.lang) == ("cats 🐱", "catperson", "de")
    assert post.stream_ids == {1}
    assert "in_reply_to_user_id" not in (post.raw or {})


def test_silence_beyond_the_grace_is_a_stall(x: XApi) -> None:
    events = open_stream(x, source(x, stall_seconds=1.0))
    x.stall()
    began = time.monotonic()
    with pytest.raises(Stalled):
        list(events)
    assert time.monotonic() - began < 20


def test_a_line_that_only_trickles_in_is_a_stall(x: XApi) -> None:
    x.keep_alive_seconds = 60
    events = open_stream(x, source(x, stall_seconds=1.0))
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.1):
            x.send(b" ")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(Stalled):
            list(events)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("how", "error"),
    [("close", Closed), ("farewell", Closed), ("reset", NetworkFault), ("cut", NetworkFault)],
)
def test_each_end_has_its_own_error(x: XApi, how: str, error: type[Exception]) -> None:
    events = open_stream(x, source(x))
    x.end(how)
    with pytest.raises(error):
        list(events)


def test_disconnecting_wakes_a_reader_that_waits_for_bytes(x: XApi) -> None:
    x.keep_alive_seconds = 60
    live = source(x, stall_seconds=30)
    events = open_stream(x, live)
    threading.Timer(0.2, live.disconnect).start()
    began = time.monotonic()
    assert list(events) == []
    assert time.monotonic() - began < 20


def test_a_deletion_is_understood(x: XApi) -> None:
    events = open_stream(x, source(x))
    x.send(b'{"data":{"delete":{"tweet":{"id":"7","author_id":"8"}}}}\r\n')
    deleted = next(event for event in events if isinstance(event, PostDeleted))
    assert deleted.external_ids == ("7",)


def test_partial_errors_beside_a_post_are_no_disconnect(x: XApi) -> None:
    events = open_stream(x, source(x))
    x.send(
        b'{"data":{"id":"9","text":"cats","created_at":"2026-01-01T00:00:00Z"},"errors":'
        b'[{"title":"Not Found Error","type":"x/resource-not-found"}],'
        b'"matching_rules":[{"id":"1"}]}\n'
    )
    assert first_post(events).external_id == "9"


def test_an_older_connection_is_killed(x: XApi) -> None:
    x.script.append(too_many_connections())
    with pytest.raises(Exception, match="older connection"):
        list(source(x).connect(Resume()))
    assert x.kills == 1


def test_the_monthly_cap_needs_a_person(x: XApi) -> None:
    x.script.append(usage_cap_exceeded())
    with pytest.raises(NeedsAttention, match="this month"):
        list(source(x).connect(Resume()))


def test_the_last_connect_of_a_window_is_followed_by_a_wait(x: XApi) -> None:
    x.connects = 49
    live = source(x)
    events = open_stream(x, live)
    x.end("close")
    with pytest.raises(Closed):
        list(events)
    with pytest.raises(RateLimited) as caught:
        list(live.connect(Resume()))
    assert x.connects == 50
    assert caught.value.retry_at is not None and caught.value.retry_at > time.time()


def test_an_address_where_nobody_listens_is_a_network_fault() -> None:
    with pytest.raises(NetworkFault, match="refused"):
        list(XSource("token", "http://127.0.0.1:9").connect(Resume()))


def test_an_address_that_is_no_x_api_says_which_variable(x: XApi) -> None:
    with pytest.raises(NeedsAttention, match="TWITTER_API_BASE_URL"):
        list(XSource(x.token, f"{x.url}/elsewhere").connect(Resume()))


def test_rules_are_synced_at_the_configured_address(x: XApi) -> None:
    foreign = x.add_rule("dogs")
    followed = source(x).follow([Stream(pk=2, name="Birds", query="birds")])
    assert {rule["value"] for rule in x.rules.values()} == {"dogs", "birds"}
    assert followed.foreign == ["dogs"]
    assert followed.rule_ids.keys() == {2}
    assert foreign in x.rules


def test_a_wrong_token_needs_a_person(x: XApi) -> None:
    with pytest.raises(NeedsAttention, match="TWITTER_BEARER_TOKEN"):
        XSource("wrong", x.url).follow([])
