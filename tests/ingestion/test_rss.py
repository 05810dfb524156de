"""Feeds over a real socket: what becomes a post, and what failing feeds do to the others."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from ingestion import sources
from ingestion.events import (
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    Heartbeat,
    IncomingPost,
    Malformed,
    version_id,
)
from ingestion.exceptions import NothingFollowed
from ingestion.models import Post, Stream
from ingestion.services import run_stream
from ingestion.sources import LiveSource, Resume, rss
from ingestion.sources.rss import RssSource
from tests.conftest import wait_until
from tests.feeds import Feeds, Reply, atom, atom_entry, item
from tests.feeds import rss as document
from tests.ingestion.factories import stream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site() -> Iterator[Feeds]:
    with Feeds() as feeds:
        yield feeds


@pytest.fixture
def make() -> Iterator[Callable[..., RssSource]]:
    """Sources that follow streams of these queries; they are disconnected at the end."""
    made: list[RssSource] = []

    def build(*queries: str, poll_seconds: float = 0.2, **options: float) -> RssSource:
        options.setdefault("allow_private", True)
        live = RssSource(poll_seconds=poll_seconds, **options)  # type: ignore[arg-type]
        made.append(live)
        streams = [stream(source="rss", query=query) for query in queries]
        assert not live.follow(streams).refused
        return live

    yield build
    for live in made:
        live.disconnect()


def until(events: Iterator[Event], kind: type[Event], seconds: float = 15) -> list[Event]:
    """Everything up to the first event of a kind, that one included."""
    deadline = time.monotonic() + seconds
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if isinstance(event, kind):
            return seen
        assert time.monotonic() < deadline, seen
    pytest.fail(f"it ended with {seen}")


def first_round(live: RssSource, cursor: str = "") -> list[Event]:
    events = live.connect(Resume(cursor))
    try:
        return until(events, CaughtUp)
    finally:
        events.close()  # type: ignore[attr-defined]


def posts(events: list[Event]) -> list[IncomingPost]:
    return [event for event in events if isinstance(event, IncomingPost)]


def cursor(events: list[Event]) -> str:
    return [event for event in events if isinstance(event, Checkpoint)][-1].cursor


# --- What becomes a post


def test_it_speaks_the_protocol(make: Callable[..., RssSource], site: Feeds) -> None:
    live: LiveSource = make(site.put("/a", document(item("https://p.example/1", "one"))))
    kinds = [type(event) for event in first_round(live)]
    assert kinds == [Connected, IncomingPost, Checkpoint, CaughtUp]


def test_an_item_becomes_a_post(make: Callable[..., RssSource], site: Feeds) -> None:
    text = "<p>Prices <b>rise</b> &amp; fall</p><script>bad()</script><ul><li>one<li>two</ul>"
    more = "<dc:creator>Ann</dc:creator><link>https://p.example/1</link>"
    url = site.put("/a", document(item("https://p.example/1", text, title="Markets", more=more)))
    (post,) = posts(first_round(make(url)))
    assert post.text == "Markets\n\nPrices rise & fall\none\ntwo"
    assert (post.source, post.external_id) == ("rss", "https://p.example/1")
    assert (post.author_name, post.lang) == ("Ann", "en-us")
    assert post.created_at == datetime(2024, 11, 4, 12, tzinfo=UTC)
    assert post.stream_ids == {Stream.objects.get().pk}
    assert post.raw is not None and post.raw["link"] == "https://p.example/1"


def test_an_atom_entry_becomes_a_post(make: Callable[..., RssSource], site: Feeds) -> None:
    entry = atom_entry("tag:x,2024:1", "Guten <i>Tag</i>", updated="2024-11-04T10:00:00+02:00")
    (post,) = posts(first_round(make(site.put("/a", atom(entry)))))
    assert (post.text, post.external_id) == ("News\n\nGuten Tag", "tag:x,2024:1")
    assert (post.author_name, post.lang) == ("Ann", "de")
    assert post.created_at == datetime(2024, 11, 4, 8, tzinfo=UTC)


def test_ids_are_unique_beyond_their_feed(make: Callable[..., RssSource], site: Feeds) -> None:
    items = [
        item("7", "seven"),
        item("", "no guid"),
        item("https://p.example/" + "x" * 400, "long"),
    ]
    found = posts(first_round(make(site.put("/a", document(*items)))))
    ids = [post.external_id for post in reversed(found)]
    assert ids[0] == "127.0.0.1:7"
    assert ids[1].startswith("127.0.0.1:sha256:")
    assert ids[2].startswith("sha256:") and len(ids[2]) < 80


def test_the_oldest_comes_first_and_the_title_once(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    new = item("https://p/2", "Storm hits the coast", title="Storm hits…")
    old = item("https://p/1", "", title="Calm before")
    found = posts(first_round(make(site.put("/a", document(new, old)))))
    assert [post.text for post in found] == ["Calm before", "Storm hits the coast"]


def test_impossible_dates_become_now(make: Callable[..., RssSource], site: Feeds) -> None:
    future = item("https://p/1", "a").replace("2024", "2199")
    broken = item("https://p/2", "b").replace("Mon, 04 Nov 2024", "someday")
    found = posts(first_round(make(site.put("/a", document(future, broken)))))
    assert len(found) == 2
    assert all(abs((post.created_at - datetime.now(UTC)).total_seconds()) < 60 for post in found)


def test_languages_are_kept_where_the_feed_tells(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    entries = [
        atom_entry("urn:1", "deutsch", updated="2024-11-04T10:00:00Z"),
        atom_entry("urn:2", "english", updated="2024-11-04T09:00:00Z").replace('"de"', '"en-GB"'),
        atom_entry("urn:3", "?", updated="2024-11-04T08:00:00Z").replace('xml:lang="de"', ""),
    ]
    live = make(site.put("/a", atom(*entries)))
    live.follow([stream(source="rss", query=site.url("/a"), languages=["en"])])
    assert {post.external_id for post in posts(first_round(live))} == {"urn:2", "urn:3"}


def test_an_entry_without_text_is_put_aside_and_can_be_replayed(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    live = make(site.put("/a", document(item("https://p/1"), item("https://p/2", "fine"))))
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
def test_nonsense_is_malformed(make: Callable[..., RssSource], message: bytes) -> None:
    assert [type(event) for event in make().parse(message)] == [Malformed]


def test_a_document_is_parsed_without_a_connection(make: Callable[..., RssSource]) -> None:
    (post,) = make().parse(document(item("https://p/1", "hello")).encode())
    assert isinstance(post, IncomingPost) and post.text == "hello"


def test_broken_xml_is_read_as_far_as_it_goes(make: Callable[..., RssSource], site: Feeds) -> None:
    broken = document(item("https://p/1", "one")).replace("</channel>", "<x> AT&T & <b></channel>")
    assert [post.text for post in posts(first_round(make(site.put("/a", broken))))] == ["one"]


def test_entities_do_not_explode(make: Callable[..., RssSource], site: Feeds) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{levels}]>'
    text = document(item("https://p/1", "LOL").replace("LOL", "lol &l9;"))
    text = text.replace("?><rss", f"?>{bomb}<rss")
    (post,) = posts(first_round(make(site.put("/a", text))))
    assert len(post.text) < 100


# --- Polling


def test_only_what_is_new_comes_at_the_next_poll(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    url = site.put("/a", document(item("https://p/1", "one")))
    events = make(url).connect(Resume())
    until(events, CaughtUp)
    wait_until(lambda: 304 in site.statuses_of("/a") or isinstance(next(events), Heartbeat))
    site.put("/a", document(item("https://p/2", "two"), item("https://p/1", "one")))
    assert [post.text for post in posts(until(events, Checkpoint))] == ["two"]


def test_a_changed_text_is_an_edit(make: Callable[..., RssSource], site: Feeds) -> None:
    def publish(text: str, updated: str) -> str:
        entry = atom_entry("urn:1", text, updated=updated, published="2024-11-04T10:00:00Z")
        return site.put("/a", atom(entry))

    events = make(publish("one", "2024-11-04T10:00:00Z")).connect(Resume())
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
    make: Callable[..., RssSource], site: Feeds
) -> None:
    url = site.put("/a", document(item("https://p/1", "one"), item("https://p/0", "zero")))
    saved = cursor(first_round(make(url)))
    assert len(saved) < 200 and isinstance(json.loads(saved), dict)
    Stream.objects.all().delete()
    assert not posts(first_round(make(url), saved))
    assert site.statuses_of("/a")[-1] == 304
    site.put("/a", document(item("https://p/1", "one!"), item("https://p/0", "zero")))
    Stream.objects.all().delete()
    (post,) = posts(first_round(make(url), saved))
    assert (post.text, post.edit_history) == ("one!", ("https://p/1",))


@pytest.mark.parametrize("saved", ["nonsense", "[]", "[1]", "null", '{"k": 1}'])
def test_a_cursor_of_another_kind_is_a_new_beginning(
    make: Callable[..., RssSource], site: Feeds, saved: str
) -> None:
    live = make(site.put("/a", document(item("https://p/1", "one"))))
    assert len(posts(first_round(live, saved))) == 1


def test_a_feed_that_lists_nothing_from_before_is_told(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    url = site.put("/a", document(item("https://p/1", "one")))
    first = first_round(make(url))
    assert first[-1] == CaughtUp("the feeds' own lists", True, "")
    site.put("/a", document(item("https://p/9", "nine")))
    Stream.objects.all().delete()
    second = first_round(make(url), cursor(first))
    assert isinstance(second[-1], CaughtUp) and not second[-1].is_complete
    assert url in second[-1].note


def test_heartbeats_tell_that_it_is_alive(
    make: Callable[..., RssSource], site: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rss, "HEARTBEAT_SECONDS", 0.1)
    url = site.answer("/slow", Reply(200, trickle="headers"))
    assert isinstance(until(make(url).connect(Resume()), Heartbeat)[-1], Heartbeat)


def test_disconnect_wakes_a_sleeping_poll_and_a_slow_fetch(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    site.answer("/slow", Reply(200, trickle="headers"))
    quiet = site.put("/a", document(item("https://p/1", "one")))
    live = make(f"{site.url('/slow')} {quiet}", poll_seconds=3600)
    seen: list[Event] = []
    thread = threading.Thread(target=lambda: seen.extend(live.connect(Resume())))
    thread.start()
    wait_until(lambda: posts(list(seen)) and site.asked("/slow"))
    began = time.monotonic()
    live.disconnect()
    thread.join(timeout=5)
    assert not thread.is_alive() and time.monotonic() - began < 1
    # The same object connects again.
    assert posts(until(live.connect(Resume()), Checkpoint))


def test_following_changes_on_the_open_connection(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    first = site.put("/a", document(item("https://p/1", "one")))
    second = site.put("/b", document(item("https://q/1", "uno")))
    live = make(first, poll_seconds=3600)
    events = live.connect(Resume())
    until(events, CaughtUp)
    both = stream(source="rss", query=f"{second}\n{first}")
    live.follow([both])
    found = posts(until(events, Checkpoint)) + posts(until(events, Checkpoint))
    # Who joins later gets what the feed lists already, too.
    assert {post.text for post in found} == {"one", "uno"}
    assert all(post.stream_ids == {both.pk} for post in found)


# --- Failing feeds


def test_a_failing_feed_is_shown_and_stops_no_other(
    make: Callable[..., RssSource], site: Feeds
) -> None:
    bad = site.answer("/bad", *[Reply(500)] * 2)
    good = site.put("/good", document(item("https://p/1", "one")))
    live = make(bad, good)
    events = live.connect(Resume())
    seen = until(events, CaughtUp)
    assert len(posts(seen)) == 1 and isinstance(seen[-1], CaughtUp)
    assert not seen[-1].is_complete and bad in seen[-1].note
    broken, fine = Stream.objects.order_by("pk")
    assert broken.last_error == f"{bad}: it answers with HTTP 500" and not fine.last_error
    site.put("/bad", document(item("https://q/1", "uno")))
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
    make: Callable[..., RssSource], site: Feeds, reply: Reply, reason: str
) -> None:
    live = make(site.answer("/x", *[reply] * 9), poll_seconds=60, fetch_seconds=1)
    assert not posts(first_round(live))
    assert reason in Stream.objects.get().last_error


def test_a_feed_is_not_asked_before_the_time_that_it_names(
    make: Callable[..., RssSource], site: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rss, "HEARTBEAT_SECONDS", 0.1)
    later = format_datetime(datetime(2099, 1, 1, tzinfo=UTC), usegmt=True)
    url = site.answer("/a", Reply(429, {"Retry-After": "3600"}))
    other = site.answer("/b", Reply(503, {"Retry-After": later}))
    events = make(f"{url} {other}", poll_seconds=0.01).connect(Resume())
    seen = until(events, CaughtUp)
    assert "come later" in Stream.objects.get().last_error
    until(events, Heartbeat)
    # A restart keeps the promise.
    Stream.objects.all().delete()
    again = make(f"{url} {other}", poll_seconds=0.01).connect(Resume(cursor(seen)))
    until(again, Heartbeat)
    assert len(site.asked("/a")) == len(site.asked("/b")) == 1


def test_a_ttl_makes_polls_rarer(make: Callable[..., RssSource], site: Feeds) -> None:
    url = site.put("/a", document(item("https://p/1", "one"), more="<ttl>60</ttl>"))
    live = make(url)
    first_round(live)
    assert live._feeds[url].due > time.time() + 3000


def test_gzip_is_understood(make: Callable[..., RssSource], site: Feeds) -> None:
    site.use_gzip = True
    assert posts(first_round(make(site.put("/a", document(item("https://p/1", "one"))))))


# --- Addresses


@pytest.mark.parametrize(
    "query",
    [
        "",
        "cats",
        "ftp://p.example/feed",
        "file:///etc/passwd",
        "https://",
        "https://p.example:99999/",
        "https://[::1/",
        "http://127.0.0.1/feed",
        "http://[::1]/feed",
        "http://[::ffff:10.0.0.1]/feed",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:8000/",
        "https://p.example/feed http://10.0.0.1/",
    ],
)
def test_what_is_no_address_of_a_feed_is_refused(query: str) -> None:
    live = RssSource(poll_seconds=60, allow_private=False)
    bad, good = (
        stream(source="rss", query=query),
        stream(source="rss", query="https://p.example/feed"),
    )
    assert set(live.follow([bad, good]).refused) == {bad.pk}
    assert live.follow([bad]).refused[bad.pk]
    with pytest.raises(NothingFollowed):
        next(live.connect(Resume()))


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "localtest.invalid"])
def test_a_name_that_leads_inside_is_not_connected_to(
    make: Callable[..., RssSource], site: Feeds, host: str
) -> None:
    live = make(site.url("/a", host), allow_private=False)
    first_round(live)
    assert Stream.objects.get().last_error
    assert not site.requests


def test_a_redirect_that_leads_inside_is_not_followed(
    make: Callable[..., RssSource], site: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One loopback address stands for the Internet here; the other is inside.
    monkeypatch.setattr("ingestion.sources.safe_http.is_public", lambda ip: ip == "127.0.0.1")
    inside = site.url("/secret", "127.0.0.2")
    url = site.answer("/a", Reply(302, {"Location": inside}))
    first_round(make(url, allow_private=False))
    assert "private network" in Stream.objects.get().last_error
    assert not site.asked("/secret")


def test_a_proxy_is_used_and_the_inside_still_refused(
    make: Callable[..., RssSource], site: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", site.url(""))
    monkeypatch.setenv("no_proxy", "")
    # A proxy is asked for whole addresses.
    site.put("http://p.invalid/a", document(item("https://p/1", "one")))
    site.answer("http://p.invalid/slow", Reply(200, trickle="headers"))
    urls = "http://p.invalid/a http://p.invalid/slow http://2130706433/"
    assert len(posts(first_round(make(urls, allow_private=False, fetch_seconds=1)))) == 1
    error = Stream.objects.get().last_error
    assert "longer than 1 s" in error and "2130706433 is inside a private network" in error
    assert not site.asked("http://2130706433/")


def test_a_password_is_used_but_not_shown(make: Callable[..., RssSource], site: Feeds) -> None:
    url = site.answer("/a", Reply(500)).replace("//", "//ann:secret@")
    seen = first_round(make(url))
    assert site.asked("/a")[0]["Authorization"].startswith("Basic ")
    assert "secret" not in Stream.objects.get().last_error + str(seen)


# --- End to end


def test_feeds_are_streamed_into_the_database(site: Feeds, settings: object) -> None:
    settings.SOURCES_ALLOW_PRIVATE_ADDRESSES = True  # type: ignore[attr-defined]
    url = site.put("/a", document(*(item(f"https://p/{n}", f"text {n}") for n in range(30))))
    followed = stream(source="rss", query=url)
    assert "rss" in sources.names()
    tally = run_stream("rss", max_posts=30, max_seconds=20)
    assert (tally.saved, tally.ended_by) == (30, "max_posts")
    assert Post.objects.filter(source="rss", streams=followed).count() == 30
