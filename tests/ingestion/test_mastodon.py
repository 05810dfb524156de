"""One connection to Mastodon: many timelines, what they say, and what ends it."""

import threading
import time
from collections.abc import Iterator

import pytest

from ingestion.events import (
    Connected,
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
    NothingFollowed,
    RateLimited,
    Stalled,
    Unavailable,
)
from ingestion.sources import Resume, create
from ingestion.sources.mastodon import MastodonSource
from tests.conftest import wait_until
from tests.ingestion.mastodon_tape import Listen, Tape, listening, source, stream
from tests.mastodon_api import MastodonApi
from tests.mastodon_api_server import Refusal, rate_limited


@pytest.fixture
def m() -> Iterator[MastodonApi]:
    with MastodonApi(keep_alive_seconds=0.3) as api:
        yield api


@pytest.fixture
def listen() -> Iterator[Listen]:
    with listening() as start:
        yield start


# --- streaming


def test_a_post_comes_with_its_author_and_streams(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public | cats", "#cats", "public | dogs"))
    identity = m.publish("cats 🐱", tags=["Cats"], username="anna@example.org")
    wait_until(lambda: len(tape.texts) == 2)
    posts = tape.of(IncomingPost)
    assert {post.external_id for post in posts} == {f"{m.host}/{identity}"}
    assert {stream for post in posts for stream in post.stream_ids} == {1, 2}
    assert (posts[0].text, posts[0].author_username, posts[0].lang) == (
        "cats 🐱",
        "anna@example.org",
        "en",
    )
    assert tape.events[0] == Connected(replays=False)


def test_one_stream_can_read_several_timelines(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "#cats OR #dogs public:local"))
    assert m.channels() == ["#cats", "#dogs", "public:local"]
    m.publish("one", tags=["cats"], username="a@remote.example")
    m.publish("two", tags=["dogs"], username="a@remote.example")
    m.publish("three")
    wait_until(lambda: len(tape.texts) == 3)
    assert set(tape.texts) == {"one", "two", "three"}


def test_a_hashtag_of_another_script_is_found(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "#ねこ"))
    m.publish("にゃー", tags=["ねこ"])
    wait_until(lambda: tape.texts == ["にゃー"])


def test_languages_are_kept_apart(m: MastodonApi, listen: Listen) -> None:
    live = MastodonSource(m.url, m.token)
    live.follow([stream(1, "public", ["en"]), stream(2, "public", ["de"])])
    tape = listen(live)
    m.publish("moin", language="de")
    m.publish("colour", language="en-GB")
    m.publish("???", language=None)
    m.publish("end", language="de")
    wait_until(lambda: "end" in tape.texts)
    assert [(p.text, set(p.stream_ids)) for p in tape.of(IncomingPost)] == [
        ("moin", {2}),
        ("colour", {1}),
        ("end", {2}),
    ]


