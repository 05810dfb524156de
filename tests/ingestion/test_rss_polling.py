"""Feeds that are asked again: what is new, and what failing feeds do to the others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from ingestion.events import CaughtUp, Checkpoint, Event, Heartbeat, version_id
from ingestion.models import Stream
from ingestion.sources import Resume, rss
from ingestion.sources.rss import RssSource
from ingestion.sources.safe_http import TOTAL_SECONDS
from tests.conftest import wait_until
from tests.feeds import Feeds, Reply, atom, atom_entry, item
from tests.feeds import rss as document
from tests.ingestion.factories import stream
from tests.ingestion.feed_events import cursor, first_round, posts, until

pytestmark = pytest.mark.django_db(transaction=True)


def test_only_what_is_new_comes_at_the_next_poll(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    url = feeds.put("/a", document(item("https://p/1", "one")))
    events = rss_source(url).connect(Resume())
    until(events, CaughtUp)
    wait_until(lambda: 304 in feeds.statuses_of("/a") or isinstance(next(events), Heartbeat))
    feeds.put("/a", document(item("https://p/2", "two"), item("https://p/1", "one")))
    assert [post.text for post in posts(until(events, Checkpoint))] == ["two"]


def test_a_changed_text_is_an_edit(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    def publish(text: str, updated: str) -> str:
        entry = atom_entry("urn:1", text, updated=updated, published="2024-11-04T10:00:00Z")
        return feeds.put("/a", atom(entry))

    events = rss_source(publish("one", "2024-11-04T10:00:00Z")).connect(Resume())
    until(events, CaughtUp)
    # The time alone is no edit; what changes without a new time is one all the same.
    publish("one", "2024-11-04T11:00:00Z")
    assert not posts(until(events, Checkpoint))
    publish("two", "2024-11-04T12:00:00Z")
    (second,) = posts(until(events, Checkpoint))
    publish("three", "2024-11-04T12:00:00Z")
    (third,) = posts(until(events, Checkpoint))
    edited_at = datetime(2024, 11, 4, 12, tzinfo=UTC)
    assert second.external_id == version_id("urn:1", edited_at)
    assert third.external_id > second.external_id
    assert second.edit_history == third.edit_history == ("urn:1",)


def test_a_restart_asks_for_changes_only_and_knows_edits(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    url = feeds.put("/a", document(item("https://p/1", "one"), item("https://p/0", "zero")))
    saved = cursor(first_round(rss_source(url)))
    assert len(saved) < 200 and isinstance(json.loads(saved), dict)
    Stream.objects.all().delete()
    assert not posts(first_round(rss_source(url), saved))
    assert feeds.statuses_of("/a")[-1] == 304
    feeds.put("/a", document(item("https://p/1", "one!"), item("https://p/0", "zero")))
    Stream.objects.all().delete()
    (post,) = posts(first_round(rss_source(url), saved))
    assert (post.text, post.edit_history) == ("one!", ("https://p/1",))


@pytest.mark.parametrize("saved", ["nonsense", "[]", "[1]", "null", '{"k": 1}'])
def test_a_cursor_of_another_kind_is_a_new_beginning(
    rss_source: Callable[..., RssSource], feeds: Feeds, saved: str
) -> None:
    live = rss_source(feeds.put("/a", document(item("https://p/1", "one"))))
    assert len(posts(first_round(live, saved))) == 1


def test_a_feed_that_lists_nothing_from_before_is_told(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    url = feeds.put("/a", document(item("https://p/1", "one")))
    first = first_round(rss_source(url))
    assert first[-1] == CaughtUp("the feeds' own lists", True, "")
    feeds.put("/a", document(item("https://p/9", "nine")))
    Stream.objects.all().delete()
    second = first_round(rss_source(url), cursor(first))
    assert isinstance(second[-1], CaughtUp) and not second[-1].is_complete
    assert url in second[-1].note


def test_heartbeats_tell_that_it_is_alive(
    rss_source: Callable[..., RssSource], feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rss, "HEARTBEAT_SECONDS", 0.1)
    url = feeds.answer("/slow", Reply(200, trickle="headers"))
    assert isinstance(until(rss_source(url).connect(Resume()), Heartbeat)[-1], Heartbeat)


def test_disconnect_wakes_a_sleeping_poll_and_a_slow_fetch(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    feeds.answer("/slow", Reply(200, trickle="headers"))
    quiet = feeds.put("/a", document(item("https://p/1", "one")))
    live = rss_source(f"{feeds.url('/slow')} {quiet}", poll_seconds=3600)
    seen: list[Event] = []
    thread = threading.Thread(target=lambda: seen.extend(live.connect(Resume())))
    thread.start()
    wait_until(lambda: posts(list(seen)) and feeds.asked("/slow"))
    began = time.monotonic()
    live.disconnect()
    thread.join(timeout=20)
    assert not thread.is_alive() and time.monotonic() - began < TOTAL_SECONDS / 2
    # The same object connects again.
    assert posts(until(live.connect(Resume()), Checkpoint))


def test_following_changes_on_the_open_connection(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    first = feeds.put("/a", document(item("https://p/1", "one")))
    second = feeds.put("/b", document(item("https://q/1", "uno")))
    live = rss_source(first, poll_seconds=3600)
    events = live.connect(Resume())
    until(events, CaughtUp)
    both = stream(source="rss", query=f"{second}\n{first}")
    live.follow([both])
    found = posts(until(events, Checkpoint)) + posts(until(events, Checkpoint))
    # Who joins later gets what the feed lists already, too.
    assert {post.text for post in found} == {"one", "uno"}
    assert all(post.stream_ids == {both.pk} for post in found)


def test_a_failing_feed_is_shown_and_stops_no_other(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    bad = feeds.answer("/bad", *[Reply(500)] * 2)
    good = feeds.put("/good", document(item("https://p/1", "one")))
    live = rss_source(bad, good)
    events = live.connect(Resume())
    seen = until(events, CaughtUp)
    assert len(posts(seen)) == 1 and isinstance(seen[-1], CaughtUp)
    assert not seen[-1].is_complete and bad in seen[-1].note
    broken, fine = Stream.objects.order_by("pk")
    assert broken.last_error == f"{bad}: it answers with HTTP 500" and not fine.last_error
    feeds.put("/bad", document(item("https://q/1", "uno")))
    assert [post.text for post in posts(until(events, Checkpoint))] == ["uno"]
    broken.refresh_from_db()
    assert broken.last_error == ""


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(401), "password"),
        (Reply(404), "does not exist"),
        (Reply(410), "gone for good"),
        (Reply(204), "HTTP 204"),
        (Reply(200, body=b"<html><body>hello"), "no RSS or Atom"),
        (Reply(200), "no RSS or Atom"),
        (Reply(200, {"Content-Length": "500"}, b"<rss>"), "cannot be reached"),
        (Reply(200, body=b"x" * (5 * 1024**2 + 1)), "larger than 5 MiB"),
        (Reply(200, {"Content-Encoding": "gzip"}, b"no gzip"), "cannot be reached"),
        (Reply(200, trickle="headers"), "longer than 1 s"),
        (Reply(200, body=b"<rss>", trickle="body"), "longer than 1 s"),
        (Reply(302, {"Location": "/x"}), "redirects more than 5"),
        (Reply(302, {"Location": "file:///etc/passwd"}), "address cannot be used"),
    ],
)
def test_it_says_why_a_feed_fails(
    rss_source: Callable[..., RssSource], feeds: Feeds, reply: Reply, reason: str
) -> None:
    # What is answered at all is answered in time, even by a machine that stands still for a while.
    seconds = 1 if reply.trickle else 30
    live = rss_source(feeds.answer("/x", *[reply] * 9), poll_seconds=60, fetch_seconds=seconds)
    assert not posts(first_round(live))
    assert reason in Stream.objects.get().last_error


def test_a_feed_is_not_asked_before_the_time_that_it_names(
    rss_source: Callable[..., RssSource], feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rss, "HEARTBEAT_SECONDS", 0.1)
    later = format_datetime(datetime(2099, 1, 1, tzinfo=UTC), usegmt=True)
    url = feeds.answer("/a", Reply(429, {"Retry-After": "3600"}))
    other = feeds.answer("/b", Reply(503, {"Retry-After": later}))
    events = rss_source(f"{url} {other}", poll_seconds=0.01).connect(Resume())
    seen = until(events, CaughtUp)
    assert "come later" in Stream.objects.get().last_error
    until(events, Heartbeat)
    # A restart keeps the promise.
    Stream.objects.all().delete()
    again = rss_source(f"{url} {other}", poll_seconds=0.01).connect(Resume(cursor(seen)))
    until(again, Heartbeat)
    assert len(feeds.asked("/a")) == len(feeds.asked("/b")) == 1


def test_a_ttl_makes_polls_rarer(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    url = feeds.put("/a", document(item("https://p/1", "one"), more="<ttl>60</ttl>"))
    live = rss_source(url)
    first_round(live)
    assert live._feeds[url].due > time.time() + 3000


def test_gzip_is_understood(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    feeds.use_gzip = True
    assert posts(first_round(rss_source(feeds.put("/a", document(item("https://p/1", "one"))))))
