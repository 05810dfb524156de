"""How the Bluesky source goes on where it was, over a real socket."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    PostDeleted,
)
from ingestion.exceptions import NetworkFault, SourceError, Unavailable
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from ingestion.sources.bluesky_payload import Moment
from ingestion.sources.bluesky_resume import Position, Replay, micros
from tests.ingestion.bluesky import (
    caught_up,
    failure,
    make,
    open_stream,
    posts_of,
    stream,
    texts,
    until,
)
from tests.jetstream import Jetstream, problem
from tests.jetstream_events import ALICE


def test_what_was_missed_comes_first(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.publish("cats one")
    _, checkpoint = until(events, Checkpoint)
    bluesky.end("abort")
    assert isinstance(failure(events), NetworkFault)
    bluesky.publish("cats two")
    again = live.connect(Resume(checkpoint.cursor))
    assert next(again) == Connected(replays=True)
    before, said = until(again, CaughtUp)
    assert said == CaughtUp("cursor replay")
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


def to_be_replayed(bluesky: Jetstream, posts: int) -> datetime:
    """Publish so many from ten minutes ago on, and one now; since when."""
    start = datetime.now(UTC) - timedelta(minutes=10)
    for number in range(posts):
        bluesky.publish(f"cats {number}", at=start + timedelta(seconds=number))
    bluesky.publish("cats, live")
    return start


def test_a_live_post_that_overtakes_the_replay_does_not_end_it(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    start = to_be_replayed(bluesky, 10)
    bluesky.overtaking, bluesky.repeats, bluesky.pause = 1, 2, 0.02
    # A busy machine pauses longer than the host does.
    live.settle_seconds, live.quiet_seconds = 2, 2
    before, said = until(open_stream(live, Resume(str(Position.at(start)))), CaughtUp)
    assert posts_of(before)[0] == "cats, live"
    assert posts_of(before)[-1] == "cats 9"
    assert said.is_complete


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


def test_where_nothing_new_comes_a_silence_ends_the_replay() -> None:
    asked_at = datetime.now(UTC)
    replay = Replay(asked_at - timedelta(minutes=10), asked_at, settle=1, quiet=5)
    replay.begin(0)
    assert not replay.ends(4)
    replay.heard(Moment(micros(asked_at - timedelta(minutes=9))), 4)
    assert not replay.ends(8)
    assert replay.ends(9)


def test_the_cursor_in_the_middle_of_a_replay_is_the_replays(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    start = to_be_replayed(bluesky, 40)
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
    before, said = caught_up(bluesky, events)
    assert posts_of(before) == ["cats, oldest"]
    assert not said.is_complete
    assert f"{now - timedelta(hours=49):%Y-%m-%d %H:%M}" in said.note


def test_long_silence_of_one_author_is_no_loss(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    cursor = str(Position.at(datetime.now(UTC) - timedelta(hours=3)))
    bluesky.publish("cats")
    _, said = caught_up(bluesky, open_stream(live, Resume(cursor)))
    assert said.is_complete


def test_what_was_covered_after_the_cursor_is_not_missed(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    now = datetime.now(UTC)
    bluesky.publish("cats", at=now - timedelta(hours=1))
    resume = Resume(str(Position.at(now - timedelta(days=4))), now - timedelta(seconds=9))
    _, said = caught_up(bluesky, open_stream(live, resume))
    assert said.is_complete


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
    before, said = caught_up(bluesky, open_stream(live, Resume(cursor)))
    assert posts_of(before) == ["cats 1", "cats 2"]
    assert said.is_complete


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
    before, said = caught_up(bluesky, events)
    assert posts_of(before) == ["cats, oldest"]
    assert not said.is_complete and "was replayed" in said.note
    assert bluesky.connects == 2


def test_a_host_that_goes_back_nowhere_is_followed_live(bluesky: Jetstream) -> None:
    bluesky.script += [problem(400, "CursorTooOld", "gone")] * 2
    cursor = str(Position(micros(datetime.now(UTC)), 7, bluesky.url))
    events = make(2, bluesky.url).connect(Resume(cursor))
    assert next(events) == Connected(replays=True)
    said = next(events)
    assert isinstance(said, CaughtUp) and not said.is_complete
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
