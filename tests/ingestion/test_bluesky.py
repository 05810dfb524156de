"""The Bluesky source against the stand-in, over a real socket, in both of Jetstream's versions."""

from __future__ import annotations

import pytest

from ingestion.events import (
    AuthorDeleted,
    IncomingPost,
    PostDeleted,
)
from ingestion.exceptions import NothingFollowed
from ingestion.sources import Resume
from ingestion.sources.bluesky import BlueskySource
from tests.ingestion.bluesky import failure, open_stream, posts_of, stream, take, texts, until
from tests.jetstream import Jetstream
from tests.jetstream_events import ALICE, BOB

# --- what streams ask for


def test_a_post_belongs_to_every_stream_that_asks_for_it(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, "cats"), stream(2, "dogs"), stream(3, ""), stream(4, "", "de", "pt")])
    events = open_stream(live)
    bluesky.publish("cats", langs=["en-GB"])
    bluesky.publish("Katzen", langs=["de-AT"])
    bluesky.publish("dogs and cats", langs=None)
    found = [take(events, IncomingPost) for _ in range(3)]
    assert [post.stream_ids for post in found] == [{1, 3}, {3, 4}, {1, 2, 3}]
    assert [post.lang for post in found] == ["en", "de", ""]


def test_what_no_stream_asks_for_is_dropped(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, "cats", "en")])
    events = open_stream(live)
    bluesky.publish("dogs")
    bluesky.publish("cats en français", langs=["fr"])
    bluesky.publish("", embed={"$type": "app.bsky.embed.images", "images": []})
    bluesky.like()
    bluesky.publish("cats <3", langs=["EN"])
    assert texts(events, 1) == ["cats <3"]


def test_streams_change_on_the_open_connection(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    bluesky.publish("cats one")
    assert texts(events, 1) == ["cats one"]
    live.follow([stream(2, "dogs")])
    bluesky.publish("cats two")
    bluesky.publish("dogs")
    assert take(events, IncomingPost).stream_ids == {2}
    assert bluesky.connects == 1


def test_a_query_that_cannot_be_read_is_refused_alone(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    followed = live.follow([stream(1, "cats"), stream(2, "(cats")])
    assert "never closed" in followed.refused[2] and followed.refused.keys() == {2}
    assert live.validate(stream(2, "(cats")) == followed.refused[2]
    assert live.validate(stream(1, "cats")) == ""
    events = open_stream(live)
    bluesky.publish("cats")
    assert take(events, IncomingPost).stream_ids == {1}


def test_without_a_query_that_can_be_followed_nothing_is_asked_for(live: BlueskySource) -> None:
    live.follow([stream(1, "((")])
    assert isinstance(failure(live.connect(Resume())), NothingFollowed)


def test_an_author_is_found_by_name_once_it_is_known(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, "from:alice.bsky.social")])
    events = open_stream(live)
    bluesky.publish("who am I?")
    bluesky.identity(ALICE, "alice.bsky.social")
    bluesky.publish("now you know")
    found = take(events, IncomingPost)
    assert (found.text, found.author_username) == ("now you know", "alice.bsky.social")


def test_where_only_authors_are_named_only_theirs_are_sent(
    bluesky: Jetstream, live: BlueskySource
) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    events = open_stream(live)
    bluesky.publish("not asked for", did=BOB)
    bluesky.publish("by Alice")
    assert texts(events, 1) == ["by Alice"]
    assert f"ids={ALICE.replace(':', '%3A')}" in bluesky.requests[0].replace("D", "d")


def test_another_author_is_heard_without_a_gap(bluesky: Jetstream, live: BlueskySource) -> None:
    live.follow([stream(1, f"from:{ALICE}")])
    events = open_stream(live)
    bluesky.publish("by Alice")
    assert texts(events, 1) == ["by Alice"]
    live.follow([stream(1, f"from:{ALICE}"), stream(2, f"from:{BOB}")])
    bluesky.publish("by Bob, on the old connection", did=BOB)
    assert take(events, IncomingPost).stream_ids in ({1}, {2})
    found = set(texts(events, 1))
    bluesky.publish("by Bob, on the new one", did=BOB)
    while "by Bob, on the new one" not in found:
        found |= set(texts(events, 1))
    assert bluesky.connects == 2


# --- what is taken back


def test_deletions_come_together(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uris = [bluesky.publish(f"dogs {number}") for number in range(1200)]
    for uri in uris:
        bluesky.delete(uri)
    deleted: list[str] = []
    batches = 0
    while len(deleted) < len(uris):
        deleted += take(events, PostDeleted).external_ids
        batches += 1
    assert deleted == uris
    assert batches < 12


def test_a_post_does_not_follow_its_own_deletion(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uri = bluesky.publish("cats, regretted")
    assert texts(events, 1) == ["cats, regretted"]
    bluesky.delete(uri)
    bluesky.publish("cats, regretted", rkey=uri.rpartition("/")[2])
    bluesky.update(uri, "cats, regretted, edited")
    bluesky.publish("cats")
    before, post = until(events, IncomingPost)
    assert post.text == "cats"
    assert not posts_of(before)


@pytest.mark.parametrize("status", ["deleted", "takendown"])
def test_an_account_that_is_gone_is_forgotten(
    bluesky: Jetstream, live: BlueskySource, status: str
) -> None:
    events = open_stream(live)
    bluesky.account(ALICE, status)
    bluesky.publish("late cats")
    bluesky.publish("cats", did=BOB)
    before, post = until(events, IncomingPost)
    assert AuthorDeleted(ALICE) in before
    assert post.author_id == BOB


@pytest.mark.parametrize("status", ["deactivated", "suspended", "throttled", ""])
def test_an_account_that_may_come_back_is_kept(
    bluesky: Jetstream, live: BlueskySource, status: str
) -> None:
    events = open_stream(live)
    bluesky.account(ALICE, status)
    bluesky.publish("cats")
    before, _ = until(events, IncomingPost)
    assert not [event for event in before if isinstance(event, AuthorDeleted)]


def test_an_edit_is_a_later_version(bluesky: Jetstream, live: BlueskySource) -> None:
    events = open_stream(live)
    uri = bluesky.publish("cats")
    bluesky.update(uri, "cats, mended")
    first, second = (take(events, IncomingPost) for _ in range(2))
    assert first.external_id == uri
    assert second.external_id.startswith(f"{uri}@")
    assert second.edit_history == (uri,)
