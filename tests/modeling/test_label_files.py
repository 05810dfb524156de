"""Files of labelled posts: what is read, what is refused, what is saved."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion.models import Post
from ingestion.services.texts import keep_texts
from ingestion.services.usage import usage_of
from modeling.models import Annotation, LabelScheme
from modeling.services import label_files
from modeling.services.annotate import annotate, annotate_many, labelled_rows
from modeling.services.label_files import LabelFileError, LabelledRow
from tests.conftest import LABELS

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        data = content.encode()
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
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
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (2, 2, 0)
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (0, 0, 0)
    assert told == [2, 2]
    labels = Annotation.objects.current().values_list("category__key", "origin", "annotator")
    assert sorted(labels) == [("negative", "import", None), ("positive", "import", None)]
    assert set(Post.objects.values_list("source", flat=True)) == {"file"}


def test_a_corrected_file_replaces_its_labels(scheme: LabelScheme) -> None:
    label_files.import_rows(scheme, rows(("what a day", "positive")), progress=silent)
    again = label_files.import_rows(scheme, rows(("what a day", "negative")), progress=silent)
    assert again == (0, 1, 0)
    assert Annotation.objects.current().get().category.key == "negative"
    assert Annotation.objects.count() == 2


def test_texts_that_read_alike_are_one_post_and_the_majority_holds(scheme: LabelScheme) -> None:
    pairs = rows(
        ("Lovely  crew", "positive"), ("lovely crew", "positive"), ("lovely crew", "neutral")
    )
    assert label_files.import_rows(scheme, pairs, progress=silent) == (1, 1, 0)
    assert Annotation.objects.get().category.key == "positive"


def test_rows_that_contradict_each_other_leave_the_label_alone_and_are_told(
    scheme: LabelScheme, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("import_labels", str(write("a.csv", "text,label\nlovely crew,positive\n")))
    tied = write("b.csv", "text,label\nlovely crew,neutral\nlovely crew,negative\nah,neutral\n")
    call_command("import_labels", str(tied))
    told = "3 rows: 1 posts saved, 1 labels changed; rows that contradict each other give 1 posts"
    assert told in capsys.readouterr().out
    assert labels_by_text() == {"lovely crew": "positive", "ah": "neutral"}


def test_rows_of_one_post_are_counted_together_however_far_apart(
    scheme: LabelScheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_files, "CHUNK", 2)
    said = ("negative", "positive", "neutral", "positive", "negative", "positive")
    pairs = rows(*(("lovely crew", label) for label in said))
    assert label_files.import_rows(scheme, pairs, progress=silent) == (1, 1, 0)
    assert labels_by_text() == {"lovely crew": "positive"}


def labels_by_text() -> dict[str, str]:
    current = Annotation.objects.current().filter(annotator=None)
    return dict(current.values_list("post__text", "category__key"))


def import_file(scheme: LabelScheme, path: Path) -> label_files.Imported:
    return label_files.import_rows(scheme, read(path), progress=silent)


def test_files_that_use_the_same_ids_label_their_own_texts(
    scheme: LabelScheme, write: Write
) -> None:
    first = write("a.csv", "id,text,label\n1,I love it,positive\n2,a lovely day,positive\n")
    other = write("b.csv", "id,text,label\n1,never again,negative\n2,A LOVELY  day,neutral\n")
    assert import_file(scheme, first) == (2, 2, 0)
    # The second id is of the same post, but for case and space.
    assert import_file(scheme, other) == (1, 2, 0)
    expected = {"I love it": "positive", "a lovely day": "neutral", "never again": "negative"}
    assert labels_by_text() == expected
    assert import_file(scheme, other) == (0, 0, 0)
    ids = dict(Post.objects.values_list("text", "external_id"))
    assert (ids["I love it"], ids["a lovely day"]) == ("1", "2")


def test_an_id_that_comes_twice_in_a_file_with_different_texts_loses_none(
    scheme: LabelScheme, write: Write
) -> None:
    path = write("a.csv", "id,text,label\n7,great,positive\n7,awful,negative\n7,great,positive\n")
    for expected in ((2, 2, 0), (0, 0, 0)):
        assert import_file(scheme, path) == expected
        assert labels_by_text() == {"great": "positive", "awful": "negative"}


def test_a_text_that_was_cut_is_known_again(scheme: LabelScheme) -> None:
    row = LabelledRow(2, "long " * 8000, "neutral", external_id="1")
    assert label_files.import_rows(scheme, [row], progress=silent) == (1, 1, 0)
    assert label_files.import_rows(scheme, [row], progress=silent) == (0, 0, 0)


def test_a_source_that_is_named_is_meant_whatever_the_text(scheme: LabelScheme) -> None:
    post = Post.objects.create(source="x", external_id="7", text="new", created_at=timezone.now())
    file = Post.objects.create(source="file", external_id="7", text="b", created_at=timezone.now())
    named = [
        LabelledRow(2, "old", "neutral", source="x", external_id="7"),
        LabelledRow(3, "old", "negative", source="file", external_id="7"),
    ]
    assert label_files.import_rows(scheme, named, progress=silent) == (0, 2, 0)
    labels = dict(Annotation.objects.values_list("post", "category__key"))
    assert labels == {post.pk: "neutral", file.pk: "negative"}


def test_posts_of_the_api_are_known_again(scheme: LabelScheme, write: Write) -> None:
    keep_texts(["this is fine"])
    annotate_many(scheme, {Post.objects.get().pk: "positive"})
    path = write("a.csv", "".join(label_files.as_csv(labelled_rows(scheme))))
    Annotation.objects.all().delete()
    assert import_file(scheme, path) == (0, 1, 0)
    assert Annotation.objects.get().post.source == "api"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_several_people_said_comes_back_as_a_training_sees_it(
    scheme: LabelScheme, write: Write, kind: str
) -> None:
    people = [User.objects.create_user(name) for name in ("ann", "bob", "carl")]
    most, settled, tied = (
        Post.objects.create(source="x", external_id=text, text=text, created_at=timezone.now())
        for text in ("most", "settled", "tied")
    )

    def say(post: Post, *keys: str, origin: str = Annotation.Origin.HUMAN) -> None:
        for person, key in zip(people, keys, strict=False):
            annotate(post, scheme.categories.get(key=key), annotator=person, origin=origin)

    say(most, "positive", "positive", "negative")
    say(tied, "positive", "negative")
    say(settled, "positive", "positive", "positive")
    say(settled, "negative", origin=Annotation.Origin.REVIEW)
    lines = {"csv": label_files.as_csv, "jsonl": label_files.as_jsonl}[kind]
    path = write(f"a.{kind}", "".join(lines(labelled_rows(scheme))))
    Annotation.objects.all().delete()
    assert import_file(scheme, path) == (0, 2, 1)
    assert labels_by_text() == {"most": "positive", "settled": "negative"}


def test_the_origin_of_another_file_is_another_thing(scheme: LabelScheme, write: Write) -> None:
    path = write("a.csv", "text,label,origin\nhello,neutral,Kent\n")
    (row,) = read(path)
    assert row.origin == Annotation.Origin.IMPORT
    own = ",".join(label_files.COLUMNS)
    path = write("b.csv", f"{own}\nx,1,hello,neutral,ann,Kent,\n")
    with pytest.raises(LabelFileError, match="line 2: the origin 'Kent' is none of human, import"):
        read(path)


def test_quotes_that_a_spreadsheet_needs_are_taken_off_our_own_files_alone(write: Write) -> None:
    own = ",".join(label_files.COLUMNS)
    for text, read_as in (("'@ann hi", "@ann hi"), ("'- meh", "- meh"), ("'tis so", "'tis so")):
        (row,) = read(write("a.csv", f"{own}\nx,1,{text},neutral,,human,\n"))
        assert row.text == read_as
        (row,) = read(write("b.csv", f"text,label\n{text},neutral\n"))
        assert row.text == text


@pytest.mark.parametrize("name", ["A.JSONL", "A.JSONL.GZ", "a.Json.gz"])
def test_names_in_capitals_are_read_for_what_they_are(write: Write, name: str) -> None:
    (row,) = read(write(name, '{"text": "hello", "label": "neutral"}\n'))
    assert row.text == "hello"


def test_a_known_post_is_labelled_where_it_is(scheme: LabelScheme) -> None:
    post = Post.objects.create(source="x", external_id="7", text="hm", created_at=timezone.now())
    row = LabelledRow(2, "hm", "neutral", source="x", external_id="7")
    assert label_files.import_rows(scheme, [row], progress=silent) == (0, 1, 0)
    assert Annotation.objects.get().post == post


def test_many_rows_take_several_chunks(scheme: LabelScheme) -> None:
    count = label_files.CHUNK + 7
    told: list[int] = []
    pairs = rows(*((f"post number {i}", "neutral") for i in range(count)))
    assert label_files.import_rows(scheme, pairs, progress=told.append) == (count, count, 0)
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
    assert label_files.import_rows(scheme, [row], progress=silent) == (1, 1, 0)
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


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    lines = "".join(f"hello {n} {n * 7919 % 1000},positive\n" for n in range(3000))
    packed = bytearray(gzip.compress(f"text,label\n{lines}".encode()))
    packed[200:260] = b"\xff" * 60
    path = tmp_path / "a.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(LabelFileError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"text": 1' + "0" * 5000 + "}"])
def test_json_that_no_parser_takes_is_refused(write: Write, content: str) -> None:
    with pytest.raises(LabelFileError, match="line 1: not JSON"):
        read(write("a.jsonl", content))


def test_a_quote_that_never_ends_is_refused(write: Write) -> None:
    path = write("a.csv", 'text,label\n"hello,neutral\n' + "word " * 40_000)
    with pytest.raises(LabelFileError):
        read(path)


def test_a_bad_row_ends_the_command_with_wrong_input(scheme: LabelScheme, write: Write) -> None:
    path = write("a.tsv", f"id\ttext\tlabel\n{'9' * 300}\thello\tneutral\n")
    with pytest.raises(CommandError, match="line 2") as raised:
        call_command("import_labels", str(path))
    assert raised.value.returncode == 2


@pytest.mark.django_db
def test_labels_of_posts_of_x_are_no_reading_of_x(write: Write, scheme: LabelScheme) -> None:
    row = "source,id,text,label\nx,1,lovely crew,positive\n"
    call_command("import_labels", str(write("a.csv", row)))
    assert Post.objects.get().source == "x" and Annotation.objects.count() == 1
    assert usage_of("x")[None].month == 0 and usage_of("file")[None].month == 1
