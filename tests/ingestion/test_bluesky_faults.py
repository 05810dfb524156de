"""How the Bluesky source bears what hosts and networks do, over a real socket."""

from __future__ import annotations

import threading
import time

import pytest
from django.test import override_settings

from ingestion import sources
from ingestion.events import (
    AuthorDeleted,
    Checkpoint,
    Event,
    Heartbeat,
    IncomingPost,
    Malformed,
    PostDeleted,
)
from ingestion.exceptions import (
    Closed,
    NeedsAttention,
    NetworkFault,
    NotConfigured,
    RateLimited,
    SourceError,
    Stalled,
    Unavailable,
)
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from ingestion.sources.bluesky_hosts import PUBLIC_HOSTS
from ingestion.sources.bluesky_socket import OPEN_SECONDS
from tests.conftest import wait_until
from tests.ingestion.bluesky import failure, make, open_stream, stream, take, texts
from tests.jetstream import Jetstream, Refusal, problem
from tests.jetstream_events import ALICE


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("close", Closed),
        ("restart", Closed),
        ("trouble", Unavailable),
        ("abort", NetworkFault),
        ("reset", NetworkFault),
        ("cut", NetworkFault),
        ("too_slow", Closed),
    ],
)
def test_each_end_has_its_own_error(
    bluesky: Jetstream, live: BlueskySource, how: str, error: type[SourceError]
) -> None:
    events = open_stream(live)
    bluesky.end(how)
    caught = failure(events)
    assert type(caught) is error
    assert "127.0.0.1" in str(caught)


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        (Refusal(503, "service not ready"), Unavailable, "not ready"),
        (problem(503, "ServiceUnavailable", "warming up"), Unavailable, "warming up"),
        (Refusal(500), Unavailable, "500"),
        (Refusal(429, "slow down"), RateLimited, "slow down"),
        (problem(400, "InvalidRequest", "bad kinds"), NeedsAttention, "bad kinds"),
        (Refusal(404, "404 page not found"), NeedsAttention, "BLUESKY_JETSTREAM_VERSION"),
        (Refusal(how="reset"), NetworkFault, "cannot be reached"),
    ],
)
def test_each_refusal_has_its_own_error(
    bluesky: Jetstream,
    live: BlueskySource,
    refusal: Refusal,
    error: type[SourceError],
    says: str,
) -> None:
    bluesky.script.append(refusal)
    caught = failure(live.connect(Resume()))
    assert type(caught) is error
    assert says in str(caught)


@pytest.mark.parametrize("header", ["Retry-After", "RateLimit-Reset"])
def test_the_wait_that_a_host_asks_for_is_passed_on(
    bluesky: Jetstream, live: BlueskySource, header: str
) -> None:
    value = "70" if header == "Retry-After" else str(int(time.time() + 70))
    bluesky.script.append(Refusal(429, "", {header: value}))
    caught = failure(live.connect(Resume()))
    assert isinstance(caught, RateLimited) and caught.retry_at is not None
    assert 40 < caught.retry_at - time.time() <= 70


def test_an_address_where_nobody_listens_is_a_network_fault(version: int) -> None:
    caught = failure(make(version, "ws://127.0.0.1:9").connect(Resume()))
    assert isinstance(caught, NetworkFault) and "refused" in str(caught)


def test_what_fails_at_one_host_is_tried_at_the_next(version: int) -> None:
    with Jetstream() as first, Jetstream() as second:
        live = make(version, first.url, second.url)
        first.script.append(Refusal(503))
        failure(live.connect(Resume()))
        events = open_stream(live)
        second.end("abort")
        failure(events)
        open_stream(live)
        assert (first.connects, second.connects) == (2, 1)


def test_only_when_every_host_refuses_is_a_person_needed(version: int) -> None:
    with Jetstream() as first, Jetstream() as second:
        live = make(version, first.url, second.url)
        first.script.append(Refusal(404))
        assert type(failure(live.connect(Resume()))) is Unavailable
        second.script.append(Refusal(404))
        assert type(failure(live.connect(Resume()))) is NeedsAttention


@pytest.mark.parametrize("query", ["cats", f"from:{ALICE}"])
@pytest.mark.parametrize("version", [1])
def test_a_host_that_says_nothing_at_all_has_stalled(
    bluesky: Jetstream, version: int, query: str
) -> None:
    live = make(version, bluesky.url, stall_seconds=0.5, query=query)
    events = open_stream(live)
    bluesky.stall()
    began = time.monotonic()
    assert type(failure(events)) is Stalled
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("version", [1])
def test_a_host_that_only_answers_pings_has_stalled(bluesky: Jetstream, version: int) -> None:
    events = open_stream(make(version, bluesky.url, stall_seconds=0.6))
    assert type(failure(events)) is Stalled


@pytest.mark.parametrize("version", [1])
def test_a_few_authors_may_be_silent_while_the_host_answers(
    bluesky: Jetstream, version: int
) -> None:
    live = make(version, bluesky.url, stall_seconds=1, query=f"from:{ALICE}")
    # The time to the first sign of life counts from here.
    began = time.monotonic()
    events = open_stream(live)
    assert isinstance(next(events), Heartbeat)
    assert time.monotonic() - began > 1
    bluesky.publish("by Alice")
    assert texts(events, 1) == ["by Alice"]


