"""The Bluesky source against the stand-in, over a real socket, in both of Jetstream's versions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    IncomingPost,
    PostDeleted,
)
from ingestion.exceptions import NetworkFault, NothingFollowed, SourceError, Unavailable
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from ingestion.sources.bluesky_payload import Moment
from ingestion.sources.bluesky_resume import Position, Replay, micros
from tests.jetstream import Jetstream, problem
from tests.jetstream_events import ALICE, BOB

E = TypeVar("E", bound=Event)


@pytest.fixture
def bluesky() -> Iterator[Jetstream]:
    with Jetstream() as server:
        yield server


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def live(bluesky: Jetstream, version: int) -> BlueskySource:
    return make(version, bluesky.url)


def make(
    version: int, *hosts: str, stall_seconds: float = 5.0, query: str = "cats"
) -> BlueskySource:
    source = BlueskySource(
        hosts, version, stall_seconds=stall_seconds, settle_seconds=0.1, quiet_seconds=0.5
    )
    source.follow([stream(1, query)])
    return source


def stream(pk: int, query: str, *languages: str) -> Stream:
    return Stream(pk=pk, name=f"stream {pk}", query=query, languages=list(languages))


def open_stream(live: BlueskySource, resume: Resume | None = None) -> Iterator[Event]:
    """Events after Connected."""
    events = live.connect(resume or Resume())
    assert isinstance(next(events), Connected)
    return events


def take(events: Iterator[Event], kind: type[E]) -> E:
    """The next event of this kind."""
    return next(event for event in events if isinstance(event, kind))


def texts(events: Iterator[Event], count: int) -> list[str]:
    return [take(events, IncomingPost).text for _ in range(count)]


def until(events: Iterator[Event], kind: type[E]) -> tuple[list[Event], E]:
    """What comes before the next event of this kind, and that."""
    before: list[Event] = []
    for event in events:
        if isinstance(event, kind):
            return before, event
        before.append(event)
    raise AssertionError(f"no {kind.__name__} came")


def failure(events: Iterator[Event]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(events)
    return caught.value


def posts_of(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, IncomingPost)]


# --- what streams ask for


def test_a_post_belongs_to_every_stream_that_asks_for_it(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, "cats"), stream(2, "dogs"), stream(3, ""), stream(4, "", "de", "pt")])
    events = open_stream(live)
    bluesky.publish("cats", langs=["en-GB"])
    bluesky.publish("Katzen", langs=["de-AT"])
    bluesky.publish("dogs and cats", langs=None)
    found = [take(events, IncomingPost) for _ in range(3)]
    assert [post.stream_ids for post in found] == [{1, 3}, {3, 4}, {1, 2, 3}]
    assert [post.lang for post in found] == ["en", "de", ""]


def test_what_no_stream_asks_for_is_dropped(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, "cats", "en")])
    events = open_stream(live)
    bluesky.publish("dogs")
    bluesky.publish("cats en français", langs=["fr"])
    bluesky.publish("", embed={"$type": "app.bsky.embed.images", "images": []})
    bluesky.like()
    bluesky.publish("cats <3", langs=["EN"])
    assert texts(events, 1) == ["cats <3"]


def test_streams_change_on_the_open_connection(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.publish("cats one")
    assert texts(events, 1) == ["cats one"]
    live.follow([stream(2, "dogs")])
    bluesky.publish("cats two")
    bluesky.publish("dogs")
    assert take(events, IncomingPost).stream_ids == {2}
    assert bluesky.connects == 1


def test_a_query_that_cannot_be_read_is_refused_alone(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    followed = live.follow([stream(1, "cats"), stream(2, "(cats")])
    assert "never closed" in followed.refused[2] and followed.refused.keys() == {2}
    assert live.validate(stream(2, "(cats")) == followed.refused[2]
    assert live.validate(stream(1, "cats")) == ""
    events = open_stream(live)
    bluesky.publish("cats")
    assert take(events, IncomingPost).stream_ids == {1}


def test_without_a_query_that_can_be_followed_nothing_is_asked_for(live: BlueskySource) -> None:
    live.follow([stream(1, "((")])
    assert isinstance(failure(live.connect(Resume())), NothingFollowed)


def test_an_author_is_found_by_name_once_it_is_known(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, "from:alice.bsky.social")])
    events = open_stream(live)
    bluesky.publish("who am I?")
    bluesky.identity(ALICE, "alice.bsky.social")
    bluesky.publish("now you know")
    found = take(events, IncomingPost)
    assert (found.text, found.author_username) == ("now you know", "alice.bsky.social")


def test_where_only_authors_are_named_only_theirs_are_sent(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    events = open_stream(live)
    bluesky.publish("not asked for", did=BOB)
    bluesky.publish("by Alice")
    assert texts(events, 1) == ["by Alice"]
    assert f"ids={ALICE.replace(':', '%3A')}" in bluesky.requests[0].replace("D", "d")


def test_another_author_is_heard_without_a_gap(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    events = open_stream(live)
    bluesky.publish("by Alice")
    assert texts(events, 1) == ["by Alice"]
    live.follow([stream(1, f"from:{ALICE}"), stream(2, f"from:{BOB}")])
    bluesky.publish("by Bob, on the old connection", did=BOB)
    assert take(events, IncomingPost).stream_ids in ({1}, {2})
    found = set(texts(events, 1))
    bluesky.publish("by Bob, on the new one", did=BOB)
    while "by Bob, on the new one" not in found:
        found |= set(texts(events, 1))
    assert bluesky.connects == 2


# --- what is taken back


def test_deletions_come_together(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uris = [bluesky.publish(f"dogs {number}") for number in range(1200)]
    for uri in uris:
        bluesky.delete(uri)
    deleted: list[str] = []
    batches = 0
    while len(deleted) < len(uris):
        deleted += take(events, PostDeleted).external_ids
        batches += 1
    assert deleted == uris
    assert batches < 12


def test_a_post_does_not_follow_its_own_deletion(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uri = bluesky.publish("cats, regretted")
    assert texts(events, 1) == ["cats, regretted"]
    bluesky.delete(uri)
    bluesky.publish("cats, regretted", rkey=uri.rpartition("/")[2])
    bluesky.update(uri, "cats, regretted, edited")
    bluesky.publish("cats")
    before, post = until(events, IncomingPost)
    assert post.text == "cats"
    assert not posts_of(before)


@pytest.mark.parametrize("status", ["deleted", "takendown"])
def test_an_account_that_is_gone_is_forgotten(
    bluesky: Jetstream, live: BlueskySource, status: str
) -> None:
    events = open_stream(live)
    bluesky.account(ALICE, status)
    bluesky.publish("late cats")
    bluesky.publish("cats", did=BOB)
    before, post = until(events, IncomingPost)
    assert AuthorDeleted(ALICE) in before
    assert post.author_id == BOB


@pytest.mark.parametrize("status", ["deactivated", "suspended", "throttled", ""])
def test_an_account_that_may_come_back_is_kept(
    bluesky: Jetstream, live: BlueskySource, status: str
) -> None:
    events = open_stream(live)
    bluesky.account(ALICE, status)
    bluesky.publish("cats")
    before, _ = until(events, IncomingPost)
    assert not [event for event in before if isinstance(event, AuthorDeleted)]


def test_an_edit_is_a_later_version(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uri = bluesky.publish("cats")
    bluesky.update(uri, "cats, mended")
    first, second = (take(events, IncomingPost) for _ in range(2))
    assert first.external_id == uri
    assert second.external_id.startswith(f"{uri}@")
    assert second.edit_history == (uri,)


# --- where to go on


def test_what_was_missed_comes_first(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.publish("cats one")
    _, checkpoint = until(events, Checkpoint)
    bluesky.end("abort")
    assert isinstance(failure(events), NetworkFault)
    bluesky.publish("cats two")
    again = live.connect(Resume(checkpoint.cursor))
    assert next(again) == Connected(replays=True)
    before, caught_up = until(again, CaughtUp)
    assert caught_up == CaughtUp("cursor replay")
    assert posts_of(before)[-1] == "cats two"
    bluesky.publish("cats three")
    assert texts(again, 1) == ["cats three"]


def test_the_position_is_saved_once_a_second_and_after_the_last_event(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    events = open_stream(live)
    for number in range(300):
        bluesky.publish(f"cats {number}")
    before, checkpoint = until(events, Checkpoint)
    while "cats 299" not in posts_of(before):
        more, checkpoint = until(events, Checkpoint)
        before += more
    position = Position.parse(checkpoint.cursor)
    assert position is not None and position.time_us == bluesky.history[-1].time_us
    assert sum(isinstance(event, Checkpoint) for event in before) < 10


def test_a_position_covers_only_what_has_been_said(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.delete(bluesky.publish("dogs"))
    before, _ = until(events, Checkpoint)
    assert [event for event in before if isinstance(event, PostDeleted)]


def test_what_waits_is_handed_over_before_the_connection_fails(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    events = open_stream(live)
    uri = bluesky.publish("dogs")
    bluesky.delete(uri)
    bluesky.end("reset")
    seen: list[Event] = []
    with pytest.raises(SourceError):
        for event in events:
            seen.append(event)
    assert [type(event) for event in seen] == [PostDeleted, Checkpoint]


def test_a_live_post_that_overtakes_the_replay_does_not_end_it(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    start = datetime.now(UTC) - timedelta(minutes=10)
    for number in range(10):
        bluesky.publish(f"cats {number}", at=start + timedelta(seconds=number))
    bluesky.publish("cats, live")
    bluesky.overtaking, bluesky.repeats, bluesky.pause = 1, 2, 0.02
    # A busy machine pauses longer than the host does.
    live.settle_seconds, live.quiet_seconds = 2, 2
    before, caught_up = until(open_stream(live, Resume(str(Position.at(start)))), CaughtUp)
    assert posts_of(before)[0] == "cats, live"
    assert posts_of(before)[-1] == "cats 9"
    assert caught_up.is_complete


def test_a_host_slow_to_begin_its_replay_has_not_ended_it() -> None:
    asked_at = datetime.now(UTC)
    replay = Replay(asked_at - timedelta(minutes=10), asked_at, settle=1, quiet=60)
    replay.begin(0)
    replay.heard(Moment(micros(asked_at)), 30)
    assert not replay.ends(30.5)
    replay.heard(Moment(micros(asked_at - timedelta(minutes=9))), 30.6)
    assert not replay.ends(32)
    replay.heard(Moment(micros(asked_at)), 32)
    replay.heard(Moment(micros(asked_at)), 33)
    assert replay.ends(33)


def test_the_cursor_in_the_middle_of_a_replay_is_the_replays(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    start = datetime.now(UTC) - timedelta(minutes=10)
    for number in range(40):
        bluesky.publish(f"cats {number}", at=start + timedelta(seconds=number))
    bluesky.publish("cats, live")
    bluesky.overtaking, bluesky.pause = 1, 0.05
    live.settle_seconds, live.quiet_seconds = 2, 2
    events = open_stream(live, Resume(str(Position.at(start))))
    _, checkpoint = until(events, Checkpoint)
    position = Position.parse(checkpoint.cursor)
    assert position is not None and position.time_us < micros(start + timedelta(minutes=1))


def test_a_clamped_replay_says_what_is_missing(bluesky: Jetstream, live: BlueskySource) -> None:
    now = datetime.now(UTC)
    bluesky.publish("cats, forgotten", at=now - timedelta(hours=50))
    bluesky.publish("cats, oldest", at=now - timedelta(hours=35))
    events = open_stream(live, Resume(str(Position.at(now - timedelta(hours=49)))))
    before, caught_up = until(events, CaughtUp)
    assert posts_of(before) == ["cats, oldest"]
    assert not caught_up.is_complete
    assert f"{now - timedelta(hours=49):%Y-%m-%d %H:%M}" in caught_up.note


def test_long_silence_of_one_author_is_no_loss(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    cursor = str(Position.at(datetime.now(UTC) - timedelta(hours=3)))
    bluesky.publish("cats")
    _, caught_up = until(open_stream(live, Resume(cursor)), CaughtUp)
    assert caught_up.is_complete


def test_what_was_covered_after_the_cursor_is_not_missed(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    now = datetime.now(UTC)
    bluesky.publish("cats", at=now - timedelta(hours=1))
    resume = Resume(str(Position.at(now - timedelta(days=4))), now - timedelta(seconds=9))
    _, caught_up = until(open_stream(live, resume), CaughtUp)
    assert caught_up.is_complete


@pytest.mark.parametrize("cursor", ["", "nonsense", "{}", '{"time_us": 9999999999999999}', "[1]"])
def test_a_cursor_of_no_use_leaves_what_is_covered(
    bluesky: Jetstream, live: BlueskySource, cursor: str
) -> None:
    bluesky.publish("cats", at=datetime.now(UTC) - timedelta(minutes=1))
    covered = datetime.now(UTC) - timedelta(minutes=2)
    events = open_stream(live, Resume(cursor, covered))
    assert texts(events, 1) == ["cats"]
    assert f"cursor={micros(covered) - 5_000_000}" in bluesky.requests[0]


def test_nothing_known_means_live(bluesky: Jetstream, live: BlueskySource) -> None:
    bluesky.publish("cats before")
    events = live.connect(Resume())
    assert next(events) == Connected(replays=False)
    bluesky.publish("cats after")
    assert texts(events, 1) == ["cats after"]


def test_version_2_goes_on_at_the_exact_event(bluesky: Jetstream) -> None:
    live = make(2, bluesky.url)
    for number in range(3):
        bluesky.publish(f"cats {number}", at=datetime.now(UTC) - timedelta(minutes=9 - number))
    place = bluesky.history[1]
    cursor = str(Position(place.time_us, place.seq, bluesky.url))
    before, caught_up = until(open_stream(live, Resume(cursor)), CaughtUp)
    assert posts_of(before) == ["cats 1", "cats 2"]
    assert caught_up.is_complete


def test_a_number_of_another_host_is_not_used(bluesky: Jetstream) -> None:
    live = make(2, bluesky.url)
    bluesky.publish("cats", at=datetime.now(UTC) - timedelta(minutes=1))
    time_us = bluesky.history[0].time_us
    cursor = str(Position(time_us, 987_654, "jetstream.elsewhere.example"))
    assert texts(open_stream(live, Resume(cursor)), 1) == ["cats"]
    assert f"cursor={time_us - 5_000_000}" in bluesky.requests[0]


def test_the_cursor_of_version_2_serves_version_1(bluesky: Jetstream) -> None:
    cursor = str(Position(micros(datetime.now(UTC)), 7, bluesky.url))
    bluesky.publish("cats")
    assert texts(open_stream(make(1, bluesky.url), Resume(cursor)), 1) == ["cats"]


def test_a_number_that_is_too_old_gives_way_to_the_time(bluesky: Jetstream) -> None:
    now = datetime.now(UTC)
    bluesky.publish("cats, forgotten", at=now - timedelta(hours=40))
    bluesky.publish("cats, oldest", at=now - timedelta(hours=35))
    old = bluesky.history[0]
    cursor = str(Position(old.time_us, old.seq, bluesky.url))
    events = open_stream(make(2, bluesky.url), Resume(cursor))
    before, caught_up = until(events, CaughtUp)
    assert posts_of(before) == ["cats, oldest"]
    assert not caught_up.is_complete and "was replayed" in caught_up.note
    assert bluesky.connects == 2


def test_a_host_that_goes_back_nowhere_is_followed_live(bluesky: Jetstream) -> None:
    bluesky.script += [problem(400, "CursorTooOld", "gone")] * 2
    cursor = str(Position(micros(datetime.now(UTC)), 7, bluesky.url))
    events = make(2, bluesky.url).connect(Resume(cursor))
    assert next(events) == Connected(replays=True)
    caught_up = next(events)
    assert isinstance(caught_up, CaughtUp) and not caught_up.is_complete
    bluesky.publish("cats")
    assert texts(events, 1) == ["cats"]


def test_a_number_beyond_the_tip_gives_way_to_the_time(bluesky: Jetstream) -> None:
    bluesky.publish("cats", at=datetime.now(UTC) - timedelta(minutes=1))
    cursor = str(Position(bluesky.history[0].time_us, 999, bluesky.url))
    events = open_stream(make(2, bluesky.url), Resume(cursor))
    assert texts(events, 1) == ["cats"]
    assert bluesky.connects == 2


def test_a_host_that_accepts_no_cursor_at_all_is_left(bluesky: Jetstream) -> None:
    bluesky.script += [problem(400, "CursorTooOld", "gone")] * 3
    cursor = str(Position(micros(datetime.now(UTC)), 7, bluesky.url))
    caught = failure(make(2, bluesky.url).connect(Resume(cursor)))
    assert type(caught) is Unavailable and "no cursor" in str(caught)
    assert bluesky.connects == 3
