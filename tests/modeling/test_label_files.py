"""Files of labelled posts: what is read, what is refused, what is saved."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.models import Post
from modeling.models import Annotation, LabelScheme
from modeling.services import label_files
from modeling.services.annotate import labelled_rows
from modeling.services.label_files import LabelFileError, LabelledRow
from tests.conftest import LABELS

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        data = content.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def read(path: Path) -> list[LabelledRow]:
    return label_files.read(path, "text", "label", LABELS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"so, so good",positive\n'),
        ("a.csv", '\ufefflabel,text,other\r\npositive,"so, so good",1\r\n'),
        ("a.csv.gz", 'text,label\n"so, so good",positive\n'),
        ("a.tsv", "text\tlabel\nso, so good\tpositive\n"),
        ("a.jsonl", '{"text": "so, so good", "label": "positive"}\n\n'),
        ("a.ndjson", '{"label": " positive ", "text": " so, so good "}'),
        ("a.jsonl.gz", '{"text": "so, so good", "label": "positive"}\n'),
    ],
)
def test_each_form_is_read(write: Write, name: str, content: str) -> None:
    (row,) = read(write(name, content))
    assert (row.text, row.label) == ("so, so good", "positive")


def test_other_columns_can_be_named(write: Write) -> None:
    path = write("a.csv", "tweet,airline_sentiment\nlost my bag,negative\n")
    (row,) = label_files.read(path, "tweet", "airline_sentiment", LABELS)
    assert row == LabelledRow(2, "lost my bag", "negative")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "text,mood\nhi,positive\n", "line 2: no column label; the file has: text, mood"),
        ("a.csv", "text,label\nhi,positive\nho,angry\n", "line 3: 'angry' is not a label"),
        ("a.csv", "text,label\n  ,positive\n", "line 2: the text is empty"),
        ("a.csv", "text,label\nhi\n", "line 2: '' is not a label"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.csv", "", "holds no rows"),
        ("a.jsonl", '{"text": "hi", "label": "positive"}\n{"text"\n', "line 2: not JSON"),
        ("a.jsonl", '["hi", "positive"]\n', "line 1: not a JSON object"),
    ],
)
def test_the_first_bad_row_is_named(write: Write, name: str, content: str, complaint: str) -> None:
    with pytest.raises(LabelFileError, match=complaint):
        read(write(name, content))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nschön,positive\n".encode("latin-1"))
    with pytest.raises(LabelFileError, match="not UTF-8"):
        read(path)


def silent(count: int) -> None:
    """A progress that shows nothing."""


def rows(*pairs: tuple[str, str]) -> list[LabelledRow]:
    return [LabelledRow(line, text, label) for line, (text, label) in enumerate(pairs, start=2)]


def test_texts_become_posts_with_labels_and_a_second_time_nothing_changes(
    scheme: LabelScheme,
) -> None:
    pairs = rows(("lost my bag", "negative"), ("lovely crew", "positive"))
    told: list[int] = []
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (2, 2)
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (0, 0)
    assert told == [2, 2]
    labels = Annotation.objects.current().values_list("category__key", "origin", "annotator")
    assert sorted(labels) == [("negative", "import", None), ("positive", "import", None)]
    assert set(Post.objects.values_list("source", flat=True)) == {"file"}


def test_a_corrected_file_replaces_its_labels(scheme: LabelScheme) -> None:
    label_files.import_rows(scheme, rows(("what a day", "positive")), progress=silent)
    again = label_files.import_rows(scheme, rows(("what a day", "negative")), progress=silent)
    assert again == (0, 1)
    assert Annotation.objects.current().get().category.key == "negative"
    assert Annotation.objects.count() == 2


def test_texts_that_read_alike_are_one_post_and_the_last_label_holds(scheme: LabelScheme) -> None:
    pairs = rows(("Lovely  crew", "neutral"), ("lovely crew", "positive"))
    assert label_files.import_rows(scheme, pairs, progress=silent) == (1, 1)
    assert Annotation.objects.get().category.key == "positive"


def test_a_known_post_is_labelled_where_it_is(scheme: LabelScheme) -> None:
    post = Post.objects.create(source="x", external_id="7", text="hm", created_at=timezone.now())
    row = LabelledRow(2, "hm", "neutral", source="x", external_id="7")
    assert label_files.import_rows(scheme, [row], progress=silent) == (0, 1)
    assert Annotation.objects.get().post == post


def test_many_rows_take_several_chunks(scheme: LabelScheme) -> None:
    count = label_files.CHUNK + 7
    told: list[int] = []
    pairs = rows(*((f"post number {i}", "neutral") for i in range(count)))
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (count, count)
    assert told == [label_files.CHUNK, 7]


def test_what_is_exported_names_post_label_and_person(
    scheme: LabelScheme,
) -> None:
    label_files.import_rows(scheme, rows(("lovely crew", "positive")), progress=silent)
    (row,) = labelled_rows(scheme)
    assert row["text"] == "lovely crew" and row["label"] == "positive"
    assert row["source"] == "file" and row["origin"] == "import" and row["annotator"] == ""
    assert list(labelled_rows(scheme, since=timezone.now())) == []


def test_characters_that_no_database_holds_are_left_out(scheme: LabelScheme) -> None:
    row = LabelledRow(2, "a\x00b", "neutral", source="x", external_id="7\x00")
    assert label_files.import_rows(scheme, [row], progress=silent) == (1, 1)
    post = Post.objects.get()
    assert (post.external_id, post.text) == ("7", "ab")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (LabelledRow(2, "\x00", "neutral"), "line 2: it has no text"),
        (LabelledRow(9, "hello", "neutral", "x", "9" * 300), "line 9: its id is longer than"),
    ],
)
def test_a_row_that_cannot_become_a_post_is_named(
    scheme: LabelScheme, row: LabelledRow, complaint: str
) -> None:
    with pytest.raises(LabelFileError, match=complaint):
        label_files.import_rows(scheme, [row], progress=silent)
    assert Post.objects.count() == 0


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"text,label\nhello,neutral\n")
    with pytest.raises(LabelFileError, match="cannot be read"):
        read(path)
    path.write_bytes(gzip.compress(b"text,label\n" + b"hello,neutral\n" * 999)[:-20])
    with pytest.raises(LabelFileError, match="cannot be read"):
        read(path)


def test_a_quote_that_never_ends_is_refused(write: Write) -> None:
    path = write("a.csv", 'text,label\n"hello,neutral\n' + "word " * 40_000)
    with pytest.raises(LabelFileError):
        read(path)


def test_a_bad_row_ends_the_command_with_wrong_input(scheme: LabelScheme, write: Write) -> None:
    path = write("a.tsv", f"id\ttext\tlabel\n{'9' * 300}\thello\tneutral\n")
    with pytest.raises(CommandError, match="line 2") as raised:
        call_command("import_labels", str(path))
    assert raised.value.returncode == 2
