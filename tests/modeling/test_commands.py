"""Management commands: what they print, and their exit codes."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, execute_from_command_line
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from modeling import serving
from modeling.models import (
    Annotation,
    LabelScheme,
    ModelVersion,
    Prediction,
    Promotion,
    QualityReport,
    TrainingRun,
)

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def exit_code(*arguments: str) -> int:
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    return raised.value.returncode


def test_classify_tells_each_text(champion: ModelVersion) -> None:
    out = run("classify", "the food awful today", "the food wonderful today")
    assert [line.split()[0] for line in out.splitlines()] == ["negative", "positive"]


def test_classify_as_json(champion: ModelVersion) -> None:
    row = json.loads(run("classify", "--json", "the food awful today"))
    assert row["label"] == "negative" and row["model_version"] == "1"


def test_classify_reads_lines(champion: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("the food awful today\n\nthe song wonderful today\n"))
    assert len(run("classify").splitlines()) == 2


def test_classify_pending(champion: ModelVersion) -> None:
    Post.objects.create(source="x", external_id="1", text="hi there", created_at=timezone.now())
    assert json.loads(run("classify", "--pending", "--json")) == {"classified": 1}
    assert Prediction.objects.count() == 1


def test_classify_without_a_model_fails(scheme: LabelScheme) -> None:
    serving.reset()
    assert exit_code("classify", "hi") == 1


@pytest.fixture
def labelled_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(
        "text,label\nthe food awful today,negative\nthe food wonderful today,positive\n"
    )
    return path


def test_evaluate_prints_the_figures(champion: ModelVersion, labelled_file: Path) -> None:
    assert "accuracy 1.0000" in run("evaluate", "--data", str(labelled_file))
    row = json.loads(run("evaluate", "1", "--data", str(labelled_file), "--json"))
    assert row["macro_recall"] == 1.0 and row["texts_per_second"] > 0
    assert row["intervals"]["accuracy"] == [1.0, 1.0]
    assert {part["dimension"] for part in row["slices"]} >= {"length", "emoji", "negation"}


def test_evaluate_against_another_version_asks_the_gate(
    champion: ModelVersion, make_version: Callable[..., ModelVersion], labelled_file: Path
) -> None:
    make_version(2)
    data = ("--data", str(labelled_file))
    said = StringIO()
    with pytest.raises(CommandError, match="the gate would refuse it"):
        call_command("evaluate", "2", "--against", "champion", *data, stdout=said)
    assert "FAIL  categories: nothing to judge neutral on: label more posts" in said.getvalue()
    with labelled_file.open("a") as file:
        file.write("the train opens today,neutral\n")
    out = run("evaluate", "2", "--against", "champion", *data)
    assert out.startswith("version 2 passes, held against version 1")
    assert "pass  macro recall: macro recall 1.000 against 1.000 on 3 held-out posts" in out
    row = json.loads(run("evaluate", "2", "--against", "1", "--json", *data))
    assert row["passed"] is True and row["champion"] == 1
    # Only what was judged on the held-out posts is kept.
    assert ModelVersion.objects.get(version=2).gate == {}
    assert exit_code("evaluate", "1", "--against", "champion") == 2


def test_a_version_older_than_a_category_is_judged_on_it_too(
    champion: ModelVersion, tmp_path: Path
) -> None:
    champion.scheme.categories.create(key="mixed", name="Mixed", position=9)
    path = tmp_path / "labels.csv"
    path.write_text("text,label\nthe food awful today,negative\ngood and bad,mixed\n")
    row = json.loads(run("evaluate", "--data", str(path), "--json"))
    assert row["accuracy"] == 0.5 and row["per_class"]["mixed"]["recall"] == 0


@pytest.mark.parametrize("arguments", [("9", "labels.csv"), ("one", "labels.csv"), ("1", "no.csv")])
def test_evaluate_refuses_what_is_not_there(
    champion: ModelVersion, labelled_file: Path, arguments: tuple[str, str]
) -> None:
    version, name = arguments
    assert exit_code("evaluate", version, "--data", str(labelled_file.parent / name)) == 2


def test_evaluate_names_a_wrong_label(champion: ModelVersion, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("text,label\nhello,angry\n")
    with pytest.raises(CommandError, match="line 2: 'angry'"):
        run("evaluate", "--data", str(path))


def test_promote_and_rollback(
    champion: ModelVersion, make_version: Callable[..., ModelVersion]
) -> None:
    make_version(2)
    assert "version 2 is the champion now" in run("promote", "2")
    assert "already" in run("promote", "2")
    assert "version 1 is the champion again" in run("rollback", "--reason", "complaints")
    latest = Promotion.objects.first()
    assert latest is not None and latest.actor.startswith("command line")
    assert latest.reason == "rollback from version 2: complaints"
    assert exit_code("promote", "2", "--override-gate") == 1
    assert exit_code("promote", "7") == 2


def test_promote_beside_a_damaged_champion_says_how(
    make_version: Callable[..., ModelVersion],
) -> None:
    make_version(1, stage="champion", artifact_digests={"model.onnx": "0" * 64})
    make_version(2)
    said = r"version 1 are damaged.*model\.onnx.*\(--override-gate --reason WHY promotes it\)"
    with pytest.raises(CommandError, match=said):
        run("promote", "2")
    assert "version 2 is the champion now" in run(
        "promote", "2", "--override-gate", "--reason", "the disk died"
    )


def test_labels_go_out_and_come_in_again(
    champion: ModelVersion, labelled_file: Path, tmp_path: Path
) -> None:
    assert "2 posts saved, 2 labels changed" in run("import_labels", str(labelled_file))
    assert "0 posts saved, 0 labels changed" in run("import_labels", str(labelled_file))
    for name in ("out.csv", "out.jsonl"):
        run("export_labels", str(tmp_path / name))
        Annotation.objects.all().delete()
        out = run("import_labels", str(tmp_path / name), "--json")
        assert json.loads(out) == {
            "rows": 2,
            "posts_saved": 0,
            "labels_changed": 2,
            "posts_tied": 0,
        }


def test_check_quality_prints_a_report(champion: ModelVersion) -> None:
    row = json.loads(run("check_quality", "--json"))
    assert row["posts"] == 0 and row["has_drift"] is False
    assert QualityReport.objects.count() == 1


def test_check_quality_without_a_model_fails(scheme: LabelScheme) -> None:
    assert exit_code("check_quality") == 1


def test_retrain_says_why_not(champion: ModelVersion) -> None:
    assert run("retrain").startswith("not_needed: no trigger fired")
    assert json.loads(run("retrain", "--json"))["status"] == "not_needed"


@pytest.mark.parametrize("command", ["train", "rollback", "export_labels"])
def test_an_unknown_scheme_is_wrong_usage(scheme: LabelScheme, command: str) -> None:
    assert exit_code(command, "--scheme", "nope") == 2


def test_labels_go_to_standard_output(
    champion: ModelVersion, labelled_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("import_labels", str(labelled_file))
    capsys.readouterr()
    run("export_labels", "--format", "jsonl")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == ["negative", "positive"]


@pytest.mark.parametrize("name", ["missing/labels.csv", "labels.txt/labels.csv"])
def test_labels_cannot_go_where_nothing_can_be_written(
    scheme: LabelScheme, tmp_path: Path, name: str
) -> None:
    (tmp_path / "labels.txt").touch()
    assert exit_code("export_labels", str(tmp_path / name)) == 2


def test_import_labels_names_a_missing_file(scheme: LabelScheme, tmp_path: Path) -> None:
    assert exit_code("import_labels", str(tmp_path / "no.csv")) == 2
    assert exit_code("import_labels", str(tmp_path / "no.csv"), "--scheme", "nope") == 2


def test_evaluate_without_a_model_fails(scheme: LabelScheme, labelled_file: Path) -> None:
    assert exit_code("evaluate", "--data", str(labelled_file)) == 1


def test_evaluate_of_an_altered_version_fails(
    make_version: Callable[..., ModelVersion], labelled_file: Path
) -> None:
    make_version(1, artifact_digests={"model.onnx": "0" * 64})
    assert exit_code("evaluate", "1", "--data", str(labelled_file)) == 1


def test_a_quality_report_is_told_in_lines(champion: ModelVersion) -> None:
    Post.objects.create(source="x", external_id="1", text="hi there", created_at=timezone.now())
    run("classify", "--pending")
    assert run("check_quality", "--hours", "1").startswith("1 posts, 1 looked at\n")


@pytest.mark.django_db(transaction=True)
def test_a_retraining_whose_encoder_is_not_there_says_so(
    champion: ModelVersion, settings: Settings, tmp_path: Path
) -> None:
    settings.MODEL_NAME = str(tmp_path / "nowhere")
    with pytest.raises(CommandError, match="nowhere"):
        run("retrain", "--force")
    assert TrainingRun.objects.get().status == TrainingRun.Status.FAILED


@pytest.mark.django_db(transaction=True)
def test_a_forced_retraining_learns_from_the_starter_corpus_and_passes_the_gate_or_not(
    make_version: Callable[..., ModelVersion], tiny_settings: Settings
) -> None:
    make_version(7, stage="champion")
    tiny_settings.NUM_EPOCHS, tiny_settings.BATCH_SIZE = 1, 64
    out = run("retrain", "--force", "--json")
    row = json.loads(out)
    training = TrainingRun.objects.get(pk=row["run"])
    assert row["status"] == training.status
    assert training.status in {"succeeded", "rejected"}, training.error
    version = training.version
    assert version is not None and version.train_size > 1400
    assert version.reference["size"] == version.validation_size + version.test_size


@pytest.mark.parametrize(
    "command",
    [
        *("classify", "train", "evaluate", "promote", "rollback", "retrain"),
        *("check_quality", "import_labels", "export_labels"),
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        execute_from_command_line(["manage.py", command, "--help"])
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out
