"""The queue between reader and database, and the file behind it."""

import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ingestion.events import (
    AuthorDeleted,
    CaughtUp,
    Checkpoint,
    Connected,
    Heartbeat,
    IncomingPost,
    Malformed,
    PostDeleted,
    Reference,
)
from ingestion.services.buffer import Buffer, SpillFile, SpillFull, SpillHeld
from ingestion.services.journal import Began, Idle, Item, Lost, News, decode, encode

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
POST = IncomingPost(
    source="x",
    external_id="7",
    text="ünï 🐱\nline \u2028 end",
    created_at=NOON,
    lang="de",
    author_id="1",
    author_username="cat",
    author_name="Cat",
    conversation_id="7",
    edit_history=("5", "6"),
    metrics={"like_count": 3},
    references=(Reference("quoted", "4"),),
    raw={"id": "7", "entities": [{"a": "\udfff"}]},
    stream_ids=frozenset({1, 2}),
)
NEWS: list[News] = [
    POST,
    PostDeleted(("1", "2"), "bluesky"),
    AuthorDeleted("did:plc:x"),
    Connected(replays=True),
    CaughtUp("replay", is_complete=False, note="36 h are kept"),
    Heartbeat(),
    Malformed("not JSON", b"\xff\x00{", 9000),
    Checkpoint('{"a": 1}'),
    Lost("network", "reset", NOON),
    Idle(),
    Began("process", "died"),
]


def item(number: int) -> Item:
    return Item(float(number), Checkpoint(str(number)))


def numbers(items: list[Item]) -> list[int]:
    return [int(item.at) for item in items]


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[SpillFile]:
    file = SpillFile(tmp_path / "x", 1 << 20)
    yield file
    file.close()


@pytest.mark.parametrize("event", NEWS, ids=lambda event: type(event).__name__)
def test_what_is_written_is_read_again(event: News) -> None:
    line = encode(Item(1.25, event))
    assert line.count(b"\n") == 1
    assert decode(line) == Item(1.25, event)


def test_what_json_does_not_know_is_kept_as_text() -> None:
    raw = {"price": Decimal("1.5"), "age": timedelta(seconds=3), "blob": b"ab"}
    kept = decode(encode(Item(1.0, replace(POST, raw=raw))))
    assert kept is not None and isinstance(kept.event, IncomingPost)
    assert kept.event.raw == {"price": "1.5", "age": "0:00:03", "blob": "b'ab'"}


def test_a_post_that_was_good_enough_for_an_earlier_release_is_put_aside() -> None:
    line = encode(Item(1.0, POST))[9:-1].replace(b"2026-11-24T12", b"9999-11-24T12")
    kept = decode(b"%08x %s\n" % (zlib.crc32(line), line))
    assert kept is not None and isinstance(kept.event, Malformed)
    assert "calendar" in kept.event.reason and kept.event.excerpt.startswith(b"[1.0")


@pytest.mark.parametrize("cut", [1, 5, 20, -2])
def test_a_line_that_is_not_whole_is_told(cut: int) -> None:
    assert decode(encode(Item(1.0, POST))[:cut]) is None


def test_first_in_first_out_across_memory_and_file(spill: SpillFile) -> None:
    buffer = Buffer(spill, memory_items=3)
    for number in range(10):
        buffer.put(item(number))
    assert buffer.spilled_bytes > 0
    assert numbers(buffer.take(4, 0)) == [0, 1, 2, 3]
    # While older ones wait on file, a new one must not overtake them in memory.
    buffer.put(item(10))
    assert numbers(buffer.take(100, 0)) == [4, 5, 6, 7, 8, 9, 10]
    buffer.settle()
    assert buffer.spilled_bytes == 0
    buffer.put(item(11))
    assert buffer.spilled_bytes == 0
    assert numbers(buffer.take(100, 0)) == [11]


