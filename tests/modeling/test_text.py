"""Normalisation: one form for training, inference, duplicates and splits."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.ml import text
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
        ("(10:3) c:/x http://", "(10:3) c:/x http://"),
        ("&amp;amp;lt;3", "red heart"),
        (":D:D <3<3", "grinning face grinning face red heart red heart"),
        ("a new hat 👒", "a new hat woman's hat"),
        ("👩🏽\u200d💻 at work", "woman technologist at work"),
        ("𝓱𝓮𝓵𝓵𝓸 ﬁne", "hello fine"),
        ("it\u2019s \u202eabc", "it's abc"),
        ("\t\n", ""),
    ],
)
def test_each_step(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_emoji_stay_where_the_encoder_knows_them() -> None:
    assert normalise("love it 😂", emoji_as_words=False) == "love it 😂"


# Whatever can be typed, and much of what this function itself looks for.
TELLING = [*":;=-'()<>3/\\pPoOdDxX@#&;_!?.|^T🙂❤👍🏽👒\u200d\ufe0f\u200b", "&amp;", "&lt;"]
PIECES = st.lists(st.sampled_from(TELLING) | st.characters(), max_size=16).map("".join)
TYPED = st.text(max_size=200) | PIECES


@settings(derandomize=True, max_examples=500)
@given(TYPED, st.booleans())
def test_normalising_twice_changes_nothing(raw: str, emoji_as_words: bool) -> None:
    once = normalise(raw, emoji_as_words=emoji_as_words)
    assert normalise(once, emoji_as_words=emoji_as_words) == once


@settings(derandomize=True, max_examples=1000)
@given(st.text("x:=;^<_-TD'()3/oc|[] .", max_size=12))
def test_no_emoticon_is_missed_by_the_first_look(raw: str) -> None:
    if not text._MAYBE_EMOTICON.search(raw):
        assert text._EMOTICON_AT_BOUNDARY.search(raw) is None


@pytest.mark.parametrize("layer", ["amp;", ":D", "👒:)", "a", "#"])
def test_a_text_built_of_many_layers_takes_no_longer_than_it_should(layer: str) -> None:
    started = time.process_time()
    normalise("&" + layer * (30_000 // len(layer)))
    assert time.process_time() - started < 3


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
