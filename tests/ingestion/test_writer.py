"""From the source to the database when either misbehaves."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.db import connection, connections
from django.utils import timezone
from pytest_django import Settings

from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Event,
    IncomingPost,
    PostDeleted,
    malformed,
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


def deep(levels: int) -> object:
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "fields", [{"metrics": {"like_count": {"of no JSON"}}}, {"raw": {"text": deep(700)}}]
)
def test_a_poisonous_post_is_put_aside_and_its_neighbours_are_stored(
    run: Callable, settings: Settings, fields: dict[str, object]
) -> None:
    settings.STORE_RAW_POSTS = True
    poison = post("3", **fields)
    events = [Connected(), *(post(str(n)) for n in range(3)), poison, post("4"), Checkpoint("c")]
    with run(Scripted(events)) as it:
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert stored() == ["0", "1", "2", "4"]
    letter = DeadLetter.objects.get()
    assert "cannot be stored" in letter.reason
    assert it.tally.saved == 4


@contextmanager
def refusing(what: str, table: str, poison: str) -> Iterator[None]:
    """The database itself refuses an INSERT or UPDATE, as it might of what we did not foresee."""
    if connection.vendor == "sqlite":
        make = (
            f"CREATE TRIGGER no_poison BEFORE {what} ON {table} WHEN {poison.format('NEW.')} "
            "BEGIN SELECT RAISE(ABORT, 'no_poison'); END"
        )
        drop = "DROP TRIGGER no_poison"
    else:
        make = f"ALTER TABLE {table} ADD CONSTRAINT no_poison CHECK (NOT ({poison.format('')}))"
        drop = f"ALTER TABLE {table} DROP CONSTRAINT no_poison"
    with connection.cursor() as cursor:
        cursor.execute(make)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(drop)


def test_a_post_that_the_database_refuses_is_put_aside(run: Callable) -> None:
    events = [Connected(), post("1"), post("2", text="poison"), post("3"), Checkpoint("c")]
    poison = refusing("INSERT", "ingestion_post", "{}text = 'poison'")
    with poison, run(Scripted(events)):
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert stored() == ["1", "3"]
    assert "poison" in DeadLetter.objects.get().reason


def test_deletions_that_the_database_refuses_are_put_aside_and_others_honoured(
    run: Callable,
) -> None:
    events: list[Event] = [
        Connected(),
        *(post(key, author_id=f"by {key}") for key in ("1", "poison", "2", "3")),
        PostDeleted(("1", "poison", "2")),
        AuthorDeleted("by poison"),
        AuthorDeleted("by 3"),
        Checkpoint("c"),
    ]
    bad = "{0}external_id = 'poison' AND {0}deleted_at IS NOT NULL"
    with refusing("UPDATE", "ingestion_post", bad), run(Scripted(events)) as it:
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert it.error is None and it.tally.deleted == 3
    assert list(Post.objects.visible().values_list("external_id", flat=True)) == ["poison"]
    kept = [json.loads(bytes(letter.excerpt)) for letter in DeadLetter.objects.order_by("id")]
    assert kept == [
        {"external_ids": ["poison"], "source": "rss"},
        {"author_id": "by poison", "source": ""},
    ]


def test_texts_that_no_database_takes_stop_nothing(run: Callable) -> None:
    odd = "1\ud800\x00"
    events: list[Event | Exception] = [
        Connected(replays=True),
        post("1"),
        post(odd, author_id=odd),
        PostDeleted(("1", odd)),
        AuthorDeleted(odd),
        CaughtUp(odd, is_complete=False, note=odd),
        malformed(odd, b"x"),
        NetworkFault(f"it said {odd}"),
    ]
    since = timezone.now() - timedelta(minutes=10)
    Connection.objects.create(source="rss", status="failed", last_error="", covered_until=since)
    with run(Scripted(events, [Connected(), Checkpoint(f"c{odd}")])) as it:
        wait_until(lambda: Connection.objects.filter(cursor="c1\ufffd").exists())
    assert it.error is None and it.tally.deleted == 2
    assert stored() == ["1", "1\ufffd"]
    # The fault's own gap tells what was said; of the dead letter the reason is kept.
    assert Gap.objects.filter(detail="it said 1\ufffd").exists()
    assert DeadLetter.objects.get().reason == "1\ufffd"


def test_what_ends_a_run_is_told_and_what_came_waits_for_the_next(
    run: Callable, tmp_path: Path
) -> None:
    events = [Connected(), post("1"), malformed("odd", b"x"), post("2"), Checkpoint("c")]
    with refusing("INSERT", "ingestion_deadletter", "{}size >= 0"), run(Scripted(events)) as it:
        wait_until(lambda: it.error is not None)
    failed = Connection.objects.get()
    assert (failed.status, failed.lease_owner, failed.cursor) == ("failed", "", "")
    assert "no_poison" in failed.last_error
    assert "no_poison" in Alert.objects.standing().get().message
    assert list((tmp_path / "spill" / "rss").glob("*.wal"))
    with run(Scripted()):
        wait_until(lambda: Connection.objects.filter(cursor="c").exists())
    assert stored() == ["1", "2"]
    assert DeadLetter.objects.get().reason == "odd"


def test_a_failure_again_and_again_keeps_what_came_once(run: Callable, tmp_path: Path) -> None:
    events = [Connected(), *(post(str(n)) for n in range(50)), malformed("odd", b"x")]
    sizes = []
    with refusing("INSERT", "ingestion_deadletter", "{}size >= 0"):
        for script in ([events], [[]], [[]]):
            with run(Scripted(*script)) as it:
                wait_until(lambda it=it: it.error is not None)
            files = (tmp_path / "spill" / "rss").glob("*.wal")
            sizes.append(sum(path.stat().st_size for path in files))
    # Each run adds what it has to say of itself, and nothing else.
    assert 0 < sizes[1] - sizes[0] < sizes[0] / 4
    assert sizes[2] - sizes[1] < sizes[0] / 4


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
        self._handle = sqlite3.connect(str(configured.DATABASES["default"]["NAME"]), timeout=30)
        self._handle.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error: object) -> None:
        self._handle.rollback()
        self._handle.close()
