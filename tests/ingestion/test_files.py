"""Posts in files: formats, columns, and rows that are none."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingestion.exceptions import UnusableFile
from ingestion.sources.files import MAX_LINE, Columns, PostFile, Row


def read(path: Path, encoding: str = "utf-8", **columns: object) -> list[Row]:
    file = PostFile(path, Columns(**columns), encoding=encoding)  # type: ignore[arg-type]
    return list(file.rows())


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_common_column_names_are_found(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "id,text,created_at,username,lang\n7,hello,2026-01-02T03:04:05Z,cat,en\n",
    )
    post = read(path)[0].post
    assert post is not None
    assert (post.source, post.external_id, post.text) == ("file", "7", "hello")
    assert (post.author_username, post.lang) == ("cat", "en")
    assert post.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_columns_are_mapped_by_options(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "what,when,feel\nhi,24-02-2015 11.35,negative\n")
    row = read(path, text="what", time="when", label="feel", day_first=True)[0]
    assert row.post is not None
    assert row.post.created_at == datetime(2015, 2, 24, 11, 35, tzinfo=UTC)
    assert row.label == "negative"


def test_a_date_that_may_be_read_two_ways_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,date\nhi,03/04/2025\n")
    assert "--day-first" in read(path)[0].reason


def test_an_id_that_a_spreadsheet_rounded_is_derived_and_stable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "tweet_id,text\n5.70306E+17,one\n5.70306E+17,two\n")
    first, again = read(path), read(path)
    ids = [row.post.external_id for row in first if row.post]
    assert len(set(ids)) == 2
    assert ids == [row.post.external_id for row in again if row.post]


def test_a_quoted_field_may_hold_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text\n"two\nlines"\nlast\n')
    rows = read(path)
    assert [row.post.text for row in rows if row.post] == ["two\nlines", "last"]
    assert rows[1].line == 4


def test_bad_rows_are_told_with_line_and_reason_and_the_file_goes_on(tmp_path: Path) -> None:
    content = b"text,id\ngood,1\n,2\n\xff\xfe,3\nx,4,too,many\nlast,5\n"
    rows = read(write(tmp_path / "a.csv", content))
    assert [row.line for row in rows if row.reason] == [3, 4, 5]
    reasons = [row.reason for row in rows if row.reason]
    assert reasons[0] == "it has no text"
    assert reasons[1] == "it is not UTF-8: say --encoding"
    assert "more than 2 fields" in reasons[2]
    assert [row.post.text for row in rows if row.post] == ["good", "last"]


def test_x_v2_objects_bare_and_wrapped(tmp_path: Path) -> None:
    bare = {"id": "1", "text": "bare", "author_id": "9", "created_at": "2026-01-01T00:00:00.000Z"}
    wrapped = {
        "data": {**bare, "id": "2", "text": "short…", "note_tweet": {"text": "the full text"}},
        "includes": {"users": [{"id": "9", "name": "Cat", "username": "cat"}]},
    }
    path = write(tmp_path / "a.jsonl", f"{json.dumps(bare)}\n\n{json.dumps(wrapped)}\n")
    one, two = (row.post for row in read(path))
    assert one is not None and two is not None
    assert (one.source, one.external_id) == ("x", "1")
    assert (two.text, two.author_username) == ("the full text", "cat")


def test_a_bad_post_in_a_page_costs_itself_only(tmp_path: Path) -> None:
    page: list[object] = [
        {"id": str(n), "text": f"post {n}", "author_id": "9", "created_at": "2026-01-01T00:00:00Z"}
        for n in range(100)
    ]
    page[2] = {"id": "2", "text": " \ud800", "author_id": "9", "created_at": "soon 🐱"}
    page[50] = None
    users = [{"id": str(n), "username": f"cat{n}"} for n in range(20)]
    path = write(
        tmp_path / "a.jsonl", json.dumps({"data": page, "includes": {"users": users}}) + "\n"
    )
    rows = read(path)
    assert len(rows) == 100
    assert {row.post.author_username for row in rows if row.post} == {"cat9"}
    bad = [row for row in rows if row.reason]
    assert [row.reason for row in bad] == [
        "post 3 of `data`: its created_at 'soon 🐱' is not a time",
        "post 51 of `data`: `data` is not an object",
    ]
    # It alone is kept, with what it refers to, to be read again when it is mended.
    alone = json.loads(bad[0].excerpt)
    assert alone == {"data": page[2], "includes": {"users": [users[9]]}}
    assert json.loads(bad[1].excerpt) == {"data": None}


def test_a_time_beyond_the_calendar_is_a_bad_row(tmp_path: Path) -> None:
    times = ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+02:00", "9999-06-01T00:00:00Z"]
    lines = [json.dumps({"text": "far", "created_at": time}) for time in [*times, "2026-01-01"]]
    rows = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert ["calendar" in row.reason for row in rows] == [True, True, True, False]


def test_broken_json_is_told_with_its_line(tmp_path: Path) -> None:
    content = b'{"text": "a"}\n{"text": \n[1]\n\xff\n{"text": "b"}\n'
    rows = read(write(tmp_path / "a.jsonl", content))
    assert [row.line for row in rows if row.reason] == [2, 3, 4]
    assert [row.post.text for row in rows if row.post] == ["a", "b"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv", "a.bin"])
def test_gzip_is_seen_by_its_content(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, gzip.compress(b"text\nhello\n"))
    assert [row.post.text for row in read(path) if row.post] == ["hello"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"\xef\xbb\xbftext\nhello\n")
    assert read(path)[0].post is not None


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["one", ""]}), path)
    rows = read(path)
    assert rows[0].post is not None and rows[0].post.external_id == "1"
    assert rows[1].reason == "it has no text"


def test_a_column_that_is_not_there_stops_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\nhello\n")
    with pytest.raises(UnusableFile, match="has no column 'body'; it has: text"):
        read(path, text="body")


def test_without_a_text_column_the_error_says_which_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    with pytest.raises(UnusableFile, match="--text-column"):
        read(path)


def test_an_empty_file_has_no_text_column(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile):
        read(write(tmp_path / "a.csv", ""))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_told_from_the_header(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", f"id{delimiter}text\n1{delimiter}one, two, three\n")
    assert [row.post.text for row in read(path) if row.post] == ["one, two, three"]


def test_another_encoding_is_an_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\ncafé\n".encode("latin-1"))
    assert [row.post.text for row in read(path, encoding="latin-1") if row.post] == ["café"]
    assert "--encoding" in read(path)[0].reason


def test_utf_16_is_seen_by_its_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\ncafé\n".encode("utf-16"))
    assert [row.post.text for row in read(path) if row.post] == ["café"]


def test_an_unknown_encoding_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="--encoding"):
        read(write(tmp_path / "a.csv", "text\nhello\n"), encoding="klingon")


def test_damaged_gzip_is_told_after_the_rows_before(tmp_path: Path) -> None:
    whole = gzip.compress(b"text\n" + b"".join(b"row %d\n" % n for n in range(50_000)))
    path = write(tmp_path / "a.csv.gz", whole[: len(whole) // 2])
    rows = PostFile(path).rows()
    assert next(rows).post is not None
    with pytest.raises(UnusableFile, match="damaged"):
        list(rows)


def test_a_line_without_end_is_refused_and_skipped(tmp_path: Path) -> None:
    long = b'{"text": "' + b"x" * (MAX_LINE + 10) + b'"}\n'
    rows = read(write(tmp_path / "a.jsonl", long + b'{"text": "after"}\n'))
    assert [row.line for row in rows] == [1, 2]
    assert "longer than" in rows[0].reason
    assert rows[1].post is not None and rows[1].post.text == "after"
