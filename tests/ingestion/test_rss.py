"""Feeds over a real socket: what becomes a post."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ingestion import sources
from ingestion.events import CaughtUp, Checkpoint, Connected, IncomingPost, Malformed
from ingestion.models import Post, Stream
from ingestion.services import run_stream
from ingestion.sources import LiveSource
from ingestion.sources.rss import RssSource
from tests.feeds import Feeds, atom, atom_entry, item
from tests.feeds import rss as document
from tests.ingestion.factories import stream
from tests.ingestion.feed_events import first_round, posts

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_speaks_the_protocol(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    live: LiveSource = rss_source(feeds.put("/a", document(item("https://p.example/1", "one"))))
    kinds = [type(event) for event in first_round(live)]
    assert kinds == [Connected, IncomingPost, Checkpoint, CaughtUp]


def test_an_item_becomes_a_post(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    text = "<p>Prices <b>rise</b> &amp; fall</p><script>bad()</script><ul><li>one<li>two</ul>"
    more = "<dc:creator>Ann</dc:creator><link>https://p.example/1</link>"
    url = feeds.put("/a", document(item("https://p.example/1", text, title="Markets", more=more)))
    (post,) = posts(first_round(rss_source(url)))
    assert post.text == "Markets\n\nPrices rise & fall\none\ntwo"
    assert (post.source, post.external_id) == ("rss", "https://p.example/1")
    assert (post.author_name, post.lang) == ("Ann", "en-us")
    assert post.created_at == datetime(2024, 11, 4, 12, tzinfo=UTC)
    assert post.stream_ids == {Stream.objects.get().pk}
    assert post.raw is not None and post.raw["link"] == "https://p.example/1"


def test_an_atom_entry_becomes_a_post(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    entry = atom_entry("tag:x,2024:1", "Guten <i>Tag</i>", updated="2024-11-04T10:00:00+02:00")
    (post,) = posts(first_round(rss_source(feeds.put("/a", atom(entry)))))
    assert (post.text, post.external_id) == ("News\n\nGuten Tag", "tag:x,2024:1")
    assert (post.author_name, post.lang) == ("Ann", "de")
    assert post.created_at == datetime(2024, 11, 4, 8, tzinfo=UTC)


def test_ids_are_unique_beyond_their_feed(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    items = [
        item("7", "seven"),
        item("", "no guid"),
        item("https://p.example/" + "x" * 400, "long"),
    ]
    found = posts(first_round(rss_source(feeds.put("/a", document(*items)))))
    ids = [post.external_id for post in reversed(found)]
    assert ids[0] == "127.0.0.1:7"
    assert ids[1].startswith("127.0.0.1:sha256:")
    assert ids[2].startswith("sha256:") and len(ids[2]) < 80


def test_the_oldest_comes_first_and_the_title_once(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    new = item("https://p/2", "Storm hits the coast", title="Storm hits…")
    old = item("https://p/1", "", title="Calm before")
    found = posts(first_round(rss_source(feeds.put("/a", document(new, old)))))
    assert [post.text for post in found] == ["Calm before", "Storm hits the coast"]


def test_impossible_dates_become_now(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    future = item("https://p/1", "a").replace("2024", "2199")
    broken = item("https://p/2", "b").replace("Mon, 04 Nov 2024", "someday")
    found = posts(first_round(rss_source(feeds.put("/a", document(future, broken)))))
    assert len(found) == 2
    assert all(abs((post.created_at - datetime.now(UTC)).total_seconds()) < 60 for post in found)


def test_languages_are_kept_where_the_feed_tells(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    entries = [
        atom_entry("urn:1", "deutsch", updated="2024-11-04T10:00:00Z"),
        atom_entry("urn:2", "english", updated="2024-11-04T09:00:00Z").replace('"de"', '"en-GB"'),
        atom_entry("urn:3", "?", updated="2024-11-04T08:00:00Z").replace('xml:lang="de"', ""),
    ]
    live = rss_source(feeds.put("/a", atom(*entries)))
    live.follow([stream(source="rss", query=feeds.url("/a"), languages=["en"])])
    assert {post.external_id for post in posts(first_round(live))} == {"urn:2", "urn:3"}


def test_an_entry_without_text_is_put_aside_and_can_be_replayed(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    live = rss_source(feeds.put("/a", document(item("https://p/1"), item("https://p/2", "fine"))))
    events = first_round(live)
    (bad,) = [event for event in events if isinstance(event, Malformed)]
    assert bad.reason == "it has no text" and len(posts(events)) == 1
    assert [type(event) for event in live.parse(bad.excerpt)] == [Malformed]
    mended = bad.excerpt.replace(b'"text": ""', b'"text": "mended"')
    (post,) = live.parse(mended)
    assert isinstance(post, IncomingPost) and post.text == "mended" and post.stream_ids


@pytest.mark.parametrize(
    "message",
    [b"", b"{", b"[" * 9999, b'{"feed": 1}', b'{"feed": "", "id": 1}', b"<html>", b"\xff"],
)
def test_nonsense_is_malformed(rss_source: Callable[..., RssSource], message: bytes) -> None:
    assert [type(event) for event in rss_source().parse(message)] == [Malformed]


def test_a_document_is_parsed_without_a_connection(rss_source: Callable[..., RssSource]) -> None:
    (post,) = rss_source().parse(document(item("https://p/1", "hello")).encode())
    assert isinstance(post, IncomingPost) and post.text == "hello"


def test_broken_xml_is_read_as_far_as_it_goes(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    broken = document(item("https://p/1", "one")).replace("</channel>", "<x> AT&T & <b></channel>")
    assert [post.text for post in posts(first_round(rss_source(feeds.put("/a", broken))))] == [
        "one"
    ]


def test_entities_do_not_explode(rss_source: Callable[..., RssSource], feeds: Feeds) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{levels}]>'
    text = document(item("https://p/1", "LOL").replace("LOL", "lol &l9;"))
    text = text.replace("?><rss", f"?>{bomb}<rss")
    (post,) = posts(first_round(rss_source(feeds.put("/a", text))))
    assert len(post.text) < 100


def test_feeds_are_streamed_into_the_database(feeds: Feeds, settings: object) -> None:
    settings.SOURCES_ALLOW_PRIVATE_ADDRESSES = True  # type: ignore[attr-defined]
    url = feeds.put("/a", document(*(item(f"https://p/{n}", f"text {n}") for n in range(30))))
    followed = stream(source="rss", query=url)
    assert "rss" in sources.names()
    tally = run_stream("rss", max_posts=30, max_seconds=20)
    assert (tally.saved, tally.ended_by) == (30, "max_posts")
    assert Post.objects.filter(source="rss", streams=followed).count() == 30
