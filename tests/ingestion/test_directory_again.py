"""A folder that is read again: what is remembered of its files, and what has changed in them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion.events import Checkpoint, Heartbeat, Malformed
from ingestion.models import Connection, Stream, WatchedFile
from ingestion.services import run_stream
from ingestion.sources.directory import DirectorySource
from tests.ingestion.folders import (
    append,
    cursor,
    events_until,
    finish,
    following,
    ids,
    is_caught_up,
    of,
    put,
    rows,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_restart_goes_on_in_the_middle(inbox: Path, food: Stream) -> None:
    put(inbox / "food", "a.jsonl", rows(1200))
    first = events_until(following(inbox), lambda heard: isinstance(heard[-1], Checkpoint))
    second = events_until(following(inbox), is_caught_up, of(Checkpoint, first)[-1].cursor)
    assert ids(first) + ids(second) == [str(number) for number in range(1200)]


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_events_after_the_last_checkpoint_come_again(
    inbox: Path, food: Stream, pack: Callable[[bytes], bytes]
) -> None:
    put(inbox / "food", "a.jsonl", pack(rows(1200)))
    first = events_until(following(inbox), lambda heard: len(ids(heard[-1:])) and len(heard) > 900)
    second = events_until(following(inbox), is_caught_up, of(Checkpoint, first)[-1].cursor)
    assert ids(second) == [str(number) for number in range(500, 1200)]


def test_a_finished_file_is_not_read_again(inbox: Path, food: Stream) -> None:
    put(inbox / "food", "a.jsonl", rows(5))
    run_stream(DirectorySource(inbox), max_posts=5)
    source = following(inbox)
    assert ids(events_until(source, is_caught_up, cursor())) == []
    row = WatchedFile.objects.get()
    assert row.finished_at is not None and row.rows == 5
    # The row is enough, the cursor may be gone.
    assert ids(events_until(source, is_caught_up)) == []


def test_to_forget_a_file_is_to_have_it_read_again(inbox: Path, food: Stream) -> None:
    put(inbox / "food", "a.jsonl", rows(5))
    finish(inbox)
    WatchedFile.objects.all().delete()
    assert len(ids(events_until(following(inbox), is_caught_up))) == 5


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_what_is_appended_is_read_on_its_own(inbox: Path, food: Stream, name: str) -> None:
    path = put(inbox / "food", name, sample(name, "1", "2"))
    finish(inbox)
    append(path, b"\n" + sample(name, "3", "", "4").removeprefix(HEADER))
    heard = events_until(following(inbox), is_caught_up, cursor())
    assert ids(heard) == ["3", "4"]
    line = 10 if name == "a.csv" else 5
    assert of(Malformed, heard)[0].reason.startswith(f"{name}, line {line}: ")
    # Who does not remember reads everything: nothing is stored twice.
    assert ids(events_until(following(inbox), is_caught_up)) == ["1", "2", "3", "4"]


HEADER = "\ufeffid,text\n".encode()


def sample(name: str, *ids: str) -> bytes:
    """Rows of these ids; an empty one makes a row without text."""
    if name.endswith(".csv"):
        return HEADER + "".join(f'{key},"{key and "pöst, two"}\n"\n' for key in ids).encode()
    return b"".join(rows(1, int(key)) if key else b"{}\n" for key in ids)


def test_a_line_that_was_cut_is_read_whole_when_its_end_has_come(inbox: Path, food: Stream) -> None:
    whole = rows(3)
    path = put(inbox / "food", "a.jsonl", whole[:-20])
    finish(inbox)
    assert WatchedFile.objects.get().rejected == 1
    append(path, whole[-20:])
    assert ids(events_until(following(inbox), is_caught_up, cursor())) == ["2"]
    assert ids(events_until(following(inbox), is_caught_up)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "content", [rows(5, 100), rows(1, 100), b'{"id": "9", "text": "one long line"}\n' * 9]
)
def test_a_file_that_was_replaced_is_read_from_its_beginning(
    inbox: Path, food: Stream, content: bytes
) -> None:
    put(inbox / "food", "a.jsonl", rows(3))
    finish(inbox)
    put(inbox / "food", "a.jsonl", content, age=30)
    heard = events_until(following(inbox), is_caught_up, cursor())
    assert len(ids(heard)) == content.count(b"\n")


def test_a_packed_file_that_has_grown_is_read_from_its_beginning(inbox: Path, food: Stream) -> None:
    path = put(inbox / "food", "a.jsonl.gz", gzip.compress(rows(3)))
    finish(inbox)
    append(path, gzip.compress(rows(2, 3)))
    assert ids(events_until(following(inbox), is_caught_up, cursor())) == ["0", "1", "2", "3", "4"]


def test_the_cursor_stays_short_whatever_comes(inbox: Path, food: Stream) -> None:
    for number in range(230):
        put(inbox / "food", f"{number:04}.jsonl", rows(1, number))
    tally = run_stream(DirectorySource(inbox), max_posts=230)
    assert tally.saved == 230
    # Nobody stores here: it waits rather than reads more than the cursor holds.
    Connection.objects.all().delete()
    WatchedFile.objects.all().delete()
    heard = events_until(following(inbox), lambda heard: isinstance(heard[-1], Heartbeat))
    cursors = [json.loads(event.cursor) for event in of(Checkpoint, heard)]
    assert max(len(each["files"]) for each in cursors) == 100


def test_a_cursor_of_another_kind_costs_nothing_but_time(inbox: Path, food: Stream) -> None:
    put(inbox / "food", "a.jsonl", rows(3))
    assert len(ids(events_until(following(inbox), is_caught_up, '{"sent": 1, "fil'))) == 3