def test_what_was_not_settled_comes_again_after_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    spill = SpillFile(folder, 1 << 20)
    buffer = Buffer(spill, memory_items=0)
    for number in range(5):
        buffer.put(item(number))
    assert numbers(buffer.take(3, 0)) == [0, 1, 2]
    spill.close()
    again = Buffer(SpillFile(folder, 1 << 20), memory_items=0)
    assert numbers(again.take(100, 0)) == [0, 1, 2, 3, 4]
    again.settle()
    again.close()
    assert not list(folder.glob("*.wal"))


def test_a_line_that_a_crash_cut_short_is_skipped(tmp_path: Path) -> None:
    spill = SpillFile(tmp_path, 1 << 20)
    spill.append(item(1))
    spill.append(item(2))
    spill.close()
    (path,) = tmp_path.glob("*.wal")
    path.write_bytes(path.read_bytes()[:-3])
    again = SpillFile(tmp_path, 1 << 20)
    assert numbers(again.take(10)) == [1]
    again.append(item(3))
    assert numbers(again.take(10)) == [3]
    again.close()


def test_the_file_is_bounded_and_says_when_there_is_room(tmp_path: Path) -> None:
    spill = SpillFile(tmp_path, 2000)
    buffer = Buffer(spill, memory_items=0)
    count = 0
    with pytest.raises(SpillFull, match="holds"):
        while True:
            buffer.put(item(count))
            count += 1
    assert spill.size <= 2000
    # Why nothing more comes may be said all the same.
    buffer.put(Item(99.0, Idle()), is_small=True)
    assert not spill.has_room()
    assert len(buffer.take(1000, 0)) == count + 1
    buffer.settle()
    assert spill.has_room()
    buffer.wait_for_room(threading.Event())
    buffer.close()


def test_files_are_cut_into_segments_that_go_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.services.buffer.SEGMENT_BYTES", 500)
    spill = SpillFile(tmp_path, 1 << 20)
    for number in range(100):
        spill.append(item(number))
    segments = len(list(tmp_path.glob("*.wal")))
    assert segments > 5
    taken = spill.take(50)
    spill.settle()
    assert 0 < len(list(tmp_path.glob("*.wal"))) < segments
    spill.append(item(100))
    assert numbers(taken + spill.take(1000)) == list(range(101))
    spill.close()


def test_what_is_kept_at_a_stop_comes_first_again(tmp_path: Path) -> None:
    buffer = Buffer(SpillFile(tmp_path, 1 << 20), memory_items=4)
    for number in range(8):
        buffer.put(item(number))
    in_hand = buffer.take(2, 0)
    buffer.keep(in_hand)
    buffer.close()
    again = Buffer(SpillFile(tmp_path, 1 << 20))
    assert numbers(again.take(100, 0)) == list(range(8))
    again.close()


def test_what_was_taken_from_the_file_and_kept_is_not_lost(tmp_path: Path) -> None:
    buffer = Buffer(SpillFile(tmp_path, 1 << 20), memory_items=0)
    for number in range(8):
        buffer.put(item(number))
    buffer.keep(buffer.take(100, 0))
    buffer.close()
    again = Buffer(SpillFile(tmp_path, 1 << 20))
    assert set(numbers(again.take(100, 0))) == set(range(8))
    again.close()


def test_one_process_at_a_time(spill: SpillFile, tmp_path: Path) -> None:
    with pytest.raises(SpillHeld):
        SpillFile(tmp_path / "x", 1 << 20)


def test_the_writer_waits_for_a_batch_but_not_for_ever(spill: SpillFile) -> None:
    buffer = Buffer(spill)
    began = time.monotonic()
    assert buffer.take(5, 0.1) == []
    assert time.monotonic() - began >= 0.1
    taken: list[Item] = []
    writer = threading.Thread(target=lambda: taken.extend(buffer.take(5, 30)))
    writer.start()
    for number in range(5):
        buffer.put(item(number))
    writer.join(10)
    assert numbers(taken) == [0, 1, 2, 3, 4]
