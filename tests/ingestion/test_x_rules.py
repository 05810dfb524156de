"""Streams as rules: what is added, deleted and left alone."""

from typing import Any

import pytest

from ingestion.models import Stream
from ingestion.sources import x_rules


def stream(pk: int, query: str, **fields: Any) -> Stream:
    return Stream(pk=pk, name=f"Stream {pk}", query=query, **fields)


def rule(identity: str, value: str, tag: str = "") -> dict[str, str]:
    return {"id": identity, "value": value, "tag": tag}


def test_what_stands_already_is_neither_deleted_nor_added() -> None:
    cats = stream(1, "cats")
    plan = x_rules.difference([rule("5", "cats", x_rules.tag(cats))], [cats])
    assert (plan.keep, plan.delete, plan.add) == ({1: "5"}, [], [])


def test_an_edited_query_replaces_the_rule() -> None:
    cats = stream(1, "cats OR kittens")
    plan = x_rules.difference([rule("5", "cats", x_rules.tag(cats))], [cats])
    assert (plan.delete, plan.add) == (["5"], [cats])


def test_a_renamed_stream_keeps_its_rule() -> None:
    cats = stream(1, "cats")
    old = rule("5", "cats", x_rules.tag(cats))
    cats.name = "Felines"
    assert x_rules.difference([old], [cats]).keep == {1: "5"}


def test_the_rule_of_a_stream_that_is_gone_is_deleted() -> None:
    plan = x_rules.difference([rule("5", "cats", "sentiment:1:Cats")], [])
    assert (plan.delete, plan.foreign) == (["5"], [])


@pytest.mark.parametrize("tag", ["", "cats", "sentiment", "sentiment:x", "my sentiment:1:"])
def test_foreign_rules_are_left_alone_and_reported(tag: str) -> None:
    plan = x_rules.difference([rule("5", "cats", tag)], [])
    assert (plan.delete, plan.foreign) == ([], ["cats"])


def test_a_rule_without_a_tag_is_foreign() -> None:
    plan = x_rules.difference([{"id": "5", "value": "cats"}], [])
    assert (plan.delete, plan.foreign) == ([], ["cats"])


def test_a_foreign_rule_of_the_same_value_serves_the_stream() -> None:
    plan = x_rules.difference([rule("5", "cats", "theirs")], [stream(1, "cats")])
    assert (plan.keep, plan.add, plan.delete) == ({1: "5"}, [], [])


def test_languages_become_part_of_the_rule() -> None:
    assert x_rules.value(stream(1, "a OR b", languages=["en"])) == "(a OR b) lang:en"
    both = x_rules.value(stream(1, "a", languages=["en", "de"]))
    assert both == "(a) (lang:en OR lang:de)"


def test_a_rule_that_is_too_long_is_refused_before_x_is_asked() -> None:
    plan = x_rules.difference([], [stream(1, "a" * 1020, languages=["en"])])
    assert plan.add == []
    assert "1024" in plan.refused[1]


def test_x_s_answer_is_read_stream_by_stream() -> None:
    good, twice, bad = stream(1, "cats"), stream(2, "dogs"), stream(3, "--b")
    answer = {
        "data": [{"value": "cats", "id": "11"}],
        "errors": [
            {"value": "dogs", "id": "12", "title": "DuplicateRule"},
            {"value": "--b", "details": ["no negation alone"], "title": "UnprocessableEntity"},
        ],
    }
    rule_ids, refused = x_rules.read_answer(answer, [good, twice, bad])
    assert rule_ids == {1: "11", 2: "12"}
    assert refused == {3: "X refused the rule: no negation alone"}


def test_an_answer_that_names_no_rule_refuses_all_with_what_it_says() -> None:
    answer = {"errors": [{"title": "Odd", "detail": "the moon is full"}]}
    assert x_rules.read_answer(answer, [stream(1, "a")])[1] == {
        1: "X refused the rule: the moon is full"
    }


def test_a_full_account_says_what_to_do() -> None:
    answer = {"errors": [{"title": "RulesCapExceeded", "detail": "Must delete 1 rule"}]}
    assert x_rules.has_no_room(answer)
    assert "pause other streams" in x_rules.read_answer(answer, [stream(1, "a")])[1][1]


def test_a_duplicate_without_an_id_is_refused_in_words() -> None:
    answer = {"errors": [{"value": "a", "title": "DuplicateRule"}]}
    assert "exactly the same" in x_rules.read_answer(answer, [stream(1, "a")])[1][1]


@pytest.mark.parametrize("odd", [None, "x", 7, [None, "x", 5], {}])
def test_an_answer_of_the_wrong_shape_does_no_harm(odd: Any) -> None:
    rule_ids, refused = x_rules.read_answer({"data": odd, "errors": odd}, [stream(1, "a")])
    assert rule_ids == {}
    assert refused.keys() == {1}


def test_a_rule_that_stays_serves_every_stream_of_its_value() -> None:
    one, other = stream(1, "cats"), stream(2, "cats ")
    plan = x_rules.difference([rule("5", "cats", x_rules.tag(one))], [one, other])
    assert (plan.keep, plan.add, plan.delete) == ({1: "5", 2: "5"}, [], [])


def test_the_share_that_a_budget_leaves_becomes_part_of_the_rule() -> None:
    sampled = stream(1, "a OR b", sample_percent=10)
    assert x_rules.value(sampled) == "(a OR b) sample:10"
    sampled.languages = ["en"]
    assert x_rules.value(sampled) == "(a OR b) lang:en sample:10"


def test_of_two_shares_the_smaller_one_counts() -> None:
    assert x_rules.value(stream(1, "a sample:5", sample_percent=10)) == "(a) sample:5"
    assert x_rules.value(stream(1, "a sample:50", sample_percent=10)) == "(a) sample:10"


@pytest.mark.parametrize(
    ("query", "searched"),
    [
        ("cats sample:10", "cats"),
        ("sample:10 cats", "cats"),
        ("(cats sample:10) dogs", "(cats ) dogs"),
        ("cats (sample:10)", "cats"),
        ('"free sample:10" cats', '"free sample:10" cats'),
        ("resample:10 sample:x", "resample:10 sample:x"),
    ],
)
def test_a_search_takes_no_sample(query: str, searched: str) -> None:
    assert x_rules.search_value(stream(1, query)) == searched


def test_the_share_counts_against_the_length() -> None:
    just = stream(1, "a" * 1015)
    assert x_rules.too_long(just) == ""
    just.sample_percent = 10
    assert "1027 characters" in x_rules.too_long(just)
