"""The filter language: what it finds, what it refuses, and that nothing makes it slow."""

import time

import pytest

from ingestion.exceptions import BadQuery, IngestionError
from ingestion.queries import UNSUPPORTED, parse


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("cat", "My CAT sleeps."),
        ("cat", "#cat!"),
        ("cat", "(cat)"),
        ("STRASSE", "Die Straße"),
        ("café", "le cafe\u0301 noir"),
        ("cat", "ｃａｔ"),
        ("don't", "Don’t stop"),
        ("coca-cola", "I like Coca Cola"),
        ('"new york"', "in NEW  York, today"),
        ('"say \\"hi\\""', 'they say: "hi"'),
        ("猫", "黒猫です"),
        ("東京タワー", "昨日は東京タワーに行った"),
        ("서울", "서울에서 왔어요"),
        ("iPhone発売", "本日iPhone発売です"),
        ("कुत्ता", "मेरा कुत्ता है"),
        ("🐱", "good morning🐱🐱"),
        ("❤️", "I ❤ it"),
        ("👍", "fine 👍🏽"),
        ("#Cats", "all of #CATS, please"),
        ("#猫", "見て #猫 かわいい"),
        ("#big_cat", "#big_cat-food"),
        ("@Ann", "hello @ann."),
        ("@ann@example.org", "hello @Ann@example.org!"),
        ("@ann.bsky.social", "hello @ann.bsky.social."),
        ("$TSLA", "short $tsla, they said"),
        ("url:example", "see https://www.example.org/a?b=c"),
        ('url:"https://example.org/news"', "https://example.org/news/today"),
        ("url:example.org", "example.org/news…"),
        ("cat dog", "dog and cat"),
        ("cat OR dog", "a dog"),
        ("cat dog OR fish", "fish"),
        ("cat (dog OR fish)", "cat, fish"),
        ("cat -dog", "cat"),
        ('cat -"hot dog" -#ad', "a cat and a dog"),
        ("-(dog OR fish)", "cat"),
        ("-(dog -fish)", "dog fish"),
        ("((cat))", "cat"),
        ("cat\n OR\tdog", "dog"),
        ("12:30", "at 12:30 sharp"),
        ("", "anything"),
        ("  ", ""),
    ],
)
def test_it_finds(query: str, text: str) -> None:
    assert parse(query).matches(text=text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("cat", "concatenate cats"),
        ("cat", ""),
        ("cafe", "café"),
        ('"new york"', "york new"),
        ("東京", "東の京"),
        ("#cat", "cat # cat #cats a#cat"),
        ("#猫", "#猫好き"),
        ("#39", "it&#39;s"),
        ("@ann", "ann@ann.example, @annie"),
        ("@ann@example.org", "@ann@example.com"),
        ("$a", "US$a $ab"),
        ("url:example", "example: and/or, 1.5"),
        ("cat dog", "cat"),
        ("cat dog OR fish", "cat"),
        ("cat (dog OR fish)", "fish"),
        ("cat -dog", "cat dog"),
        ("-(dog OR fish)", "fish"),
    ],
)
def test_it_does_not_find(query: str, text: str) -> None:
    assert not parse(query).matches(text=text)


def test_an_author_is_named_or_numbered() -> None:
    query = parse("from:@Ann")
    assert query.matches(text="x", author="ann")
    assert query.matches(text="x", author="@ANN")
    assert not query.matches(text="x", author="annie")
    assert parse("from:did:plc:abc").matches(text="x", author_id="did:plc:abc")


def test_a_language_is_found_with_its_region() -> None:
    assert parse("lang:en").matches(text="x", lang="en-GB")
    assert parse("lang:pt-BR").matches(text="x", lang="pt_BR")
    assert not parse("lang:en").matches(text="x", lang="")
    assert parse("lang:und").matches(text="x", lang="")


def test_what_cannot_be_judged_matches_everything_and_is_named() -> None:
    query = parse("cat has:images -is:retweet to:ann point_radius:[2.35 48.86 16km]")
    assert query.unsupported == ("has:", "is:", "to:", "point_radius:")
    assert query.matches(text="cat")
    assert not query.matches(text="dog")
    assert all(parse(f"{name}:x").matches(text="y") for name in UNSUPPORTED)
    assert parse("is:reply is:quote").unsupported == ("is:",)


def test_what_cannot_be_judged_matches_under_any_negation() -> None:
    assert parse("-(cat is:retweet)").matches(text="cat")
    assert not parse("-(cat OR is:retweet)").matches(text="cat")
    assert parse("-(cat -(dog is:retweet))").matches(text="cat") is False
    assert parse("cat OR is:retweet").matches(text="dog")


@pytest.mark.parametrize(
    ("query", "position", "reason"),
    [
        ("cat (dog", 5, "never closed"),
        ("cat) dog", 4, "closes nothing"),
        ('cat "dog', 5, "quote"),
        ('from:"ann', 6, "quote"),
        ("cat OR", 7, "missing"),
        ("OR cat", 1, "missing"),
        ("cat OR OR dog", 8, "missing"),
        ("()", 2, "missing"),
        ("cat -", 5, "nothing follows"),
        ("cat - dog", 5, "nothing follows"),
        ("--cat", 1, "negate once"),
        ("cat and dog", 5, "ambiguous"),
        ("cat NOT dog", 5, "a minus"),
        ("cat*", 1, "wildcards"),
        ("cat :)", 5, "no letter"),
        ('cat "!!"', 5, "no letter"),
        ("cat #!", 5, "no hashtag"),
        ("foo:bar", 1, 'no operator "foo:"'),
        ("https://example.org", 1, 'no operator "https:"'),
        ("cat from: ann", 5, "must follow"),
        ("url:://", 1, "no letter"),
        ("(" * 40 + "cat" + ")" * 40, 33, "nested"),
    ],
)
def test_it_refuses_and_says_where(query: str, position: int, reason: str) -> None:
    with pytest.raises(BadQuery, match=reason) as caught:
        parse(query)
    assert f"character {position} " in str(caught.value)
    assert isinstance(caught.value, IngestionError)


def test_a_query_is_bounded() -> None:
    parse("a" * 1024)
    with pytest.raises(BadQuery, match="1025 characters; 1024 are allowed"):
        parse("a" * 1025)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("a" * 1000, "a" * 300_000),
        ('"' + "a " * 500 + 'b"', "a " * 100_000),
        ("#" + "a" * 1000 + " OR @x OR $x OR url:x", "#" * 30_000 + "@" * 10_000),
        ("#x OR @x OR $x OR url:x", "@a" * 50_000),
        ("#x OR @x OR $x OR url:x", "a.b" * 50_000),
        ("#x OR @x OR $x OR url:x", "@" + "a-." * 50_000 + "#a" * 10_000),
        ("-(" * 30 + "a" + ")" * 30, "\ufdfa" * 100_000),
        (" OR ".join(f"w{i}" for i in range(130)), "w " * 50_000),
    ],
)
def test_no_text_makes_a_query_slow(query: str, text: str) -> None:
    parsed = parse(query)
    began = time.process_time()
    parsed.matches(text=text)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "query", ['"' * 1023, "(" * 1024, "-" * 1024, "a:" * 512, '\\"' * 512, "[" * 1024]
)
def test_no_query_is_slow_to_refuse(query: str) -> None:
    began = time.process_time()
    with pytest.raises(BadQuery):
        parse(query)
    assert time.process_time() - began < 0.1
