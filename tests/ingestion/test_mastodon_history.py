"""What Mastodon is asked for: what was missed, what lies in the past, what is gone."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
    IncomingPost,
    Malformed,
    PostDeleted,
)
from ingestion.exceptions import Unavailable
from ingestion.sources import mastodon_connection, mastodon_history
from ingestion.sources.mastodon import MastodonSource
from tests.conftest import wait_until
from tests.ingestion.mastodon_tape import Listen, listening, source, stream
from tests.mastodon_api import MastodonApi
from tests.mastodon_api_server import Refusal, rate_limited


@pytest.fixture
def m() -> Iterator[MastodonApi]:
    with MastodonApi(keep_alive_seconds=0.3) as api:
        yield api


@pytest.fixture(autouse=True)
def checkpoints_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mastodon_connection, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(mastodon_history, "FIRST_WAIT", 0.05)


@pytest.fixture
def listen() -> Iterator[Listen]:
    with listening() as start:
        yield start


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
