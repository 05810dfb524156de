"""Addresses of feeds: which are asked, by which way, and which lead inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingestion.exceptions import NothingFollowed
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.rss import RssSource
from tests.feeds import Feeds, Reply, item
from tests.feeds import rss as document
from tests.ingestion.factories import stream
from tests.ingestion.feed_events import first_round, posts

pytestmark = pytest.mark.django_db(transaction=True)


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
    rss_source: Callable[..., RssSource], feeds: Feeds, host: str
) -> None:
    live = rss_source(feeds.url("/a", host), allow_private=False)
    first_round(live)
    assert Stream.objects.get().last_error
    assert not feeds.requests


def test_a_redirect_that_leads_inside_is_not_followed(
    rss_source: Callable[..., RssSource], feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One loopback address stands for the Internet here; the other is inside.
    monkeypatch.setattr("ingestion.sources.safe_http.is_public", lambda ip: ip == "127.0.0.1")
    inside = feeds.url("/secret", "127.0.0.2")
    url = feeds.answer("/a", Reply(302, {"Location": inside}))
    first_round(rss_source(url, allow_private=False))
    assert "private network" in Stream.objects.get().last_error
    assert not feeds.asked("/secret")


def test_a_proxy_is_used_and_the_inside_still_refused(
    rss_source: Callable[..., RssSource], feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", feeds.url(""))
    monkeypatch.setenv("no_proxy", "")
    # A proxy is asked for whole addresses.
    feeds.put("http://p.invalid/a", document(item("https://p/1", "one")))
    feeds.answer("http://p.invalid/slow", Reply(200, trickle="headers"))
    urls = "http://p.invalid/a http://p.invalid/slow http://2130706433/"
    assert len(posts(first_round(rss_source(urls, allow_private=False, fetch_seconds=1)))) == 1
    error = Stream.objects.get().last_error
    assert "longer than 1 s" in error and "2130706433 is inside a private network" in error
    assert not feeds.asked("http://2130706433/")


def test_a_password_is_used_but_not_shown(
    rss_source: Callable[..., RssSource], feeds: Feeds
) -> None:
    url = feeds.answer("/a", Reply(500)).replace("//", "//ann:secret@")
    seen = first_round(rss_source(url))
    assert feeds.asked("/a")[0]["Authorization"].startswith("Basic ")
    assert "secret" not in Stream.objects.get().last_error + str(seen)
