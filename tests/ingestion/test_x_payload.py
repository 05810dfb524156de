"""X API v2 objects as posts, in both of X's spellings."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.exceptions import BadPost
from ingestion.sources import x_payload


def item(**fields: Any) -> dict[str, Any]:
    return {"id": "20", "text": "hello", "created_at": "2026-11-24T15:00:00.000Z", **fields}


def test_author_language_and_time_are_read() -> None:
    includes = {"users": [{"id": "8", "username": "x"}, {"id": "9", "username": "c", "name": "C"}]}
    post = x_payload.post(item(author_id="9", lang="en", conversation_id="18"), includes)
    assert (post.author_id, post.author_username, post.author_name) == ("9", "c", "C")
    assert (post.lang, post.conversation_id) == ("en", "18")
    assert post.created_at == datetime(2026, 11, 24, 15, tzinfo=UTC)


@pytest.mark.parametrize("name", ["note_tweet", "note_post"])
def test_a_long_post_is_stored_whole(name: str) -> None:
    assert x_payload.post(item(**{name: {"text": "the whole"}}), {}).text == "the whole"


@pytest.mark.parametrize("name", ["edit_history_tweet_ids", "edit_history_post_ids"])
def test_the_history_names_earlier_versions_only(name: str) -> None:
    assert x_payload.post(item(**{name: ["18", "19", "20"]}), {}).edit_history == ("18", "19")


@pytest.mark.parametrize(
    ("references", "kind", "included"),
    [("referenced_tweets", "retweeted", "tweets"), ("referenced_posts", "reposted", "posts")],
)
def test_a_repost_carries_its_original_whole(references: str, kind: str, included: str) -> None:
    original = {"id": "7", "text": "a long…", "note_tweet": {"text": "a long and winding tale"}}
    repost = item(text="RT @bard: a long…", **{references: [{"type": kind, "id": "7"}]})
    text = x_payload.post(repost, {included: [original]}).text
    assert text == "RT @bard: a long and winding tale"


def test_counts_have_one_name_in_either_spelling() -> None:
    old = x_payload.post(item(public_metrics={"retweet_count": 2, "like_count": 1}), {})
    new = x_payload.post(item(public_metrics={"repost_count": 2, "like_count": 1}), {})
    assert old.metrics == new.metrics == {"repost_count": 2, "like_count": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"id": None},
        {"text": ""},
        {"created_at": None},
        {"created_at": "yesterday"},
        {"created_at": "2026-11-24T15:00:00"},
    ],
)
def test_what_cannot_be_a_post_is_told(fields: dict[str, Any]) -> None:
    with pytest.raises(BadPost):
        x_payload.post(item(**fields), {})


@pytest.mark.parametrize("odd", [7, "x", [None], {"users": 3}, {"users": [None, 5]}])
def test_objects_of_the_wrong_kind_do_no_harm(odd: Any) -> None:
    strange = item(author_id="9", public_metrics=odd, note_tweet=odd, referenced_tweets=odd)
    includes = odd if isinstance(odd, dict) else {"users": odd}
    assert x_payload.post(strange, includes).text == "hello"
