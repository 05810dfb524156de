"""Trainings with a teacher or a file of labels that are cut short and go on: what they learn."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from ingestion.models import Post
from ingestion.services import forget
from modeling.ml import base_model
from modeling.ml.distill import LOGITS_FILE, TEXTS_FILE, Opinions
from modeling.models import LabelScheme, TrainingPost, TrainingRun
from modeling.services import label_files, runs, train
from modeling.services.label_files import LabelFileError

pytestmark = pytest.mark.django_db(transaction=True)

UNLABELLED = 40


def after(steps: int) -> Callable[[], bool]:
    """Says stop once it has been asked so often."""
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


def post(number: int) -> Post:
    return Post.objects.create(
        source="x",
        external_id=f"u{number}",
        text=f"nobody has labelled the song number {number}",
        created_at=timezone.now(),
    )


def at(share: float) -> Callable[[float, str], None]:
    """A progress that fails the test where a training is before this share."""

    def progress(done: float, message: str) -> None:
        assert done >= share or not message.startswith("epoch"), message

    return progress


@pytest.fixture
def taught(labelled: LabelScheme, tiny_settings: Settings, teacher: Path) -> TrainingRun:
    """A training with a teacher that was stopped in its third epoch."""
    for number in range(UNLABELLED):
        post(number)
    run = train.request_training(labelled, options={"teacher": str(teacher)})
    run = train.execute(run.pk, should_stop=after(36))
    assert run.status == "interrupted" and run.loss is not None, run.error
    return run


@pytest.fixture
def teacher(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that can be taken away."""
    return Path(shutil.copytree(tiny_model, tmp_path / "teacher"))


def read_by_teacher(run: TrainingRun) -> list[str]:
    """Texts without a label that the run's folder keeps."""
    kept = Opinions.read(runs.folder_of(run) / "teacher")
    assert kept is not None
    return [text for text, pk in zip(kept.texts, kept.posts, strict=True) if pk is not None]


def test_a_teacher_reads_once_whatever_is_edited_or_comes_meanwhile(
    taught: TrainingRun, teacher: Path
) -> None:
    read = read_by_teacher(taught)
    digest = base_model.sha256(teacher / "model.safetensors")
    shutil.rmtree(teacher)
    Post.objects.filter(text=read[0]).update(is_superseded=True)
    late = post(UNLABELLED)
    Post.objects.filter(pk=late.pk).update(received_at=taught.created_at)
    run = train.execute(taught.pk, progress=at(0.2))
    assert run.status == "succeeded" and run.attempts == 2, run.error
    assert run.version is not None
    told = {
        "teacher": str(teacher),
        "teacher_digest": digest,
        "unlabelled_texts": len(read),
        "batch_size_in_memory": 16,
    }
    assert told.items() <= run.version.parameters.items()
    given = mlflow.MlflowClient().get_run(run.version.run_id).data.params
    assert {name: str(value) for name, value in told.items()}.items() <= given.items()
    card = Path(run.version.artifact_uri.removeprefix("file://"), "README.md").read_text()
    for name, value in told.items():
        assert f"| {name} | {value} |" in card


def test_what_is_deleted_meanwhile_is_not_learned_from(
    taught: TrainingRun, caplog: pytest.LogCaptureFixture
) -> None:
    read = read_by_teacher(taught)
    gone = Post.objects.get(text=read[-1])
    labelled = Post.objects.get(text="the phone awful today")
    forget("x", [gone.external_id])
    forget("file", [labelled.external_id])
    messages: list[str] = []
    run = train.execute(
        taught.pk, progress=lambda share, said: messages.append(said), should_stop=after(3)
    )
    assert any(said.startswith("epoch 1/") for said in messages)
    assert not any(said.startswith("the teacher has judged") for said in messages)
    assert "2 texts that the teacher read are left out" in caplog.text
    assert read_by_teacher(run) == read[:-1]
    kept = json.loads((runs.folder_of(run) / "teacher" / TEXTS_FILE).read_text())["texts"]
    assert read[0] in kept and not {gone.text, labelled.text} & set(kept)
    # From here on it goes on again.
    train.execute(taught.pk, should_stop=after(20))
    run = train.execute(taught.pk, progress=at(0.1))
    assert run.status == "succeeded", run.error
    assert run.version is not None
    assert run.version.parameters["unlabelled_texts"] == len(read) - 1


@pytest.mark.parametrize("name", [TEXTS_FILE, LOGITS_FILE])
def test_opinions_that_are_broken_are_asked_for_again(taught: TrainingRun, name: str) -> None:
    path = runs.folder_of(taught) / "teacher" / name
    path.write_bytes(path.read_bytes()[:-9])
    messages: list[str] = []
    run = train.execute(taught.pk, progress=lambda share, said: messages.append(said))
    assert run.status == "succeeded", run.error
    assert any(said.startswith("the teacher has judged") for said in messages)
    # The same opinions: what was learned is no other.
    assert not any(said.startswith("epoch 1/") for said in messages)


def test_a_run_reads_the_file_that_it_began_with(
    labelled: LabelScheme, tiny_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("text,label\nthe garden wonderful today,positive\n")
    options = {"data": str(file)}
    run = train.request_training(labelled, options=options)
    run = train.execute(run.pk, should_stop=after(30))
    assert run.status == "interrupted"
    before = train.dataset_of(run).digest
    file.write_text("text,label\nthe garden awful today,negative\n")
    assert train.dataset_of(run).digest == before
    file.unlink()
    run = train.execute(run.pk, progress=at(0.2))
    assert run.status == "succeeded", run.error
    assert run.version is not None and run.version.dataset_digest == before
    assert run.version.parameters["data"] == "181 texts (180 annotated, 1 of the file)"


def test_a_file_that_another_machine_has_is_named_with_that_machine(
    labelled: LabelScheme, tiny_settings: Settings
) -> None:
    options = {"data": "/home/ann/labels.csv", "data_host": "ann-s-desk"}
    run = TrainingRun.objects.create(scheme=labelled, status="interrupted", options=options)
    with pytest.raises(LabelFileError) as raised:
        train.execute(run.pk)
    said = str(raised.value)
    assert "/home/ann/labels.csv" in said and "ann-s-desk had it" in said
    run.refresh_from_db()
    assert run.status == "failed" and said in run.error


def test_the_command_notes_whose_file_it_is_and_errors_name_that_file(
    labelled: LabelScheme, tiny_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps({"text": "so good", "label": "angry"}))
    with pytest.raises(CommandError, match=f"^{file}, line 1: 'angry' is not a label"):
        call_command("train", "--scheme", "mood", "--data", str(file))
    run = TrainingRun.objects.get()
    assert run.options["data"] == str(file) and run.options["data_host"] == socket.gethostname()


def test_posts_of_a_file_are_counted_once_they_are_deleted(
    labelled: LabelScheme, tiny_settings: Settings, tmp_path: Path
) -> None:
    tiny_settings.NUM_EPOCHS = 1
    known = post(0)
    file = tmp_path / "labels.csv"
    file.write_text(f"source,id,text,label\nx,{known.external_id},{known.text},neutral\n")
    run = train.execute(train.request_training(labelled, options={"data": str(file)}).pk)
    assert run.version is not None
    assert TrainingPost.objects.filter(version=run.version, post=known).exists()
    forget("x", [known.external_id])
    run.version.refresh_from_db()
    assert run.version.forgotten_posts == 1


def test_a_copy_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("text,label\nhi,positive\n")
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "writing-7").write_text("text,la")
    assert label_files.keep(file, folder).read_text() == file.read_text()
