"""One connection to Mastodon: many timelines, what ends it, and what was missed meanwhile."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
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
    NothingFollowed,
    RateLimited,
    Stalled,
    Unavailable,
)
from ingestion.models import Stream
from ingestion.sources import Resume, create, mastodon_connection, mastodon_history
from ingestion.sources.mastodon import MastodonSource
from tests.conftest import wait_until
from tests.mastodon_api import MastodonApi, Refusal, rate_limited


@pytest.fixture
def m() -> Iterator[MastodonApi]:
    with MastodonApi(keep_alive_seconds=0.3) as api:
        yield api


@pytest.fixture(autouse=True)
def checkpoints_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mastodon_connection, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(mastodon_history, "FIRST_WAIT", 0.05)


def stream(pk: int, query: str, languages: list[str] | None = None) -> Stream:
    return Stream(pk=pk, name=query, source="mastodon", query=query, languages=languages or [])


def source(m: MastodonApi, *queries: str, stall_seconds: float = 5.0) -> MastodonSource:
    live = MastodonSource(m.url, m.token, stall_seconds=stall_seconds)
    assert not live.follow([stream(pk, query) for pk, query in enumerate(queries, 1)]).refused
    return live


class Tape:
    """Reads a connection in a thread, as a runner does, and keeps what it says."""

    def __init__(self, live: MastodonSource, cursor: str = "") -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self._live = live
        self._cursor = cursor
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._live.connect(Resume(self._cursor)):
                self.events.append(event)
        except Exception as error:
            self.error = error

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self.of(IncomingPost)]

    @property
    def cursor(self) -> str:
        return self.of(Checkpoint)[-1].cursor

    def is_connected(self) -> bool:
        assert self.error is None, self.error
        return bool(self.events)

    def has_begun(self, timelines: int = 1) -> bool:
        """Whether it is known where each timeline begins."""
        return len(self.of(Checkpoint)) > 0 and len(json.loads(self.cursor)["at"]) >= timelines

    def until_over(self, seconds: float = 10) -> Exception | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        return self.error

    def stop(self) -> None:
        self._live.disconnect()
        assert self.until_over() is None


@pytest.fixture
def listen(m: MastodonApi) -> Iterator[Callable[..., Tape]]:
    """Starts to read, and returns once it is connected."""
    running: list[MastodonSource] = []

    def start(live: MastodonSource, cursor: str = "") -> Tape:
        running.append(live)
        tape = Tape(live, cursor)
        wait_until(tape.is_connected)
        return tape

    yield start
    for live in running:
        live.disconnect()


Listen = Callable[..., Tape]


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
    m.end(how, "#cats")
    assert isinstance(tape.until_over(), error)
    assert tape.texts == ["last words"]
    wait_until(lambda: m.channels() == [])


def test_silence_beyond_the_grace_is_a_stall(m: MastodonApi, listen: Listen) -> None:
    tape = listen(source(m, "public", "#cats", stall_seconds=0.8))
    m.stall("#cats")
    began = time.monotonic()
    error = tape.until_over()
    assert isinstance(error, Stalled)
    assert "#cats" in str(error)
    assert time.monotonic() - began < 3


def test_a_line_that_only_trickles_in_is_a_stall(m: MastodonApi, listen: Listen) -> None:
    m.keep_alive_seconds = 60
    tape = listen(source(m, "public", stall_seconds=0.6))
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
    assert time.monotonic() - began < 1
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
    assert time.monotonic() - began < 1
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


# --- what was missed


def broken(m: MastodonApi, listen: Listen, *queries: str) -> str:
    """The cursor of a connection that has ended after one post."""
    live = source(m, *queries)
    tape = listen(live)
    wait_until(lambda: tape.has_begun(len(queries)))
    m.publish("before", tags=["cats"])
    wait_until(lambda: "before" in tape.texts)
    tape.stop()
    wait_until(lambda: m.channels() == [])
    m.requests.clear()
    return tape.cursor


def test_what_was_missed_follows_by_rest_oldest_first(m: MastodonApi, listen: Listen) -> None:
    cursor = broken(m, listen, "public", "#cats")
    missed = [f"missed {number}" for number in range(95)]
    for text in missed:
        m.publish(text, is_live=False)
    m.publish("a reply", tags=["cats"], in_reply_to_id="1", is_live=False)
    tape = listen(source(m, "public", "#cats"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    assert tape.events[0] == Connected(replays=True)
    assert tape.of(CaughtUp) == [CaughtUp("REST")]
    found = [text for text in tape.texts if text.startswith("missed")]
    assert found == missed
    assert "a reply" in tape.texts
    assert len(m.pages()) == 6


def test_streams_are_open_before_the_past_is_asked_for(m: MastodonApi, listen: Listen) -> None:
    cursor = broken(m, listen, "public")
    opened: list[list[str]] = []
    m.before_page = lambda: opened.append(m.channels())
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    assert opened[0] == ["public"]


def test_live_posts_are_not_held_up_by_the_past(m: MastodonApi, listen: Listen) -> None:
    cursor = broken(m, listen, "public")
    m.publish("missed", is_live=False)
    release = threading.Event()
    m.before_page = lambda: release.wait(20)
    tape = listen(source(m, "public"), cursor)
    m.publish("live")
    wait_until(lambda: "live" in tape.texts)
    assert "missed" not in tape.texts
    # A crash now must not lose what is missing still.
    assert (
        json.loads(tape.cursor)["at"] == json.loads(cursor)["at"] if tape.of(Checkpoint) else True
    )
    release.set()
    wait_until(lambda: tape.of(CaughtUp))
    assert "missed" in tape.texts
    wait_until(lambda: json.loads(tape.cursor)["at"] != json.loads(cursor)["at"])


def test_a_status_that_reached_the_instance_late_is_not_missed(
    m: MastodonApi, listen: Listen
) -> None:
    cursor = broken(m, listen, "public")
    m.publish("late", is_live=False, seconds_ago=60)
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    assert "late" in tape.texts


def test_a_timeline_that_was_quiet_is_caught_up_with_too(m: MastodonApi, listen: Listen) -> None:
    m.publish("long ago", is_live=False, seconds_ago=86_400)
    tape = listen(source(m, "public"))
    wait_until(tape.has_begun)
    tape.stop()
    m.publish("missed", is_live=False)
    again = listen(source(m, "public"), tape.cursor)
    wait_until(lambda: again.of(CaughtUp))
    assert again.texts[-1] == "missed"


def test_catching_up_with_a_busy_timeline_comes_to_an_end(
    m: MastodonApi, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mastodon_history, "OVERLAP", mastodon_history.OVERLAP * 0)
    cursor = broken(m, listen, "public")
    m.before_page = lambda: m.publish("another")
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    assert len(m.pages()) < 40


def test_too_much_to_catch_up_with_is_said(
    m: MastodonApi, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mastodon_history, "MAX_PAGES", 2)
    cursor = broken(m, listen, "public")
    for number in range(100):
        m.publish(f"missed {number}", is_live=False)
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    (caught_up,) = tape.of(CaughtUp)
    assert not caught_up.is_complete
    assert "too much was missed" in caught_up.note
    m.publish("live")
    wait_until(lambda: "live" in tape.texts)


@pytest.mark.parametrize(
    "refusal", [Refusal(503), Refusal("reset"), rate_limited(reset_in=0.3), rate_limited()]
)
def test_trouble_while_catching_up_is_waited_out(
    m: MastodonApi, listen: Listen, refusal: Refusal
) -> None:
    cursor = broken(m, listen, "public")
    m.publish("missed", is_live=False)
    m.script["/api/v1/timelines"].extend([refusal, refusal])
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    assert tape.of(CaughtUp) == [CaughtUp("REST")]
    assert "missed" in tape.texts


def test_a_past_that_is_refused_is_said_and_the_stream_goes_on(
    m: MastodonApi, listen: Listen
) -> None:
    cursor = broken(m, listen, "public")
    m.script["/api/v1/timelines"].append(Refusal(403, "This action is not allowed"))
    tape = listen(source(m, "public"), cursor)
    wait_until(lambda: tape.of(CaughtUp))
    (caught_up,) = tape.of(CaughtUp)
    assert not caught_up.is_complete
    assert "403" in caught_up.note
    m.publish("live")
    wait_until(lambda: "live" in tape.texts)


def test_a_window_that_is_used_up_is_not_tried(m: MastodonApi, listen: Listen) -> None:
    cursor = broken(m, listen, "public")
    for number in range(100):
        m.publish(f"missed {number}", is_live=False)
    m.window = 1
    tape = listen(source(m, "public"), cursor)
    m.publish("live")
    wait_until(lambda: "live" in tape.texts and "missed 0" in tape.texts)
    assert len(m.pages()) == 1
    assert not tape.of(CaughtUp)


def test_the_cursor_of_another_instance_is_not_used(m: MastodonApi, listen: Listen) -> None:
    cursor = json.dumps({"host": "elsewhere.example", "at": {"public": "1"}})
    m.publish("old", is_live=False, seconds_ago=1000)
    tape = listen(source(m, "public"), cursor)
    assert tape.events[0] == Connected(replays=False)
    m.publish("live")
    wait_until(lambda: tape.texts == ["live"])


@pytest.mark.parametrize("cursor", ["5", "[]", "{", '{"host":1}', "[" * 100_000])
def test_a_cursor_that_cannot_be_read_is_not_used(
    m: MastodonApi, listen: Listen, cursor: str
) -> None:
    assert listen(source(m, "public"), cursor).events[0] == Connected(replays=False)


def test_a_timeline_that_is_not_read_any_more_is_not_caught_up_with(
    m: MastodonApi, listen: Listen
) -> None:
    cursor = broken(m, listen, "public", "#cats")
    live = source(m, "public")
    tape = listen(live, cursor)
    wait_until(lambda: tape.of(CaughtUp) and tape.of(Checkpoint))
    assert list(json.loads(tape.cursor)["at"]) == ["public"]


# --- what may be asked besides


def test_the_past_can_be_asked_for(m: MastodonApi) -> None:
    now = datetime.now(UTC)
    for ago in (3000, 2000, 1900, 100):
        m.publish(f"{ago} ago", seconds_ago=ago, is_live=False)
    live = MastodonSource(m.url, m.token)
    start, end = now - timedelta(seconds=2500), now - timedelta(seconds=1500)
    events = list(live.backfill([stream(1, "public")], start, end, ""))
    texts = [event.text for event in events if isinstance(event, IncomingPost)]
    assert texts[:2] == ["2000 ago", "1900 ago"]
    assert "3000 ago" not in texts
    assert events[-1] == CaughtUp("REST")
    progress = next(event.cursor for event in events if isinstance(event, Checkpoint))
    again = list(live.backfill([stream(1, "public")], start, end, progress))
    assert not [event for event in again if isinstance(event, IncomingPost)]


def test_the_past_of_an_instance_with_other_ids_cannot_be_asked_for(m: MastodonApi) -> None:
    m.publish("odd", id="17", is_live=False)
    live = MastodonSource(m.url, m.token)
    now = datetime.now(UTC)
    (event,) = live.backfill([stream(1, "public")], now - timedelta(hours=1), now, "")
    assert isinstance(event, CaughtUp)
    assert not event.is_complete
    assert "do not tell the time" in event.note


def test_what_is_gone_is_told_from_what_is_hidden(m: MastodonApi) -> None:
    ids = [m.publish(f"post {number}") for number in range(45)]
    m.delete(ids[0])
    m.hidden.add(int(ids[1]))
    live = MastodonSource(m.url, m.token)
    asked = [f"{m.host}/{identity}" for identity in ids]
    asked += [f"{asked[0]}@20260101T000000.000000Z", "elsewhere.example/5"]
    assert live.gone(asked) == {asked[0], asked[45]}


def test_when_it_cannot_be_asked_nothing_is_gone(m: MastodonApi) -> None:
    identity = m.publish("post")
    m.script["/api/v1/statuses"].append(Refusal(503))
    with pytest.raises(Unavailable):
        MastodonSource(m.url, m.token).gone([f"{m.host}/{identity}"])


def test_a_message_can_be_read_without_a_connection(m: MastodonApi) -> None:
    live = MastodonSource("https://mastodon.example", "token")
    live.follow([stream(1, "#cats"), stream(2, "public:local | cats"), stream(3, "#dogs")])
    m.publish("cats", tags=["Cats"])
    status = json.dumps(next(iter(m.statuses.values())))
    for message in (status, f"event: update\ndata: {status}"):
        (post,) = live.parse(message.encode())
        assert isinstance(post, IncomingPost)
        assert post.stream_ids == {1, 2}
        assert post.external_id.startswith("mastodon.example/")
    assert list(live.parse(b"event: delete\ndata: 5")) == [PostDeleted(("mastodon.example/5",))]
    (event,) = live.parse(b"garbage")
    assert isinstance(event, Malformed)


# --- settings


def test_without_an_address_it_says_what_to_set(settings: object) -> None:
    with pytest.raises(NotConfigured, match="MASTODON_BASE_URL"):
        create("mastodon")


@pytest.mark.parametrize("address", ["https://", "ftp://x.example", "https://x:99999", "http://[x"])
def test_an_address_that_is_none_is_refused(settings: object, address: str) -> None:
    settings.MASTODON_BASE_URL = address  # type: ignore[attr-defined]
    with pytest.raises(NotConfigured, match="MASTODON_BASE_URL"):
        create("mastodon")
