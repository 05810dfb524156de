"""Normalisation: one form for training, inference, duplicates and splits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.ml.text import digest, normalise, words


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("hi @Bob_99, see https://t.co/aBc123", "hi @user, see http"),
        ("@me@masto.social look www.example.org/a?b=c", "@user look http"),
        ("mail me at user@example.org", "mail me at user@example.org"),
        ("so goooooood!!!!!!", "so goood!!!"),
        ("#WorstAirlineEver", "# Worst Airline Ever"),
        ("#love_this2day", "# love this 2day"),
        ("fish &amp; chips &lt;3", "fish & chips red heart"),
        ("schÃ¶n", "schön"),
        ("zero\u200bwidth\u2060 and\u0000 control\u0007", "zerowidth and control"),
        ("tabs\tand\nlines   here", "tabs and lines here"),
        ("love it 😂", "love it face with tears of joy"),
        ("nice 👍🏽", "nice thumbs up"),
        ("great :)", "great smiling face"),
        ("oh no :( :'(", "oh no frowning face crying face"),
        ("at 10:30 (really)", "at 10:30 (really)"),
        ("http://x.y/:)", "http"),
        ("score 3:0", "score 3:0"),
    ],
)
def test_each_step(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_emoji_stay_where_the_encoder_knows_them() -> None:
    assert normalise("love it 😂", emoji_as_words=False) == "love it 😂"


# What people can type: neither controls nor code points without a meaning.
TYPED = st.text(st.characters(exclude_categories=("Cc", "Cn", "Co", "Cs")), max_size=200)


@settings(derandomize=True)
@given(TYPED)
def test_normalising_twice_changes_nothing(raw: str) -> None:
    once = normalise(raw)
    assert normalise(once) == once


@settings(derandomize=True)
@given(st.text(max_size=200))
def test_nothing_invisible_is_left(raw: str) -> None:
    assert not any(char in normalise(raw) for char in "\x00\u200b\u2060\ufeff\n\t")


def test_posts_that_read_alike_share_a_digest() -> None:
    assert digest("Love it  @Ann https://t.co/a") == digest("love it @bob https://t.co/b")
    assert digest("love it") != digest("hate it")


def test_words_leave_out_what_says_nothing() -> None:
    said = words("@Ann I really LOVE the new #Phone, don't you? https://t.co/x 10")
    assert said == ["love", "#phone"]
