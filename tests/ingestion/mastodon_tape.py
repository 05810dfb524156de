"""What tests of Mastodon share: a source on the stand-in, and a reader that keeps what it says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ingestion.events import Checkpoint, Event, IncomingPost
from ingestion.models import Stream
from ingestion.sources import Resume
from ingestion.sources.mastodon import MastodonSource
from tests.conftest import wait_until
from tests.mastodon_api import MastodonApi


def stream(pk: int, query: str, languages: list[str] | None = None) -> Stream:
    return Stream(pk=pk, name=query, source="mastodon", query=query, languages=languages or [])


def source(m: MastodonApi, *queries: str, stall_seconds: float = 5.0) -> MastodonSource:
    live = MastodonSource(m.url, m.token, stall_seconds=stall_seconds)
    assert not live.follow([stream(pk, query) for pk, query in enumerate(queries, 1)]).refused
    return live


class Tape:
    """Reads a connection in a thread, as a runner does, and keeps what it says."""

    def __init__(self, live: MastodonSource, cursor: str = "") -> None:
        self.events: list[Event] = []
        self.error: Exception | None = None
        self._live = live
        self._cursor = cursor
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._live.connect(Resume(self._cursor)):
                self.events.append(event)
        except Exception as error:
            self.error = error

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def texts(self) -> list[str]:
        return [post.text for post in self.of(IncomingPost)]

    @property
    def cursor(self) -> str:
        return self.of(Checkpoint)[-1].cursor

    def is_connected(self) -> bool:
        assert self.error is None, self.error
        return bool(self.events)

    def has_begun(self, timelines: int = 1) -> bool:
        """Whether it is known where each timeline begins."""
        return len(self.of(Checkpoint)) > 0 and len(json.loads(self.cursor)["at"]) >= timelines

    def until_over(self, seconds: float = 10) -> Exception | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        return self.error

    def stop(self) -> None:
        self._live.disconnect()
        assert self.until_over() is None


@contextmanager
def listening() -> Iterator[Listen]:
    """A function that starts to read and returns once it is connected; ends what it started."""
    running: list[MastodonSource] = []

    def start(live: MastodonSource, cursor: str = "") -> Tape:
        running.append(live)
        tape = Tape(live, cursor)
        wait_until(tape.is_connected)
        return tape

    yield start
    for live in running:
        live.disconnect()


Listen = Callable[..., Tape]
