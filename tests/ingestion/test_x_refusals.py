"""How X turns a connect away, what each answer means, and that the token stays ours."""

import logging
import time
from collections.abc import Iterator

import pytest

from ingestion.backoff import Backoff
from ingestion.events import Connected, Heartbeat, IncomingPost
from ingestion.exceptions import (
    Closed,
    NeedsAttention,
    NetworkFault,
    NotConfigured,
    NothingFollowed,
    RateLimited,
    SourceError,
    Unavailable,
)
from ingestion.models import Stream
from ingestion.sources import Resume, x_http, x_problems
from ingestion.sources.x import XSource, from_settings
from ingestion.sources.x_search import Window
from tests.x_api import RULES, SEARCH, TOKEN, XApi
from tests.x_api_refusals import (
    Refusal,
    bad_request,
    html,
    moved,
    no_credits,
    no_rules,
    not_enrolled,
    opaque,
    rate_limited,
    timed_out,
    too_many_connections,
    unauthorized,
    unavailable,
    usage_cap_exceeded,
)


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi(keep_alive_seconds=0.2) as api:
        api.add_rule("cats", "sentiment:1:Cats")
        yield api


def source(x: XApi) -> XSource:
    return XSource(x.token, x.url, stall_seconds=5)


def connect(x: XApi) -> None:
    list(source(x).connect(Resume()))


TABLE = [
    (unauthorized(), NeedsAttention, "TWITTER_BEARER_TOKEN"),
    (not_enrolled(), NeedsAttention, "developer portal"),
    (no_credits(), NeedsAttention, "credit"),
    (no_rules(), NothingFollowed, "no rule"),
    (too_many_connections(), x_problems.ConnectionTaken, "older connection"),
    (usage_cap_exceeded(), NeedsAttention, "this month"),
    (rate_limited(60), RateLimited, "no more calls"),
    (timed_out(), NetworkFault, "timed out"),
    (opaque(), NeedsAttention, "Invalid Request"),
    (bad_request("expansions", "x", "[x] is unknown"), NeedsAttention, "is unknown"),
    (Refusal(404, {"title": "Not Found"}), NeedsAttention, "TWITTER_API_BASE_URL"),
    (moved("https://user:secret@elsewhere.example/2/"), NeedsAttention, "https://elsewhere.ex"),
    (Refusal(301, ""), NeedsAttention, "leads elsewhere"),
    (unavailable(), Unavailable, "trouble"),
    (html(502), Unavailable, "not X's JSON"),
    (html(403), NeedsAttention, "something in between"),
    (html(429), RateLimited, "no more calls"),
    (Refusal(418, {"title": "Teapot"}), NeedsAttention, "Teapot"),
    (Refusal(500, {"errors": "odd", "title": 7}), Unavailable, "HTTP 500: 7"),
]


@pytest.mark.parametrize("zips", [False, True])
@pytest.mark.parametrize(("refusal", "error", "says"), TABLE)
def test_each_refusal_of_a_connect_has_its_own_error(
    x: XApi, refusal: Refusal, error: type[SourceError], says: str, zips: bool
) -> None:
    x.zips = zips
    x.script.append(refusal)
    with pytest.raises(error, match=says) as caught:
        connect(x)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(("refusal", "error", "says"), TABLE)
def test_a_search_refused_so_means_the_same(
    x: XApi, refusal: Refusal, error: type[SourceError], says: str
) -> None:
    x.refuse(SEARCH, refusal)
    with pytest.raises(error, match=says):
        list(source(x).search("cats", Window(), frozenset()))


@pytest.mark.parametrize("nested", [Refusal(503, "[" * 100_000), Refusal(200, "[" * 100_000)])
def test_an_answer_nested_without_end_is_trouble_of_x_s(x: XApi, nested: Refusal) -> None:
    x.script.append(Refusal(503, nested.body))
    x.refuse(SEARCH, nested)
    live = source(x)
    with pytest.raises(Unavailable):
        list(live.connect(Resume()))
    with pytest.raises(Unavailable):
        list(live.search("cats", Window(), frozenset()))


@pytest.mark.parametrize("text", ["soon", "-1", "²", "9" * 400, ""])
def test_a_reset_that_is_no_time_is_none(text: str) -> None:
    assert x_problems.reset_time({"x-rate-limit-reset": text}) is None


