"""The model registry: a real MLflow store on SQLite and a folder."""

import shutil
from pathlib import Path

import mlflow
import pytest
from pytest_django.fixtures import Settings

from modeling import registry
from modeling.exceptions import RegistryError
from modeling.ml import artifact
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "my model")


def register(folder: Path) -> registry.Registered:
    return registry.register(
        folder,
        scheme_key="mood",
        parameters={"epochs": 2, "base_model": "tiny"},
        metrics={"test_accuracy": 0.5},
        history=[{"loss": 1.0}, {"loss": 0.5}],
        tags={"origin": "test"},
    )


def test_a_registered_run_holds_parameters_figures_and_files(
    folder: Path, mlflow_store: Settings
) -> None:
    made = register(folder)
    client = mlflow.MlflowClient()
    run = client.get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "base_model": "tiny"}
    assert run.data.metrics == {"test_accuracy": 0.5, "loss": 0.5}
    assert run.data.tags["origin"] == "test"
    losses = client.get_metric_history(made.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.5)]
    files = {Path(item.path).name for item in client.list_artifacts(made.run_id, "model")}
    assert files == set(artifact.digests(folder))


def test_versions_are_counted_a_scheme(folder: Path, mlflow_store: Settings) -> None:
    assert [register(folder).version for _ in range(2)] == [1, 2]


def test_what_was_registered_can_be_served_from_where_it_lies(
    folder: Path, mlflow_store: Settings
) -> None:
    made = register(folder)
    local = registry.local_folder(made.artifact_uri, artifact.digests(folder))
    assert SentimentClassifier(local, threads=1).predict(["the food awful today"]) == ["negative"]


def test_an_altered_file_is_refused(folder: Path, mlflow_store: Settings) -> None:
    digests = artifact.digests(folder)
    made = register(folder)
    stored = registry.local_folder(made.artifact_uri, digests)
    (stored / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was registered"):
        registry.local_folder(made.artifact_uri, digests)


def test_a_lost_file_is_refused(folder: Path) -> None:
    digests = artifact.digests(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is missing"):
        registry.local_folder(folder.as_uri(), digests)


def test_a_folder_elsewhere_is_fetched_once(
    folder: Path, mlflow_store: Settings, tmp_path: Path
) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    digests = artifact.digests(folder)
    address = f"runs:/{register(folder).run_id}/model"
    local = registry.local_folder(address, digests)
    assert local.parent == tmp_path / "cache"
    assert artifact.digests(local) == digests
    # A second look needs no registry, and leaves nothing but the folder behind.
    mlflow_store.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    assert registry.local_folder(address, digests) == local
    assert list((tmp_path / "cache").iterdir()) == [local]


def test_what_is_nowhere_cannot_be_fetched(mlflow_store: Settings, tmp_path: Path) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    with pytest.raises(RegistryError, match="cannot be fetched"):
        registry.local_folder("runs:/" + "0" * 32 + "/model", {"model.onnx": "0" * 64})
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_altered_file_is_not_kept_when_it_is_fetched(
    folder: Path, mlflow_store: Settings, tmp_path: Path
) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    address = f"runs:/{register(folder).run_id}/model"
    with pytest.raises(ArtifactError):
        registry.local_folder(address, {"model.onnx": "0" * 64})
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_refusal_names_the_registry(folder: Path, mlflow_store: Settings) -> None:
    with pytest.raises(RegistryError, match="sqlite:"):
        registry.register(folder, scheme_key="mood", parameters={}, metrics={"a b:c*": 1.0})


def test_an_alias_of_an_unknown_model_is_refused(mlflow_store: Settings) -> None:
    with pytest.raises(RegistryError, match="did not move the alias"):
        registry.set_alias("nothing", "champion", 1)
