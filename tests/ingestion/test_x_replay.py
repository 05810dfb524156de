"""Where the plan has it, X replays what was missed; where it has not, the stream goes on."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from ingestion.events import CaughtUp, Connected, Event, Heartbeat, IncomingPost, PostDeleted
from ingestion.exceptions import NeedsAttention, Stalled
from ingestion.sources import Resume, x
from ingestion.sources.x import XSource
from tests.conftest import wait_until
from tests.x_api import STREAM, XApi
from tests.x_api_refusals import opaque, unauthorized, unavailable


@pytest.fixture
def api() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=0.1, enterprise=True) as api:
        api.add_rule("cats", "sentiment:1:Cats")
        yield api


def source(api: XApi, minutes: int = 5) -> XSource:
    return XSource(api.token, api.url, stall_seconds=5, backfill_minutes=minutes)


def ago(**time: float) -> datetime:
    return timezone.now() - timedelta(**time)


def until_caught_up(events: Iterator[Event]) -> list[Event]:
    heard: list[Event] = []
    while not (heard and isinstance(heard[-1], CaughtUp)):
        heard.append(next(events))
    return [event for event in heard if isinstance(event, IncomingPost | Connected | CaughtUp)]


def next_post(events: Iterator[Event]) -> IncomingPost:
    return next(event for event in events if isinstance(event, IncomingPost))


def minutes_asked(api: XApi) -> list[str | None]:
    return [query.get("backfill_minutes") for query in api.asked(STREAM)]


def test_what_was_missed_comes_oldest_first_and_its_end_is_told(api: XApi) -> None:
    for minute in (4, 3, 2, 1):
        api.publish(f"cats {minute}", at=ago(minutes=minute))
    live = source(api)
    events = live.connect(Resume(covered_until=ago(minutes=2.5)))
    first = next(events)
    assert first == Connected(replays=True)
    api.publish("cats now", created_at=(ago(seconds=-2)).isoformat())
    heard = until_caught_up(events)
    assert heard[-1] == CaughtUp("backfill_minutes")
    # Three whole minutes: what comes twice is stored once.
    assert [e.text for e in heard[:-1] if isinstance(e, IncomingPost)] == ["cats 2", "cats 1"]
    assert minutes_asked(api) == ["3"]
    assert next_post(events).text == "cats now"


def test_a_quiet_stream_has_caught_up_after_a_while(
    api: XApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.publish("cats 1", at=ago(seconds=10))
    events = source(api).connect(Resume(covered_until=ago(seconds=20)))
    assert [type(next(events)), type(next_post(events))] == [Connected, IncomingPost]
    moment = time.monotonic() + x.REPLAY_SECONDS
    monkeypatch.setattr(x, "time", SimpleNamespace(monotonic=lambda: moment))
    assert [type(event) for event in until_caught_up(events)] == [CaughtUp]
    assert minutes_asked(api) == ["1"]
    # It is told once.
    api.publish("cats now", created_at=(ago(seconds=-2)).isoformat())
    rest = [next(events) for _ in range(4)]
    assert not any(isinstance(event, CaughtUp) for event in rest)


def test_a_gap_longer_than_the_replay_is_left_to_the_search(api: XApi) -> None:
    events = source(api, 2).connect(Resume(covered_until=ago(minutes=30)))
    assert next(events) == Connected(replays=False)
    assert minutes_asked(api) == ["2"]
    assert isinstance(next(events), Heartbeat)


@pytest.mark.parametrize(
    ("minutes", "covered"), [(0, timedelta(minutes=2)), (5, None)], ids=["off", "nothing missed"]
)
def test_without_need_nothing_is_asked(api: XApi, minutes: int, covered: timedelta | None) -> None:
    resume = Resume(covered_until=covered and timezone.now() - covered)
    assert next(source(api, minutes).connect(resume)) == Connected()
    assert minutes_asked(api) == [None]


def test_a_plan_without_replay_is_met_once(api: XApi) -> None:
    api.enterprise = False
    live = source(api)
    for connects in (2, 3):
        events = live.connect(Resume(covered_until=ago(minutes=2)))
        assert next(events) == Connected()
        api.wait_for_stream(connects)
        api.end("close")
        with pytest.raises(Exception, match="closed"):
            list(events)
    assert minutes_asked(api) == ["3", None, None]


def test_a_refusal_that_does_not_say_why_is_tried_without(api: XApi) -> None:
    api.script.append(opaque())
    events = source(api).connect(Resume(covered_until=ago(minutes=2)))
    assert next(events) == Connected()
    assert minutes_asked(api) == ["3", None]


@pytest.mark.parametrize("second", [opaque(), unauthorized(), unavailable()])
def test_a_refusal_of_both_says_nothing_about_the_plan(api: XApi, second: object) -> None:
    api.script.extend([opaque(), second])  # type: ignore[list-item]
    live = source(api)
    resume = Resume(covered_until=ago(minutes=2))
    with pytest.raises(Exception, match="X"):
        list(live.connect(resume))
    assert next(live.connect(resume)) == Connected(replays=True)


def test_a_wrong_token_is_not_tried_twice(api: XApi) -> None:
    live = XSource("wrong", api.url, backfill_minutes=5)
    with pytest.raises(NeedsAttention):
        list(live.connect(Resume(covered_until=ago(minutes=2))))
    assert len(api.requests) == 1


def test_after_a_disconnect_it_can_connect_again(api: XApi) -> None:
    live = source(api)
    live.disconnect()
    for connects in (1, 2):
        events = live.connect(Resume())
        assert next(events) == Connected()
        api.wait_for_stream(connects)
        assert next(events) == Heartbeat()
        live.disconnect()
        assert list(events) == []
        wait_until(lambda: not api.streams)


def test_a_stalled_connection_is_ended_at_x_s_side_too(api: XApi) -> None:
    live = XSource(api.token, api.url, stall_seconds=1.0)
    events = live.connect(Resume())
    next(events)
    api.wait_for_stream()
    api.stall()
    with pytest.raises(Stalled):
        list(events)
    assert api.kills == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"data":{"withheld":{"tweet":{"id":"7"},"withheld_in_countries":["DE"]}}}',
        b'{"data":{"tweet_edit":{"tweet":{"id":"7"},"event_at":"2026-11-24T15:00:00Z"}}}',
        b'{"data":{"drop":{"tweet":{"id":"7"}}}}',
        b'{"data":{"undrop":{"tweet":{"id":"7"}}}}',
        b"",
    ],
)
def test_compliance_that_takes_nothing_away_passes(api: XApi, line: bytes) -> None:
    assert list(source(api).parse(line)) == [Heartbeat()]


def test_messages_put_aside_are_read_without_a_connection(api: XApi) -> None:
    live = source(api)
    [deleted] = live.parse(b'{"data":{"delete":{"post":{"id":"7"}}}}')
    assert deleted == PostDeleted(("7",))
    farewell = b'{"errors":[{"title":"operational-disconnect","disconnect_type":"x"}]}'
    assert list(live.parse(farewell)) == []
    assert api.requests == []
