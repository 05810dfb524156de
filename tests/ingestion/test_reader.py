"""What is followed while the connection stands, when the source or the database misbehaves."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from django.db import InterfaceError
from pytest_django import Settings

from ingestion.events import Connected, Event
from ingestion.models import Connection, Gap, Post, Stream
from ingestion.sources import Followed, Resume
from ingestion.sources.x import XSource
from tests.conftest import wait_until
from tests.ingestion.factories import stream
from tests.x_api import RULES, XApi
from tests.x_api_refusals import unavailable

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_hold_ends_reading_whether_or_not_x_takes_the_rules_away(
    settings: Settings, run: Callable
) -> None:
    stream(query="cats")
    with XApi(keep_alive_seconds=0.2) as x, run(XSource(x.token, x.url)) as it:
        x.wait_for_stream()
        x.publish("cats before")
        wait_until(Post.objects.exists)
        x.refuse(RULES, *[unavailable()] * 1000)
        settings.TWITTER_MONTHLY_POST_BUDGET = 1
        wait_until(lambda: not x.streams)
        read = x.posts_read
        wait_until(lambda: Connection.objects.filter(status="idle").exists())
        # X still has the rule, and would deliver.
        assert x.rules
        x.publish("cats after")
        asked = x.requests.count(("GET", RULES))
        wait_until(lambda: x.requests.count(("GET", RULES)) > asked)
        assert (x.posts_read, x.connects) == (read, 1)
        # A hold is no outage.
        assert not Gap.objects.exists() and it.error is None
        # When X answers again, the rule goes, too.
        x.answer_again(RULES)
        wait_until(lambda: not x.rules)
    assert Post.objects.count() == 1


def test_streams_that_are_let_go_are_followed_again_after_that(
    settings: Settings, run: Callable
) -> None:
    stream(query="cats")
    with XApi(keep_alive_seconds=0.2) as x, run(XSource(x.token, x.url)):
        x.wait_for_stream()
        x.publish("cats before")
        wait_until(Post.objects.exists)
        x.refuse(RULES, *[unavailable()] * 1000)
        settings.TWITTER_MONTHLY_POST_BUDGET = 1
        wait_until(lambda: not x.streams)
        x.answer_again(RULES)
        settings.TWITTER_MONTHLY_POST_BUDGET = 100_000
        x.wait_for_stream(connects=2)
        x.publish("cats again")
        wait_until(lambda: Post.objects.count() == 2)


class _Faulty:
    """A source whose rules cannot be changed at first, for reasons of its own."""

    name = "rss"
    is_paid = False

    def __init__(self, *faults: Exception) -> None:
        self.asked: list[int] = []
        self._faults = list(faults)
        self._stopped = threading.Event()

    def follow(self, streams: Sequence[Stream]) -> Followed:
        self.asked.append(len(streams))
        if len(self.asked) > 1 and self._faults:
            raise self._faults.pop(0)
        return Followed()

    def connect(self, resume: Resume) -> Iterator[Event]:
        self._stopped.clear()
        yield Connected()
        self._stopped.wait()

    def disconnect(self) -> None:
        self._stopped.set()

    def parse(self, message: bytes) -> Iterator[Event]:
        return iter(())


@pytest.mark.parametrize("fault", [KeyError("oops"), InterfaceError("connection already closed")])
def test_no_fault_ends_the_watch_on_what_is_followed(
    run: Callable, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    stream(source="rss", query="https://example.org/feed")
    live = _Faulty(fault)
    with caplog.at_level(logging.WARNING), run(live):
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        stream(source="rss", query="https://example.org/other")
        wait_until(lambda: live.asked[-1:] == [2] and len(live.asked) > 2)
    assert "not synced" in caplog.text