def test_a_flood_that_nobody_asked_for_is_one_sign_of_life_now_and_then(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    events = open_stream(live)
    for number in range(3000):
        bluesky.publish(f"dogs {number}")
    bluesky.publish("cats")
    before: list[Event] = []
    for event in events:
        if isinstance(event, IncomingPost):
            break
        before.append(event)
    assert len(before) < 20


@pytest.mark.parametrize(
    "garbage", [b"garbage", b"\xff\xfe\xfd", b'{"did":"did:plc:x","time_us":', b"[]", b"\x00"]
)
def test_what_cannot_be_read_is_told_and_the_stream_goes_on(
    bluesky: Jetstream, live: BlueskySource, garbage: bytes
) -> None:
    events = open_stream(live)
    bluesky.send(garbage)
    bluesky.publish("cats")
    bad = take(events, Malformed)
    assert (bad.excerpt, bad.size) == (garbage, len(garbage))
    assert texts(events, 1) == ["cats"]


def test_a_post_that_cannot_be_one_is_told(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.publish("cats", rkey="k" * 300)
    bluesky.publish(["cats"])
    bluesky.publish("cats")
    assert "255" in take(events, Malformed).reason
    assert "not a string" in take(events, Malformed).reason
    assert texts(events, 1) == ["cats"]


def test_a_message_without_end_does_not_fill_the_memory(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    events = open_stream(live)
    bluesky.send(b'{"a":"' + b"a" * 2_000_000)
    caught = failure(events)
    assert type(caught) is NetworkFault and "1048576 bytes" in str(caught)


def test_hosts_are_asked_to_leave_out_what_is_too_long(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    open_stream(live)
    assert "maxMessageSizeBytes=1048576" in bluesky.requests[0]


def test_what_comes_twice_is_passed_on_twice(bluesky: Jetstream, live: BlueskySource) -> None:
    bluesky.repeats = 2
    events = open_stream(live)
    bluesky.publish("cats")
    assert texts(events, 2) == ["cats", "cats"]


def test_disconnecting_wakes_a_reader_that_waits(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    threading.Timer(0.2, live.disconnect).start()
    began = time.monotonic()
    assert list(events) == []
    assert time.monotonic() - began < 5


def test_disconnecting_ends_a_handshake(bluesky: Jetstream, live: BlueskySource) -> None:
    bluesky.script.append(Refusal(how="hang"))

    def disconnect() -> None:
        wait_until(lambda: bluesky.connects)
        live.disconnect()

    threading.Thread(target=disconnect).start()
    began = time.monotonic()
    assert list(live.connect(Resume())) == []
    assert time.monotonic() - began < OPEN_SECONDS


def test_after_a_disconnect_it_can_connect_again(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    live.disconnect()
    assert list(events) == []
    again = open_stream(live)
    bluesky.publish("cats")
    assert texts(again, 1) == ["cats"]


def test_what_is_on_its_way_is_said_before_a_disconnect_ends(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    events = open_stream(live)
    bluesky.publish("cats")
    assert texts(events, 1) == ["cats"]
    live.disconnect()
    assert [type(event) for event in events] == [Checkpoint]


def test_streams_may_change_while_a_flood_comes(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            live.follow([stream(1, "cats"), stream(2, "birds")])
            live.follow([stream(1, "cats")])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(500):
            bluesky.publish(f"cats {number}")
        assert texts(events, 500) == [f"cats {number}" for number in range(500)]
    finally:
        stop.set()
        thread.join()


def test_a_message_that_was_put_aside_can_be_replayed(
    bluesky: Jetstream, live: BlueskySource, version: int
) -> None:
    uri = bluesky.publish("cats")
    bluesky.publish("dogs")
    bluesky.account(ALICE, "deleted")
    bluesky.delete(uri)
    cats, dogs, gone, deletion = (each.message(version) for each in bluesky.history)
    (post,) = live.parse(cats)
    assert isinstance(post, IncomingPost) and post.stream_ids == {1}
    assert list(live.parse(dogs)) == []
    assert list(live.parse(deletion)) == [PostDeleted((uri,))]
    assert list(live.parse(gone)) == [AuthorDeleted(ALICE)]
    assert [type(event) for event in live.parse(b"garbage")] == [Malformed]
    assert list(live.parse(b'{"$type":"error","error":"ConsumerTooSlow"}')) == []


def test_it_needs_no_settings() -> None:
    live = sources.create("bluesky")
    assert isinstance(live, BlueskySource)
    assert (live.version, live._hosts.choose()) == (1, PUBLIC_HOSTS[1][0])
    with override_settings(BLUESKY_JETSTREAM_VERSION=2):
        other = sources.create("bluesky")
    assert isinstance(other, BlueskySource) and other._hosts.choose() == PUBLIC_HOSTS[2][0]


@pytest.mark.parametrize("host", ["http://a.example", "ws://", "wss://a.example/?x=1", "a b:c"])
def test_a_host_that_is_none_names_the_variable(host: str) -> None:
    with (
        override_settings(BLUESKY_JETSTREAM_HOSTS=["jetstream.example", host]),
        pytest.raises(NotConfigured, match="BLUESKY_JETSTREAM_HOSTS"),
    ):
        sources.create("bluesky")
