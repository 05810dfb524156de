"""What X is asked beside its stream: look-up, validation, usage."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
import time_machine

from ingestion.exceptions import NeedsAttention, RateLimited, Unavailable
from ingestion.models import Stream
from ingestion.sources import Reported
from ingestion.sources.x import XSource
from ingestion.sources.x_rules import tag
from tests.ingestion import factories
from tests.x_api import POSTS, RULES, USAGE, XApi
from tests.x_api_refusals import Refusal, rate_limited, unavailable


@pytest.fixture
def x() -> Iterator[XApi]:
    with XApi() as api:
        yield api


@pytest.fixture
def live(x: XApi) -> XSource:
    return XSource(x.token, x.url)


def stream(query: str, pk: int = 1) -> Stream:
    return Stream(pk=pk, name="S", query=query)


def test_deleted_and_protected_posts_are_gone(x: XApi, live: XSource) -> None:
    stands, deleted, protected = (x.publish(text) for text in ("a", "b", "c"))
    x.delete(deleted)
    x.protect(protected)
    assert live.gone([stands, deleted, protected]) == {deleted, protected}


def test_silence_about_a_post_says_nothing(x: XApi, live: XSource) -> None:
    x.refuse(POSTS, Refusal(200, {"data": [{"id": "1", "text": "a"}]}))
    assert live.gone(["1", "2"]) == set()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"errors": None},
        {"errors": ["x", {"type": "https://api.x.com/2/problems/unsupported", "value": "1"}]},
        {"errors": [{"type": "x/resource-not-found", "value": "99"}]},
        {"errors": [{"type": "x/resource-not-found"}]},
        {"data": [{"id": "1"}], "errors": [{"type": "x/resource-not-found", "value": "1"}]},
    ],
)
def test_what_names_no_post_as_gone_takes_none(
    x: XApi, live: XSource, answer: dict[str, object]
) -> None:
    x.refuse(POSTS, Refusal(200, answer))
    assert live.gone(["1"]) == set()


def test_ids_that_are_not_x_s_are_not_asked_for(x: XApi, live: XSource) -> None:
    assert live.gone(["file-1a2b", "", "1" * 20]) == set()
    assert x.asked(POSTS) == []
    gone = x.new_id()
    assert live.gone(["file-1a2b", gone]) == {gone}


def test_more_than_a_call_takes_are_asked_for_in_several(x: XApi, live: XSource) -> None:
    ids = [x.new_id() for _ in range(150)]
    assert live.gone(ids) == set(ids)
    assert [len(query["ids"].split(",")) for query in x.asked(POSTS)] == [100, 50]


def test_trouble_while_looking_up_takes_nothing(x: XApi, live: XSource) -> None:
    x.refuse(POSTS, unavailable(), rate_limited(30))
    with pytest.raises(Unavailable):
        live.gone(["1"])
    with pytest.raises(RateLimited):
        live.gone(["1"])


def test_a_good_query_is_found_good_and_not_added(x: XApi, live: XSource) -> None:
    assert live.validate(stream("cats (has:images OR lang:en)")) == ""
    assert x.rules == {}


@pytest.mark.parametrize("status", [200, 201, 400])
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("-cats", "non-negation"),
        ('"cats', "closing quote"),
        ("has:images", "standalone"),
        ("(cats", "closing parenthesis"),
    ],
)
def test_a_bad_query_is_refused_in_x_s_words(
    x: XApi, live: XSource, query: str, says: str, status: int
) -> None:
    x.nothing_added_status = status
    assert says in live.validate(stream(query))


def test_a_query_that_is_too_long_is_refused_without_a_call(x: XApi, live: XSource) -> None:
    assert "1024" in live.validate(stream("a" * 1025))
    assert x.requests == []


@pytest.mark.parametrize("status", [200, 201, 400])
@pytest.mark.django_db
def test_a_standing_rule_of_the_same_stream_or_of_nobody_s_is_no_fault(
    x: XApi, live: XSource, status: int
) -> None:
    x.nothing_added_status = status
    own = factories.stream(query="cats")
    x.add_rule("cats", tag(own))
    x.add_rule("dogs", "theirs")
    assert live.validate(own) == ""
    assert live.validate(stream("dogs", own.pk + 1)) == ""


@pytest.mark.django_db
def test_another_stream_of_the_same_rule_is_named(x: XApi, live: XSource) -> None:
    other = factories.stream(query="cats", name="Felines")
    x.add_rule("cats", tag(other))
    assert "Felines" in live.validate(stream("cats", other.pk + 1))
    other.is_active = False
    other.save()
    assert live.validate(stream("cats", other.pk + 1)) == ""


def test_an_account_without_room_says_so(x: XApi, live: XSource) -> None:
    x.rules_allowed = 0
    assert "as many rules as X allows" in live.validate(stream("cats"))


@pytest.mark.parametrize("used", ["1234", 1234])
def test_usage_is_what_the_project_has_read(x: XApi, live: XSource, used: object) -> None:
    x.refuse(USAGE, Refusal(200, {"data": {"project_usage": used, "project_cap": "2000000"}}))
    assert live.usage() == Reported(1234)


def test_the_stand_in_counts_what_it_delivers(x: XApi, live: XSource) -> None:
    live.gone([x.publish("a"), x.publish("b")])
    assert live.usage().posts == 2


@pytest.mark.parametrize(
    ("day", "today", "since"),
    [
        (1, date(2026, 11, 20), date(2026, 11, 1)),
        (19, date(2026, 11, 18), date(2026, 10, 19)),
        ("19", date(2026, 11, 19), date(2026, 11, 19)),
        (31, date(2027, 2, 28), date(2027, 2, 28)),
        (31, date(2027, 3, 1), date(2027, 2, 28)),
        (0, date(2026, 11, 20), None),
        (None, date(2026, 11, 20), None),
        ("soon", date(2026, 11, 20), None),
    ],
)
def test_usage_counts_from_the_day_on_which_the_cap_was_reset(
    x: XApi, live: XSource, day: object, today: date, since: date | None
) -> None:
    x.refuse(USAGE, Refusal(200, {"data": {"project_usage": "5", "cap_reset_day": day}}))
    with time_machine.travel(datetime(today.year, today.month, today.day, 12, tzinfo=UTC)):
        assert live.usage() == Reported(5, since)


@pytest.mark.parametrize("answer", [{}, {"data": []}, {"data": {"project_usage": "many"}}])
def test_usage_that_x_does_not_tell_is_an_error(
    x: XApi, live: XSource, answer: dict[str, object]
) -> None:
    x.refuse(USAGE, Refusal(200, answer))
    with pytest.raises(Unavailable, match="did not say"):
        live.usage()


def test_rules_beyond_what_the_account_may_have_are_refused_one_by_one(
    x: XApi, live: XSource
) -> None:
    x.rules_allowed = 130
    streams = [Stream(pk=pk, name=f"S{pk}", query=f"word{pk}") for pk in range(1, 251)]
    followed = live.follow(streams)
    assert len(followed.rule_ids) == 130
    assert len(followed.refused) == 120
    assert "pause other streams" in followed.refused[250]
    assert len([call for call in x.requests if call == ("POST", RULES)]) < 20


def test_a_thousand_rules_are_listed_page_by_page(x: XApi, live: XSource) -> None:
    x.rules_a_page = 400
    streams = [Stream(pk=pk, name=f"S{pk}", query=f"word{pk}") for pk in range(1, 1001)]
    assert len(live.follow(streams).rule_ids) == 1000
    x.requests.clear()
    assert live.follow(streams).refused == {}
    assert x.requests == [("GET", RULES)] * 3


def test_two_streams_of_one_value_share_a_rule_and_its_posts(x: XApi, live: XSource) -> None:
    one, other = stream("cats", 1), stream("cats ", 2)
    followed = live.follow([one, other])
    assert len(set(followed.rule_ids.values())) == len(x.rules) == 1
    [rule] = x.rules.values()
    line = (
        '{"data":{"id":"9","text":"cats","created_at":"2026-11-24T15:00:00Z"},'
        f'"matching_rules":[{{"id":"{rule["id"]}","tag":"{rule["tag"]}"}}]}}'
    )
    [event] = live.parse(line.encode())
    assert event.stream_ids == {1, 2}  # type: ignore[union-attr]
    # The one that brought the rule goes; the other keeps being followed.
    assert live.follow([other]).rule_ids.keys() == {2}


def test_a_rule_somebody_adds_in_the_same_moment_serves(x: XApi, live: XSource) -> None:
    x.refuse(RULES, Refusal(200, {"meta": {}}))
    theirs = x.add_rule("cats", "theirs")
    assert live.follow([stream("cats")]).rule_ids == {1: theirs}


@pytest.mark.parametrize("status", [200, 201, 400])
def test_an_answer_without_any_rule_refuses_each(x: XApi, live: XSource, status: int) -> None:
    x.nothing_added_status = status
    followed = live.follow([stream("-a", 1), stream("-b", 2)])
    assert followed.rule_ids == {}
    assert followed.refused.keys() == {1, 2}


def test_a_bad_request_that_names_no_rule_needs_a_person(x: XApi, live: XSource) -> None:
    x.refuse(RULES, Refusal(400, {"title": "Invalid Request", "detail": "odd"}))
    with pytest.raises(NeedsAttention, match="odd"):
        live.follow([stream("cats")])
