"""Directories as a source: what is put in is read once, whatever dies in between."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
)
from ingestion.exceptions import NothingFollowed
from ingestion.models import Connection, DeadLetter, Post, Stream, WatchedFile
from ingestion.services import run_stream
from ingestion.services.usage import usage_of
from ingestion.sources import Resume, create, directory_reading, directory_watch
from ingestion.sources.directory import DirectorySource
from tests.conftest import wait_until
from tests.ingestion.folders import (
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


def stored() -> set[str]:
    return set(Post.objects.values_list("external_id", flat=True))


def test_files_are_stored_with_their_stream_and_seen_to_be_finished(
    inbox: Path, food: Stream, run: Callable
) -> None:
    put(inbox / "food", "a.jsonl", rows(700) + b"not json\n" + rows(1, 700))
    put(inbox / "food", "b.csv.gz", gzip.compress(b"id,text\nx1,hello\n"))
    with run(DirectorySource(inbox)):
        wait_until(lambda: WatchedFile.objects.filter(finished_at__isnull=False).count() == 2)
        assert food.posts.count() == 702
        first = WatchedFile.objects.get(path="food/a.jsonl")
        assert (first.rows, first.rejected, first.error) == (702, 1, "")
        assert first.size == (inbox / "food" / "a.jsonl").stat().st_size
        wait_until(lambda: json.loads(cursor())["files"] == {})
        assert (inbox / "food" / "a.jsonl").exists()


def test_posts_of_x_in_a_folder_cost_nothing(inbox: Path, food: Stream, run: Callable) -> None:
    page = {"data": {"id": "1", "text": "old", "created_at": "2026-01-01T00:00:00.000Z"}}
    put(inbox / "food", "x.jsonl", json.dumps(page).encode())
    with run(DirectorySource(inbox)):
        wait_until(lambda: Post.objects.filter(source="x").exists())
    assert usage_of("x")[None].month == 0 and usage_of("file")[None].month == 1


@pytest.mark.parametrize("polls", [False, True])
def test_a_file_that_comes_later_is_read(
    inbox: Path, food: Stream, run: Callable, polls: bool
) -> None:
    with run(DirectorySource(inbox, polls=polls)):
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        put(inbox / "food", "a.jsonl", rows(3))
        wait_until(lambda: stored() == {"0", "1", "2"})


def test_a_file_is_left_alone_while_it_is_written(inbox: Path, food: Stream) -> None:
    path = put(inbox / "food", "a.jsonl", rows(1), age=0)
    # As if it had just been written, however long the first look takes to come.
    then = time.time() + 60
    os.utime(path, (then, then))
    began = time.monotonic()
    heard = events_until(following(inbox), lambda heard: bool(ids(heard)))
    assert time.monotonic() - began > directory_watch.STABLE_SECONDS
    assert isinstance(heard[1], CaughtUp)
    assert path.exists()


def test_names_of_half_written_files_and_other_things_are_passed_over(
    inbox: Path, food: Stream
) -> None:
    for name in (".hidden.jsonl", "a.jsonl.tmp", "b.part", "c.csv~"):
        put(inbox / "food", name, rows(1))
    (inbox / "food" / "below").mkdir()
    put(inbox / "food" / "below", "d.jsonl", rows(1))
    os.mkfifo(inbox / "food" / "pipe.jsonl")
    assert ids(events_until(following(inbox), is_caught_up)) == []


def test_the_oldest_file_comes_first_and_a_checkpoint_after_its_rows(
    inbox: Path, food: Stream
) -> None:
    put(inbox / "food", "new.jsonl", rows(2, 10), age=100)
    put(inbox / "food", "old.jsonl", rows(2), age=200)
    heard = events_until(following(inbox), is_caught_up)
    kinds = [type(event) for event in heard]
    assert kinds[:4] == [Connected, IncomingPost, IncomingPost, Checkpoint]
    assert heard[0].replays  # type: ignore[union-attr]
    assert ids(heard) == ["0", "1", "10", "11"]


def test_streams_take_turns(inbox: Path, food: Stream) -> None:
    Stream.objects.create(name="Cats", source="file", query="cats")
    (inbox / "cats").mkdir()
    put(inbox / "food", "a.jsonl", rows(directory_reading.ROWS * 3))
    put(inbox / "cats", "b.jsonl", rows(2, 50_000))
    heard = events_until(following(inbox), lambda heard: "50001" in ids(heard[-1:]))
    assert len(ids(heard)) <= directory_reading.ROWS + 2


def test_a_runner_that_is_stopped_and_started_stores_every_row_once(
    inbox: Path, food: Stream
) -> None:
    put(inbox / "food", "a.jsonl", rows(6000))
    tally = run_stream(DirectorySource(inbox), max_posts=1000)
    assert 1000 <= tally.saved < 6000
    # No more than are left: a source of files goes on waiting for others.
    while left := 6000 - Post.objects.count():
        run_stream(DirectorySource(inbox), max_posts=min(left, 3000))
    assert stored() == {str(number) for number in range(6000)}


def test_a_file_that_cannot_be_read_is_told_and_left_until_it_changes(
    inbox: Path, food: Stream
) -> None:
    whole = gzip.compress(rows(4000))
    path = put(inbox / "food", "a.jsonl.gz", whole[:-100])
    put(inbox / "food", "b.csv", b"a,b\n1,2\n", age=10)
    finish(inbox)
    errors = dict(WatchedFile.objects.values_list("path", "error"))
    assert "cut off" in errors["food/a.jsonl.gz"]
    assert "which column is the text" in errors["food/b.csv"]
    assert Post.objects.count() > 1000
    assert events_until(following(inbox), is_caught_up)[1:] == [
        CaughtUp("files that came in the meantime")
    ]
    put(inbox / "food", path.name, whole, age=5)
    finish(inbox)
    assert Post.objects.count() == 4000
    assert not WatchedFile.objects.get(path="food/a.jsonl.gz").error


def test_bad_rows_become_dead_letters_that_can_be_read_again(inbox: Path, food: Stream) -> None:
    put(inbox / "food", "a.csv", b"id,text\n1,good\n2,\n")
    heard = events_until(following(inbox), is_caught_up)
    bad = of(Malformed, heard)[0]
    assert bad.reason == "a.csv, line 3: it has no text"
    source = following(inbox)
    assert [type(event) for event in source.parse(bad.excerpt)] == [Malformed]
    mended = bad.excerpt.replace(b'"text": ""', b'"text": "mended"')
    post = next(source.parse(mended))
    assert isinstance(post, IncomingPost)
    assert (post.source, post.external_id, post.text) == ("file", "2", "mended")


def test_a_bad_post_of_a_page_is_a_dead_letter_that_can_be_read_again(
    inbox: Path, food: Stream, run: Callable
) -> None:
    posts = [
        {"id": str(n), "text": f"post {n}", "author_id": "9", "created_at": "2026-01-01T00:00:00Z"}
        for n in range(100)
    ]
    posts[2]["created_at"] = "now"
    users = [{"id": "9", "username": "cat"}]
    page = {"data": posts, "includes": {"users": users}}
    put(inbox / "food", "a.jsonl", json.dumps(page).encode() + b"\n")
    with run(DirectorySource(inbox)):
        wait_until(lambda: WatchedFile.objects.filter(finished_at__isnull=False).exists())
    assert len(stored()) == 99
    letter = DeadLetter.objects.get()
    assert letter.reason.startswith("a.jsonl, line 1: post 3 of `data`: its created_at")
    assert letter.is_whole and json.loads(bytes(letter.excerpt))["data"] == posts[2]
    mended = bytes(letter.excerpt).replace(b'"now"', b'"2026-01-01T00:00:00Z"')
    post = next(following(inbox).parse(mended))
    assert isinstance(post, IncomingPost)
    assert (post.external_id, post.author_username) == ("2", "cat")


def test_odd_ids_and_times_stop_no_directory(inbox: Path, food: Stream, run: Callable) -> None:
    odd = {"delete": {"status": {"id_str": "1\ud800\x00"}}}
    far = {"id": "9", "text": "far", "created_at": "9999-12-31T23:59:59-05:00"}
    lines = json.dumps(odd).encode() + b"\n" + json.dumps(far).encode() + b"\n"
    put(inbox / "food", "a.jsonl", rows(1) + lines + rows(1, 1))
    with run(DirectorySource(inbox)) as it:
        wait_until(lambda: WatchedFile.objects.filter(finished_at__isnull=False).exists())
    assert it.error is None
    assert stored() == {"0", "1"}
    assert "calendar" in DeadLetter.objects.get().reason


def test_deletions_of_a_dump_name_whose_posts_they_are(inbox: Path, food: Stream) -> None:
    head = b'{"did":"did:plc:a","time_us":1700000000000000,'
    put(
        inbox / "food",
        "dump.jsonl",
        head + b'"kind":"commit","commit":{"rev":"3k","operation":"delete","collection":'
        b'"app.bsky.feed.post","rkey":"3kabc"}}\n'
        + head
        + b'"kind":"account","account":{"active":false,"did":"did:plc:a","status":"deleted"}}\n'
        b'{"delete":{"status":{"id":7,"id_str":"7","user_id":1}}}\n',
    )
    heard = events_until(following(inbox), is_caught_up)
    uri = "at://did:plc:a/app.bsky.feed.post/3kabc"
    assert of(PostDeleted, heard) == [PostDeleted((uri,), "bluesky"), PostDeleted(("7",), "x")]
    assert of(AuthorDeleted, heard) == [AuthorDeleted("did:plc:a", "bluesky")]


def test_an_id_that_stands_for_two_posts_loses_none(
    inbox: Path, food: Stream, run: Callable
) -> None:
    put(inbox / "food", "a.csv", b"id,text\n7,one\n7,two\n7,one\n")
    with run(DirectorySource(inbox)):
        wait_until(lambda: set(Post.objects.values_list("text", flat=True)) == {"one", "two"})


def test_a_stream_of_some_languages_keeps_those(inbox: Path, food: Stream) -> None:
    Stream.objects.filter(pk=food.pk).update(languages=["en"])
    put(inbox / "food", "a.csv", b"id,text,lang\n1,hello,en-GB\n2,hallo,de\n3,hm,\n")
    assert ids(events_until(following(inbox), is_caught_up)) == ["1", "3"]


@pytest.mark.parametrize("query", ["../secret", "/etc", "food/../..", "out", "a\0b"])
def test_directories_outside_are_refused(inbox: Path, tmp_path: Path, query: str) -> None:
    (tmp_path / "secret").mkdir()
    (inbox / "out").symlink_to(tmp_path / "secret")
    stream = Stream(pk=1, name="Evil", source="file", query=query)
    source = DirectorySource(inbox)
    refused = source.follow([stream]).refused
    assert set(refused) == {1}
    assert source.validate(stream) == refused[1]
    with pytest.raises(NothingFollowed):
        next(source.connect(Resume()))


def test_a_link_that_leads_out_is_not_read(inbox: Path, food: Stream, tmp_path: Path) -> None:
    put(tmp_path, "secret.jsonl", rows(1))
    (inbox / "food" / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert ids(events_until(following(inbox), is_caught_up)) == []


def test_a_missing_directory_is_made_and_an_absolute_one_may_be_named(
    inbox: Path, food: Stream
) -> None:
    stream = Stream.objects.create(name="New", source="file", query=str(inbox / "new" / "one"))
    assert not following(inbox).follow([stream]).refused
    assert (inbox / "new" / "one").is_dir()


def test_a_file_in_place_of_a_directory_is_refused(inbox: Path) -> None:
    put(inbox, "a.csv", b"text\n")
    stream = Stream(pk=1, name="Odd", source="file", query="a.csv")
    assert following(inbox).follow([stream]).refused[1]


def test_it_beats_and_ends_at_once(inbox: Path, food: Stream) -> None:
    source = following(inbox)
    heard = events_until(source, lambda heard: isinstance(heard[-1], Heartbeat))
    assert isinstance(heard[0], Connected)
    connection = source.connect(Resume())
    next(connection)
    timer = threading.Timer(0.3, source.disconnect)
    timer.start()
    began = time.monotonic()
    assert len(of(Heartbeat, list(connection))) <= 1
    assert time.monotonic() - began < 5


def test_a_stop_in_the_moment_of_looking_around_is_seen(inbox: Path, food: Stream) -> None:
    source = following(inbox)

    class Late(threading.Event):
        def clear(self) -> None:
            source.disconnect()
            super().clear()

    source._wake = Late()
    heard = events_until(source, lambda heard: isinstance(heard[-1], Heartbeat))
    assert [type(event) for event in heard] == [Connected]


def test_streams_may_change_while_it_reads(inbox: Path, food: Stream, run: Callable) -> None:
    with run(DirectorySource(inbox)):
        wait_until(lambda: Connection.objects.filter(status="connected").exists())
        (inbox / "cats").mkdir()
        put(inbox / "cats", "a.jsonl", rows(1))
        Stream.objects.create(name="Cats", source="file", query="cats")
        wait_until(lambda: stored() == {"0"})


def test_it_is_set_up_from_the_settings(settings: Any, tmp_path: Path) -> None:
    settings.FILE_SOURCE_DIR = str(tmp_path / "made")
    assert create("file").name == "file"
    assert (tmp_path / "made").is_dir()
