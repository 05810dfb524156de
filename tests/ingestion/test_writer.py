"""From the source to the database when either misbehaves."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone

from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    IncomingPost,
    PostDeleted,
)
from ingestion.exceptions import Closed, NeedsAttention, NetworkFault
from ingestion.models import Alert, Connection, DeadLetter, Gap, Post, Stream
from ingestion.services import buffer, reader, streaming, writer
from ingestion.sources import Followed, Resume
from tests.conftest import wait_until
from tests.ingestion.factories import incoming, stream

pytestmark = pytest.mark.django_db(transaction=True)


class Scripted:
    """A third-party source: each connection yields its next list of events, then waits."""

    name = "rss"
    is_paid = False

    def __init__(self, *connections: list[Event | Exception]) -> None:
        self._connections = list(connections)
        self._stop = threading.Event()
        self.resumed: list[Resume] = []

    def follow(self, streams: list[Stream]) -> Followed:
        return Followed()

    def connect(self, resume: Resume) -> Iterator[Event]:
        self.resumed.append(resume)
        self._stop.clear()
        for event in self._connections.pop(0) if self._connections else [Connected()]:
            if isinstance(event, Exception):
                raise event
            yield event
        self._stop.wait()

    def disconnect(self) -> None:
        self._stop.set()

    def parse(self, message: bytes) -> Iterator[Event]:
        return iter(())


@pytest.fixture(autouse=True)
def _followed(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream(source="rss", query="https://example.org/feed")
    if connection.vendor == "sqlite":
        # A thread that finds the file locked gives up soon, and tries again.
        monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "timeout", 0.3)


def post(key: str, **fields: object) -> IncomingPost:
    return incoming(source="rss", external_id=key, **fields)


def stored() -> list[str]:
    return sorted(Post.objects.values_list("external_id", flat=True))


def test_a_poisonous_post_is_put_aside_and_its_neighbours_are_stored(run: Callable) -> None:
    poison = post("3", metrics={"like_count": {"of no JSON"}})
    events = [Connected(), *(post(str(n)) for n in range(3)), poison, post("4"), Checkpoint("c")]
    with run(Scripted(events)) as it:
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert stored() == ["0", "1", "2", "4"]
    letter = DeadLetter.objects.get()
    assert "cannot be stored" in letter.reason
    assert it.tally.saved == 4


@pytest.fixture
def refuses_poison() -> Iterator[None]:
    """The database itself refuses one text, as it might a value that we did not foresee."""
    if connection.vendor == "sqlite":
        make = (
            "CREATE TRIGGER no_poison BEFORE INSERT ON ingestion_post WHEN NEW.text = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
        drop = "DROP TRIGGER no_poison"
    else:
        make = "ALTER TABLE ingestion_post ADD CONSTRAINT no_poison CHECK (text <> 'poison')"
        drop = "ALTER TABLE ingestion_post DROP CONSTRAINT no_poison"
    with connection.cursor() as cursor:
        cursor.execute(make)
    yield
    with connection.cursor() as cursor:
        cursor.execute(drop)


def test_a_post_that_the_database_refuses_is_put_aside(run: Callable, refuses_poison: None) -> None:
    events = [Connected(), post("1"), post("2", text="poison"), post("3"), Checkpoint("c")]
    with run(Scripted(events)):
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert stored() == ["1", "3"]
    assert "poison" in DeadLetter.objects.get().reason


def test_a_fault_in_a_source_s_own_code_does_not_end_the_stream(
    run: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [Connected(), post("1"), Checkpoint("c"), KeyError("oops")]
    live = Scripted(broken, [Connected(), post("2")])
    with caplog.at_level(logging.ERROR), run(live):
        wait_until(lambda: stored() == ["1", "2"], 20)
    assert "unforeseen" in caplog.text
    # It goes on at the cursor, and knows until when nothing is missing.
    assert live.resumed[1].cursor == "c"
    assert live.resumed[1].covered_until is not None


def test_after_a_stop_nothing_is_followed_any_more(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "WATCH_SECONDS", 60)
    live = Scripted([Connected()])
    asked: list[int] = []
    follow = live.follow
    monkeypatch.setattr(live, "follow", lambda them: (asked.append(len(them)), follow(them))[1])
    with run(live):
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        stream(source="rss", query="https://example.org/other")
    wait_until(lambda: "rss-rules" not in {thread.name for thread in threading.enumerate()})
    assert asked == [1]


def test_people_are_told_of_an_outage_until_it_is_over(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ALERT_SECONDS", 0.1)
    away: list[Event | Exception] = [NetworkFault("no route")]
    with run(Scripted([Connected()] + away, *[away] * 100)):
        wait_until(Alert.objects.standing().exists, 20)
        Stream.objects.update(is_active=False)
        wait_until(lambda: not Alert.objects.standing().exists(), 20)
    alert = Alert.objects.get()
    assert "is away since" in alert.message and "no route" in alert.message
    assert alert.closing_message.endswith("has nothing to follow any more.")


def test_a_source_that_has_failed_is_told_until_it_streams_again(run: Callable) -> None:
    with run(Scripted([Connected(), NeedsAttention("the token is wrong")])):
        wait_until(Alert.objects.standing().exists, 20)
    assert Alert.objects.get().severity == Alert.Severity.CRITICAL
    with run(Scripted([Connected()])):
        wait_until(lambda: not Alert.objects.standing().exists(), 20)
    assert Alert.objects.get().closing_message.endswith("streams again.")


def test_deletions_and_purges_are_honoured_in_order(run: Callable) -> None:
    events: list[Event] = [
        Connected(),
        post("1", author_id="a"),
        post("2", author_id="b"),
        post("3", author_id="b"),
        PostDeleted(("1", "unknown")),
        AuthorDeleted("b"),
        post("4", author_id="a"),
        Checkpoint("c"),
    ]
    with run(Scripted(events)) as it:
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert it.tally.deleted == 3
    assert list(Post.objects.visible().values_list("external_id", flat=True)) == ["4"]


def test_a_replay_holds_the_gap_open_and_fills_it(run: Callable) -> None:
    since = timezone.now() - timedelta(minutes=10)
    Connection.objects.create(source="rss", status="connected", cursor="c", covered_until=since)
    replayed = post("1", created_at=timezone.now() - timedelta(minutes=5))
    live = Scripted([Connected(replays=True), replayed, Checkpoint("d"), CaughtUp("cursor")])
    with run(live):
        wait_until(lambda: Gap.objects.filter(state=Gap.State.FILLED).exists())
    assert live.resumed == [Resume("c", since)]
    gap = Gap.objects.get(state=Gap.State.FILLED)
    assert (gap.cause, gap.filled_by, gap.recovered) == ("process", "cursor", 1)


def test_a_replay_that_breaks_off_leaves_the_gap_open(run: Callable) -> None:
    since = timezone.now() - timedelta(minutes=10)
    Connection.objects.create(source="rss", status="connected", cursor="c", covered_until=since)
    live = Scripted([Connected(replays=True), post("1"), Closed("gone")], [Connected()])
    with run(live):
        wait_until(lambda: len(live.resumed) == 2)
        wait_until(lambda: Gap.objects.exclude(state=Gap.State.OPEN).exists())
    # Of the second connection's silence nobody knows what it missed.
    gap = Gap.objects.get(cause="process")
    assert (gap.state, gap.started_at) == (Gap.State.UNRECOVERABLE, since)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="locks a whole SQLite file")
def test_while_the_database_is_locked_posts_wait_on_file_and_keep_their_time(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(buffer.Buffer.__init__, "__defaults__", (10,))
    flow = _Flow()
    with run(flow) as it:
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        with _locked_database():
            began = timezone.now()
            for number in range(200):
                flow.send(post(f"{number:03d}"))
            # Long enough for the time of storing to be told from that of coming.
            time.sleep(2.5)
            assert list((tmp_path / "spill" / "rss").glob("*.wal"))
        ended = timezone.now()
        wait_until(lambda: Post.objects.count() == 200, 30)
        wait_until(lambda: not list((tmp_path / "spill" / "rss").glob("*.wal")))
        assert it.error is None
    assert len(flow.resumed) == 1
    received = Post.objects.latest("id").received_at
    assert began <= received <= ended - timedelta(seconds=1)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="locks a whole SQLite file")
def test_a_stop_while_the_database_is_away_keeps_everything_for_the_next_run(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(streaming, "DRAIN_SECONDS", 0.2)
    flow = _Flow()
    with run(flow) as it:
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        with _locked_database():
            for number in range(50):
                flow.send(post(f"{number:03d}"))
            it.stop.set()
            wait_until(lambda: it.tally is not None, 60)
    assert not Post.objects.exists()
    Connection.objects.update(lease_owner="", lease_expires_at=None)
    with run(_Flow()):
        wait_until(lambda: Post.objects.count() == 50)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="locks a whole SQLite file")
def test_when_the_file_is_full_the_connection_closes_and_the_gap_says_so(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer.Buffer.__init__, "__defaults__", (10,))
    monkeypatch.setattr(buffer.SpillFile, "__init__", _small(buffer.SpillFile.__init__))
    flow = _Flow()
    with run(flow):
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        with _locked_database():
            for number in range(200):
                flow.send(post(f"{number:03d}"))
            wait_until(lambda: flow.disconnects > 0)
        wait_until(lambda: len(flow.resumed) == 2, 30)
        wait_until(lambda: Gap.objects.filter(cause="buffer_full").exists())
    assert 10 <= Post.objects.count() < 200


def _small(original: Callable[..., None]) -> Callable[..., None]:
    def init(self: object, folder: Path, limit: int) -> None:
        original(self, folder, 4000)

    return init


class _Flow:
    """A source whose events a test sends one by one."""

    name = "rss"
    is_paid = False

    def __init__(self) -> None:
        self.resumed: list[Resume] = []
        self.disconnects = 0
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._is_open = False

    def send(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify()

    def follow(self, streams: list[Stream]) -> Followed:
        return Followed()

    def connect(self, resume: Resume) -> Iterator[Event]:
        self.resumed.append(resume)
        self._is_open = True
        yield Connected()
        while True:
            with self._changed:
                while self._is_open and not self._events:
                    self._changed.wait()
                if not self._is_open:
                    return
                event = self._events.pop(0)
            yield event

    def disconnect(self) -> None:
        with self._changed:
            self.disconnects += 1
            self._is_open = False
            self._changed.notify()

    def parse(self, message: bytes) -> Iterator[Event]:
        return iter(())


class _locked_database:
    """Nobody else can write while the block lasts."""

    def __enter__(self) -> None:
        self._handle = sqlite3.connect(str(settings.DATABASES["default"]["NAME"]), timeout=30)
        self._handle.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error: object) -> None:
        self._handle.rollback()
        self._handle.close()
