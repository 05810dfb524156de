"""`manage.py import_posts`: save, classify, tell."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ingestion.models import Post, Stream
from ingestion.services import forget
from modeling.models import ModelVersion, Prediction

pytestmark = pytest.mark.django_db


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.csv"
    path.write_text(
        "id,text,feel\n"
        "1,the food wonderful today,positive\n"
        "2,the food awful today,negative\n"
        "2,the food awful today,negative\n"
        "3,,neutral\n"
        "4,the train opens today,sad\n"
    )
    return path


def run(*arguments: object) -> tuple[str, CommandError | None]:
    out = StringIO()
    try:
        call_command("import_posts", *map(str, arguments), stdout=out)
    except CommandError as error:
        return out.getvalue(), error
    return out.getvalue(), None


def test_every_row_is_saved_classified_or_told(champion: ModelVersion, tweets: Path) -> None:
    out, error = run(tweets, "--json", "--label-column", "feel", "--stream", "Food")
    report = json.loads(out)
    assert (report["saved"], report["duplicates"], report["rejected"]) == (3, 1, 1)
    assert report["reasons"] == [{"line": 5, "reason": "it has no text"}]
    assert report["classified"] == Prediction.objects.count() == 3
    assert Stream.objects.get(name="Food").posts.count() == 3
    assert error is not None and error.returncode == 1


def test_the_agreement_with_the_file_s_labels_is_printed(
    champion: ModelVersion, tweets: Path
) -> None:
    out, _ = run(tweets, "--label-column", "feel")
    assert "agreement with 3 labels" in out
    assert "accuracy 1.0000" in out
    assert "1 labels are none of the scheme's" in out


def test_a_category_that_is_younger_than_the_judgements_is_no_hindrance(
    champion: ModelVersion, tweets: Path
) -> None:
    run(tweets)
    champion.scheme.categories.create(key="sad", name="Sad", position=9)
    out, _ = run(tweets, "--label-column", "feel")
    assert "agreement with 4 labels" in out


def test_importing_again_changes_nothing(champion: ModelVersion, tweets: Path) -> None:
    run(tweets)
    out, _ = run(tweets, "--json")
    assert json.loads(out)["saved"] == 0
    assert Post.objects.count() == Prediction.objects.count() == 3


def test_posts_are_saved_even_when_no_model_serves(tweets: Path) -> None:
    _, error = run(tweets)
    assert error is not None and "classify --pending" in str(error)
    assert Post.objects.count() == 3


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    _, error = run(tmp_path / "nope.csv")
    assert error is not None and error.returncode == 2


def test_a_wrong_column_is_wrong_usage(champion: ModelVersion, tweets: Path) -> None:
    _, error = run(tweets, "--text-column", "body")
    assert error is not None and error.returncode == 2
    assert Post.objects.count() == 0


def test_an_id_that_stands_for_different_posts_loses_none(
    champion: ModelVersion, tmp_path: Path
) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,text\n7,the food wonderful\n7,the train awful\n7,the food wonderful\n")
    report = json.loads(run(path, "--json")[0])
    assert (report["saved"], report["duplicates"]) == (2, 1)
    report = json.loads(run(path, "--json")[0])
    assert (report["saved"], report["duplicates"]) == (0, 3)


def test_a_post_deleted_at_its_source_does_not_come_back(
    champion: ModelVersion, tweets: Path
) -> None:
    run(tweets)
    forget("file", ["1"])
    report = json.loads(run(tweets, "--json")[0])
    assert report["saved"] == 0
    assert Post.objects.get(external_id="1").text == ""
