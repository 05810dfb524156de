"""Importing files that hold odd values: the others are saved, each odd one is told."""

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from pytest_django import Settings

from ingestion.models import Post
from ingestion.services.importing import ImportSummary, import_file
from ingestion.sources.files import PostFile
from tests.ingestion.factories import incoming

pytestmark = pytest.mark.django_db


def imported(path: Path) -> ImportSummary:
    summary = ImportSummary()
    for _ in import_file(PostFile(path), summary):
        pass
    return summary


def lines(path: Path, *items: object) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_odd_times_and_ids_cost_themselves_only(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"id": "1", "text": "before", "created_at": "2026-01-01T00:00:00Z"},
        {"id": "2", "text": "far", "created_at": "9999-12-31T23:59:59-05:00"},
        {"id": "3", "text": "long ago", "created_at": "0001-01-01T00:00:00+02:00"},
        {"delete": {"status": {"id_str": "1\ud800\x00"}}},
        {"id": "4", "text": "after", "created_at": "2026-01-01T00:00:00+02:00"},
    )
    summary = imported(path)
    assert (summary.saved, [line for line, _ in summary.rejected]) == (2, [2, 3])
    assert set(Post.objects.values_list("external_id", flat=True)) == {"1", "4"}


def test_what_the_database_refuses_is_a_rejected_row(tmp_path: Path, settings: Settings) -> None:
    settings.STORE_RAW_POSTS = True
    deep: object = 1
    for _ in range(700):
        deep = {"a": deep}
    rows = [{"id": str(n), "text": f"post {n}"} for n in range(20)]
    rows[7]["deep"] = deep  # type: ignore[assignment]
    summary = imported(lines(tmp_path / "a.jsonl", *rows))
    assert (summary.saved, summary.rejected_count, Post.objects.count()) == (19, 1, 19)
    line, reason = summary.rejected[0]
    assert line == 8 and reason.startswith("it cannot be stored: ")


def test_a_count_beyond_all_counts_is_left_out(tmp_path: Path) -> None:
    row = {
        "id_str": "7",
        "text": "hello",
        "created_at": "Thu Jan 01 00:00:00 +0000 2026",
        "user": {"screen_name": "cat"},
        "favorite_count": 3,
        "retweet_count": "9" * 5000,
    }
    assert imported(lines(tmp_path / "a.jsonl", row)).saved == 1
    assert Post.objects.get().metrics == {"like_count": 3}


def test_a_page_with_a_bad_post_saves_the_others(tmp_path: Path) -> None:
    page = [
        {"id": str(n), "text": f"post {n}", "created_at": "2026-01-01T00:00:00Z"} for n in range(9)
    ]
    page[4]["text"] = " "
    summary = imported(lines(tmp_path / "a.jsonl", {"data": page}))
    assert summary.saved == 8
    assert summary.rejected == [(1, "post 5 of `data`: it has no text")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(Decimal("1.5"), "1.5"), (b"ab", "b'ab'"), (timedelta(seconds=3), "0:00:03")],
)
def test_raw_rows_of_a_table_keep_as_text_what_json_does_not_know(
    tmp_path: Path, settings: Settings, value: object, text: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    settings.STORE_RAW_POSTS = True
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["hello"], "odd": pa.array([value])}), path)
    assert imported(path).saved == 1
    raw = Post.objects.get().raw
    assert raw is not None and raw["odd"] == text


def test_a_post_s_time_is_kept_in_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert incoming(created_at=noon).created_at.isoformat() == "2026-01-01T10:00:00+00:00"
