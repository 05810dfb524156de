"""Words that set a group of posts apart."""

from modeling.ml.terms import distinctive


def posts() -> list[tuple[str, str]]:
    bad = [("negative", f"luggage lost again flight number {i}") for i in range(20)]
    good = [("positive", f"lovely crew on my flight number {i}") for i in range(20)]
    return bad + good


def test_the_telling_word_leads_and_the_shared_one_is_missing() -> None:
    found = distinctive(posts())
    assert {word for word, _, _ in found["negative"]} >= {"luggage", "lost"}
    assert "flight" not in {word for word, _, _ in found["negative"] + found["positive"]}


def test_a_word_counts_once_a_post() -> None:
    found = distinctive([*posts(), ("negative", "luggage luggage luggage")])
    assert {word: count for word, count, _ in found["negative"]}["luggage"] == 21


def test_a_rare_word_says_nothing() -> None:
    found = distinctive([*posts(), ("negative", "zebra")])
    assert "zebra" not in {word for word, _, _ in found["negative"]}


def test_one_group_alone_is_ranked_by_count() -> None:
    found = distinctive(posts()[:20])
    assert found["negative"][0][1] == 20


def test_a_word_that_is_all_there_is_sets_nothing_apart() -> None:
    assert distinctive([("negative", "luggage"), ("positive", "luggage")] * 5) == {
        "negative": [],
        "positive": [],
    }