def test_a_reset_that_tweepy_cannot_read_is_no_crash(x: XApi) -> None:
    headers = {"x-rate-limit-reset": "soon"}
    x.refuse(SEARCH, Refusal(429, {"title": "Too Many Requests"}, headers))
    with pytest.raises(RateLimited) as caught:
        list(source(x).search("cats", Window(), frozenset()))
    assert caught.value.retry_at is None


def test_a_compressed_stream_arrives_line_by_line(x: XApi) -> None:
    x.zips = True
    x.chunk_bytes = 5
    events = source(x).connect(Resume())
    assert isinstance(next(events), Connected)
    x.wait_for_stream()
    assert isinstance(next(events), Heartbeat)
    x.publish("cats 🐱")
    assert next(event for event in events if isinstance(event, IncomingPost)).text == "cats 🐱"


def test_an_answer_without_end_is_cut_off(x: XApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x_http, "MAX_ANSWER", 50_000)
    x.refuse(SEARCH, Refusal(200, {"data": ["x" * 100_000]}))
    with pytest.raises(NetworkFault, match="50000 bytes"):
        list(source(x).search("cats", Window(), frozenset()))


def test_a_redirect_never_carries_the_token_to_another_host(x: XApi) -> None:
    with XApi() as thief:
        for path in (RULES, SEARCH):
            x.refuse(path, moved(f"{thief.url}{path}"))
        x.script.append(moved(f"{thief.url}/2/tweets/search/stream"))
        live = source(x)
        with pytest.raises(NeedsAttention, match="TWITTER_API_BASE_URL"):
            live.follow([])
        with pytest.raises(NeedsAttention):
            list(live.search("cats", Window(), frozenset()))
        with pytest.raises(NeedsAttention):
            list(live.connect(Resume()))
        assert thief.requests == []


def test_the_token_is_in_no_log_and_no_error(x: XApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    live = source(x)
    said = []
    for refusal in (unauthorized(), unavailable(), html(500), moved("https://elsewhere.example")):
        x.script.append(refusal)
        x.refuse(RULES, refusal)
        x.refuse(SEARCH, refusal)
        for call in (
            lambda: live.follow([Stream(pk=1, name="Cats", query="cats")]),
            lambda: list(live.search("cats", Window(), frozenset())),
            lambda: list(live.connect(Resume())),
        ):
            with pytest.raises(SourceError) as caught:
                call()
            said.append(repr(caught.value) + repr(caught.value.__cause__))
    live.usage()
    assert caplog.records, "tweepy logs its calls"
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(said)


@pytest.mark.parametrize("token", ["abc xyz", "abc\nxyz", "tokén"])
def test_a_token_that_no_header_takes_is_not_repeated(token: str, settings: object) -> None:
    settings.TWITTER_BEARER_TOKEN = token  # type: ignore[attr-defined]
    with pytest.raises(NotConfigured, match="TWITTER_BEARER_TOKEN") as caught:
        from_settings()
    assert token not in str(caught.value)


def test_a_source_made_of_the_settings_has_them(settings: object) -> None:
    settings.TWITTER_BEARER_TOKEN = TOKEN  # type: ignore[attr-defined]
    settings.TWITTER_BACKFILL_MINUTES = 5  # type: ignore[attr-defined]
    assert from_settings().name == "x"


def test_fifty_connects_a_window_are_not_exceeded_by_a_connection_that_closes_at_once(
    x: XApi,
) -> None:
    """X counts connects; its headers say how many are left, and are heeded."""
    live = source(x)
    seen: list[SourceError] = []
    while not (seen and isinstance(seen[-1], RateLimited)):
        events = live.connect(Resume())
        try:
            next(events)
            x.end("close")
            list(events)
        except SourceError as error:
            seen.append(error)
    assert x.connects == 50
    # X may take a moment to notice that the one before has gone.
    assert {type(error) for error in seen[:-1]} <= {Closed, x_problems.ConnectionTaken}


def test_closes_alone_wait_so_long_that_a_window_is_not_used_up() -> None:
    now = 0.0
    backoff = Backoff(clock=lambda: now)
    connects = 0
    while now < 900:
        connects += 1
        backoff.connected()
        now += backoff.delay(Closed("closed"))
    assert connects < 50


def test_a_wait_for_the_window_ends_when_it_turns() -> None:
    error = RateLimited("full", time.time() + 30)
    assert 30 <= Backoff().delay(error) < 34