def test_heartbeats_are_heard(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public"))
    wait_until(lambda: len(tape.of(Heartbeat)) >= 3)


def test_deletions_and_edits_are_told(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public"))
    identity = m.publish("before")
    m.edit(identity, "after")
    m.delete(identity)
    wait_until(lambda: tape.of(PostDeleted))
    first, second = tape.of(IncomingPost)
    assert (first.text, second.text) == ("before", "after")
    assert second.external_id.startswith(f"{first.external_id}@2")
    assert second.edit_history == (first.external_id,)
    assert tape.of(PostDeleted)[0].external_ids == (first.external_id,)


def test_bad_events_are_put_aside_and_the_stream_goes_on(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public"))
    m.send(b'event: update\ndata: {"id": \n\n')
    m.send(b"event: update\ndata: \xff\xfe\n\n")
    m.send(b"event: surprise\ndata: 1\n\n")
    m.send(b'event: update\ndata: {"id":"5","content":"<p>x</p>","visibility":"public"}\n\n')
    m.send(b"nonsense\n\n")
    m.send(b"event: notification\ndata: {}\n\n")
    m.publish("after")
    wait_until(lambda: tape.texts == ["after"])
    assert [event.reason.partition(":")[0] for event in tape.of(Malformed)] == [
        "not JSON",
        "not JSON",
        "an event of an unknown kind",
        "it has no created_at",
        "an event of an unknown kind",
    ]


def test_an_event_without_end_fills_no_memory(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public"))
    m.send(b"event: update\ndata: " + b"x" * 3_000_000 + b"\ndata: more\n\n")
    m.publish("after")
    wait_until(lambda: tape.texts == ["after"])
    (event,) = tape.of(Malformed)
    assert 3_000_000 < event.size < 3_000_100
    assert len(event.excerpt) == 2048


def test_chunk_borders_inside_lines_and_characters_do_no_harm(listen: Listen) -> None:
    with MastodonApi(chunk_bytes=7) as m:
        tape = listen(source(m, "public"))
        m.publish("cats 🐱🐱🐱 füße")
        wait_until(lambda: tape.texts == ["cats 🐱🐱🐱 füße"])


# --- ends


@pytest.mark.parametrize(
    ("how", "error"), [("close", Closed), ("reset", NetworkFault), ("cut", NetworkFault)]
)
def test_one_broken_timeline_ends_the_connection(
    m: MastodonApi, listen: Listen, how: str, error: type[Exception]
) -> None:
    tape = listen(source(m, "public", "#cats"))
    m.publish("last words")
    wait_until(lambda: tape.texts == ["last words"])
    m.end(how, "#cats")
    assert isinstance(tape.until_over(), error)
    assert tape.texts == ["last words"]
    wait_until(lambda: m.channels() == [])


def test_silence_beyond_the_grace_is_a_stall(m: MastodonApi, listen: Listen) -> None:
    m.keep_alive_seconds = 0.1
    tape = listen(source(m, "public", "#cats", stall_seconds=1.5))
    m.stall("#cats")
    began = time.monotonic()
    error = tape.until_over()
    assert isinstance(error, Stalled)
    assert "#cats" in str(error)
    assert time.monotonic() - began < 8


def test_a_line_that_only_trickles_in_is_a_stall(m: MastodonApi, listen: Listen) -> None:
    m.keep_alive_seconds = 60
    tape = listen(source(m, "public", stall_seconds=1.0))
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.1):
            m.send(b" ")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert isinstance(tape.until_over(), Stalled)
    finally:
        stop.set()
        thread.join()


def test_disconnecting_ends_it_at_once_and_quietly(m: MastodonApi, listen: Listen) -> None:
    m.keep_alive_seconds = 60
    live = source(m, "public", "#cats", stall_seconds=30)
    tape = listen(live)
    began = time.monotonic()
    live.disconnect()
    assert tape.until_over() is None
    assert time.monotonic() - began < 8
    wait_until(lambda: m.channels() == [])


def test_disconnecting_does_not_wait_for_a_connection_that_is_being_made(m: MastodonApi) -> None:
    reached, release = threading.Event(), threading.Event()
    m.before_request = lambda: (reached.set(), release.wait(20))
    live = source(m, "public")
    tape = Tape(live)
    assert reached.wait(10)
    began = time.monotonic()
    live.disconnect()
    assert tape.until_over() is None
    assert time.monotonic() - began < 8
    release.set()


def test_after_a_disconnect_it_can_be_connected_again(m: MastodonApi, listen: Listen) -> None:
    live = source(m, "public")
    listen(live).stop()
    tape = listen(live)
    m.publish("again")
    wait_until(lambda: tape.texts == ["again"])


REFUSALS = [
    (Refusal(401, "Invalid access token"), NeedsAttention, "MASTODON_ACCESS_TOKEN"),
    (Refusal(403, "This action is not allowed"), NeedsAttention, "read:statuses"),
    (Refusal(422, "requires an authenticated user"), NeedsAttention, "MASTODON_ACCESS_TOKEN"),
    (Refusal(503), Unavailable, "503"),
    (Refusal("reset"), NetworkFault, "cannot be reached"),
    (rate_limited(), RateLimited, "Too many requests"),
]


@pytest.mark.parametrize(
    ("path", "refusal", "error", "words"),
    [
        *(("/api/v1/streaming/hashtag", *each) for each in REFUSALS),
        *(("/api/v1/instance", *each) for each in REFUSALS),
        # An instance need not have the other address.
        ("/api/v1/streaming/hashtag", Refusal(404, "Not found"), NeedsAttention, "BASE_URL"),
    ],
)
def test_each_refusal_has_its_own_error(
    m: MastodonApi, path: str, refusal: Refusal, error: type[Exception], words: str
) -> None:
    m.script[path].append(refusal)
    with pytest.raises(error, match=words):
        list(source(m, "public", "#cats").connect(Resume()))
    wait_until(lambda: m.channels() == [])


def test_an_instance_without_a_description_streams_at_its_own_address(
    m: MastodonApi, listen: Listen
) -> None:
    m.script["/api/v1/instance"].extend([Refusal(404)] * 9)
    m.script["/api/v2/instance"].extend([Refusal(404)] * 9)
    listen(source(m, "public"))


def test_a_limit_says_when_to_come_again(m: MastodonApi) -> None:
    m.script["/api/v1/streaming"].append(rate_limited(reset_in=60))
    with pytest.raises(RateLimited) as caught:
        list(source(m, "public").connect(Resume()))
    assert caught.value.retry_at is not None
    assert 50 < caught.value.retry_at - time.time() < 62


def test_a_missing_token_is_named(m: MastodonApi) -> None:
    live = MastodonSource(m.url, "")
    live.follow([stream(1, "public")])
    with pytest.raises(NeedsAttention, match="MASTODON_ACCESS_TOKEN"):
        list(live.connect(Resume()))


def test_an_address_where_nobody_listens_is_a_network_fault() -> None:
    live = MastodonSource("http://127.0.0.1:9", "token")
    live.follow([stream(1, "public")])
    with pytest.raises(NetworkFault, match="refused"):
        list(live.connect(Resume()))


def test_an_address_that_leads_elsewhere_names_the_other(m: MastodonApi) -> None:
    elsewhere = m.url.replace("127.0.0.1", "localhost")
    m.script["/api/v1/instance"].append(Refusal(301, "", {"Location": f"{elsewhere}/x"}))
    with pytest.raises(NeedsAttention, match="set MASTODON_BASE_URL to it"):
        list(source(m, "public").connect(Resume()))


def test_an_address_that_is_no_mastodon_says_which_variable(m: MastodonApi) -> None:
    m.streaming_type = "text/html"
    with pytest.raises(NeedsAttention, match="MASTODON_BASE_URL"):
        list(source(m, "public").connect(Resume()))


# --- streams that change


def test_timelines_open_and_close_without_disturbing_the_others(
    m: MastodonApi, listen: Listen
) -> None:
    live = source(m, "public", "#cats")
    tape = listen(live)
    live.follow([stream(1, "public"), stream(3, "#dogs")])
    wait_until(lambda: m.channels() == ["#dogs", "public"])
    m.publish("woof", tags=["dogs"], in_reply_to_id="1")
    m.publish("meow", tags=["cats"], in_reply_to_id="1")
    m.publish("everybody")
    wait_until(lambda: "everybody" in tape.texts and "woof" in tape.texts)
    assert "meow" not in tape.texts
    assert m.connects == 3
    assert [set(post.stream_ids) for post in tape.of(IncomingPost) if post.text == "woof"] == [{3}]


def test_a_new_filter_holds_at_once(m: MastodonApi, listen: Listen) -> None:
    live = source(m, "public | cats")
    tape = listen(live)
    live.follow([stream(1, "public | dogs")])
    m.publish("cats")
    m.publish("dogs")
    wait_until(lambda: tape.texts == ["dogs"])
    assert m.connects == 1


def test_without_any_timeline_there_is_nothing_to_follow(m: MastodonApi, listen: Listen) -> None:
    live = source(m, "public")
    tape = listen(live)
    live.follow([])
    assert isinstance(tape.until_over(), NothingFollowed)
    with pytest.raises(NothingFollowed):
        list(live.connect(Resume()))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("cats", "behind a |"),
        ("", "name a timeline"),
        ("| cats", "name a timeline"),
        ("#123", "no timeline"),
        ("#a&b", "no timeline"),
        ("public:remote", "no timeline"),
        ("public | (cats", "never closed"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: str, reason: str) -> None:
    live = MastodonSource("http://127.0.0.1:9", "token")
    followed = live.follow([stream(1, query), stream(2, "public")])
    assert list(followed.refused) == [1]
    assert live.validate(stream(1, query)) == followed.refused[1]
    assert live.validate(stream(2, "public")) == ""
    assert reason in followed.refused[1]


def test_too_many_timelines_are_refused() -> None:
    live = MastodonSource("http://127.0.0.1:9", "token")
    followed = live.follow([stream(pk, f"#tag{pk}") for pk in range(1, 41)])
    assert set(followed.refused) == set(range(33, 41))


# --- settings


def test_without_an_address_it_says_what_to_set(settings: object) -> None:
    with pytest.raises(NotConfigured, match="MASTODON_BASE_URL"):
        create("mastodon")


@pytest.mark.parametrize("address", ["https://", "ftp://x.example", "https://x:99999", "http://[x"])
def test_an_address_that_is_none_is_refused(settings: object, address: str) -> None:
    settings.MASTODON_BASE_URL = address  # type: ignore[attr-defined]
    with pytest.raises(NotConfigured, match="MASTODON_BASE_URL"):
        create("mastodon")
