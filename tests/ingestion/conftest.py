"""A source streamed in a thread of the test's process; folders, feeds and a Jetstream to stream."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connections
from pytest_django import Settings

from ingestion.models import Stream
from ingestion.services import Tally, gaps, run_stream, upkeep
from ingestion.sources import LiveSource
from ingestion.sources.bluesky import BlueskySource
from ingestion.sources.rss import RssSource
from tests.feeds import Feeds
from tests.ingestion import bluesky as bluesky_source
from tests.ingestion.factories import stream
from tests.jetstream import Jetstream


@dataclass
class Run:
    """A run under way; `tally` or `error` is there when it has ended."""

    stop: threading.Event = field(default_factory=threading.Event)
    tally: Tally | None = None
    error: Exception | None = None


@pytest.fixture
def run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., object]:
    """`with run(source) as it:` streams it until the block ends, with quick upkeep."""
    settings.SPILL_DIR = tmp_path / "spill"
    monkeypatch.setattr(gaps, "OVERLAP", timedelta(seconds=0.3))
    monkeypatch.setattr(upkeep, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(upkeep, "FILL_SECONDS", 0.2)
    monkeypatch.setattr(upkeep, "GOVERN_SECONDS", 0.2)

    @contextmanager
    def running(source: LiveSource) -> Iterator[Run]:
        it = Run()

        def work() -> None:
            try:
                it.tally = run_stream(source, stop=it.stop)
            except Exception as error:
                # For the test to look at.
                it.error = error
            finally:
                connections.close_all()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield it
        finally:
            it.stop.set()
            thread.join(20)
            assert not thread.is_alive()

    return running


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "food").mkdir(parents=True)
    return folder


@pytest.fixture
def food() -> Stream:
    return Stream.objects.create(name="Food", source="file", query="food")


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    with Feeds() as site:
        yield site


@pytest.fixture
def rss_source() -> Iterator[Callable[..., RssSource]]:
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


@pytest.fixture
def bluesky() -> Iterator[Jetstream]:
    with Jetstream() as server:
        yield server


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def live(bluesky: Jetstream, version: int) -> BlueskySource:
    return bluesky_source.make(version, bluesky.url)
