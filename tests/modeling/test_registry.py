"""The model registry: a real MLflow store on SQLite and a folder."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
from pytest_django.fixtures import Settings

from modeling import mlflow_model, registry
from modeling.exceptions import RegistryError
from modeling.ml import artifact
from modeling.ml.artifact import ArtifactError
from modeling.ml.classifier import SentimentClassifier


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "my model")


def register(folder: Path, training_run: int | None = None) -> registry.Registered:
    reports = folder.parent / "reports"
    reports.mkdir(exist_ok=True)
    (reports / "table.json").write_text("{}")
    return registry.register(
        folder,
        reports=reports,
        data=registry.DataNote("mood", "d" * 64, {"train": {"positive": 3, "negative": 4}}),
        training_run=training_run,
        scheme_key="mood",
        parameters={"epochs": 2, "base_model": "tiny"},
        metrics={"test_accuracy": 0.5},
        history=[{"loss": 1.0}, {"loss": 0.5}],
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
    losses = client.get_metric_history(made.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(1, 1.0), (2, 0.5)]
    files = {Path(item.path).name for item in client.list_artifacts(made.run_id, "model")}
    assert files >= {*artifact.digests(folder), "MLmodel", "requirements.txt", "code"}
    assert made.digests == artifact.digests(folder)
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "mood-train" and json.loads(data.dataset.profile)["num_rows"] == 7
    assert [item.path for item in client.list_artifacts(made.run_id, "reports")] == [
        "reports/table.json"
    ]


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
    assert artifact.digests(local).items() >= digests.items()
    # A second look needs no registry, and leaves nothing but the folder behind.
    mlflow_store.MLFLOW_TRACKING_URI = "http://127.0.0.1:9"
    assert registry.local_folder(address, digests) == local
    assert list((tmp_path / "cache").iterdir()) == [local]


def test_a_fetched_copy_that_was_damaged_is_fetched_again(
    folder: Path, mlflow_store: Settings, tmp_path: Path
) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    made = register(folder)
    address = f"runs:/{made.run_id}/model"
    local = registry.local_folder(address, made.digests)
    (local / "model.onnx").write_bytes(b"rot")
    assert registry.local_folder(address, made.digests) == local
    assert artifact.digests(local).items() >= made.digests.items()
    assert list((tmp_path / "cache").iterdir()) == [local]


def test_what_is_nowhere_cannot_be_fetched(mlflow_store: Settings, tmp_path: Path) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    with pytest.raises(RegistryError, match="cannot be fetched"):
        registry.local_folder("runs:/" + "0" * 32 + "/model", {"model.onnx": "0" * 64})
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_registry_error(
    folder: Path, mlflow_store: Settings, tmp_path: Path
) -> None:
    made = register(folder)
    # No rights keep root from writing; a file in the folder's place does.
    (tmp_path / "cache").write_text("full")
    for place in ("cache", "cache/below"):
        mlflow_store.MODEL_CACHE_DIR = tmp_path / place
        with pytest.raises(RegistryError, match=f"cannot be kept in {tmp_path / place}"):
            registry.local_folder(f"runs:/{made.run_id}/model", made.digests)


def test_a_store_that_mlflow_does_not_know_is_a_registry_error(
    mlflow_store: Settings, tmp_path: Path
) -> None:
    mlflow_store.MODEL_CACHE_DIR = tmp_path / "cache"
    for address in ("gopher://store/model", "s3://store/model"):
        with pytest.raises(RegistryError, match=f"{address} cannot be fetched"):
            registry.local_folder(address, {"model.onnx": "0" * 64})


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


def test_a_server_is_told_the_password_and_no_error_tells_it(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_error(403)

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        # Set and taken away again, so that what the registry sets ends with the test.
        monkeypatch.setenv(name, "")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        settings.MLFLOW_TRACKING_URI = f"http://ann:s3cr%40t@{host}"
        with pytest.raises(RegistryError) as raised:
            registry.register(folder, scheme_key="mood", parameters={}, metrics={})
        server.shutdown()
    assert f"MLflow at http://{host} refused the model" in str(raised.value)
    told = "".join(traceback.format_exception(raised.value))
    assert "s3cr" not in told and "403" in told
    assert heard[0] == "Basic " + base64.b64encode(b"ann:s3cr@t").decode()


def test_an_alias_of_an_unknown_model_is_refused(mlflow_store: Settings) -> None:
    with pytest.raises(RegistryError, match="did not move the alias"):
        registry.set_alias("nothing", "champion", 1)


def test_aliases_move_and_go(folder: Path, mlflow_store: Settings) -> None:
    made = register(folder)
    registry.set_alias("mood", "challenger", made.version)
    client = mlflow.MlflowClient()
    assert client.get_registered_model("mood").aliases == {"challenger": 1}
    for scheme in ("mood", "mood", "nothing"):
        registry.clear_alias(scheme, "challenger")
    assert client.get_registered_model("mood").aliases == {}


def test_a_training_run_registers_its_weights_once(folder: Path, mlflow_store: Settings) -> None:
    made = register(folder, training_run=12)
    assert register(folder, training_run=12) == made
    # Another installation's twelfth run, at the same server, is another one.
    mlflow_store.SECRET_KEY = "of somebody else"
    assert register(folder, training_run=12).version == 2


def test_a_registration_that_was_cut_short_is_marked_and_done_again(
    folder: Path, mlflow_store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # As after a kill -9: nobody closes the run.
        patch.setattr(registry, "_give_up", lambda client, run_id: None)
        patch.setattr(registry, "_create_version", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            register(folder, training_run=12)
    made = register(folder, training_run=12)
    assert made.version == 1
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "mood"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_id == made.run_id: run.info.status for run in runs} == {
        True: "FINISHED",
        False: "FAILED",
    }


def test_a_version_of_other_weights_is_not_taken_up(folder: Path, mlflow_store: Settings) -> None:
    first = register(folder, training_run=12)
    (folder / "model.safetensors").write_bytes(b"trained anew")
    second = register(folder, training_run=12)
    assert second.version == 2
    assert mlflow.MlflowClient().get_run(first.run_id).info.status == "FAILED"
    assert register(folder, training_run=12) == second


def test_a_refused_registration_leaves_no_open_run(folder: Path, mlflow_store: Settings) -> None:
    with pytest.raises(RegistryError):
        registry.register(folder, scheme_key="mood", parameters={}, metrics={"a b:c*": 1.0})
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "mood"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "code/x", "..", "", "a\\b"])
def test_a_name_that_leads_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="not the name of a file"):
        registry.local_folder(str(folder), {name: "0" * 64})


def test_a_link_is_refused(folder: Path) -> None:
    digests = artifact.digests(folder)
    real = folder / "model.onnx"
    real.rename(folder.parent / "elsewhere.onnx")
    real.symlink_to(folder.parent / "elsewhere.onnx")
    with pytest.raises(ArtifactError, match="is a link"):
        registry.local_folder(str(folder), digests)
    with pytest.raises(ArtifactError, match="is a link"):
        artifact.digests(folder)


OUTSIDE = """
import json, sys
import mlflow, pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
frame = model.predict(pd.DataFrame({"text": ["the food awful today", "the film love today"]}))
example = model.predict(model.input_example)
print(json.dumps({
    "rows": frame.to_dict("records"),
    "examples": len(example),
    "signature": model.metadata.signature.to_dict()["inputs"],
    "loaded": [name for name in ("django", "torch", "cloudpickle") if name in sys.modules],
    "code": sys.modules["modeling"].__file__,
}))
"""


def test_mlflow_loads_the_model_outside_this_project(
    folder: Path, mlflow_store: Settings, tmp_path: Path
) -> None:
    made = register(folder)
    away = tmp_path / "away"
    away.mkdir()
    stored = registry.folder_of(made.artifact_uri, made.digests)
    done = subprocess.run(
        [sys.executable, "-I", "-c", OUTSIDE, str(stored)],
        cwd=away,
        env={"PATH": os.environ["PATH"], "HOME": str(away)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["label"] for row in told["rows"]] == ["negative", "positive"]
    for row in told["rows"]:
        assert row["confidence"] == max(row["scores"].values())
        assert sum(row["scores"].values()) == pytest.approx(1)
    assert told["examples"] == 3 and json.loads(told["signature"])[0]["name"] == "text"
    assert "django" not in told["loaded"] and "torch" not in told["loaded"]
    assert told["code"].startswith(str(stored))


def test_the_packaged_model_checks_its_files_and_takes_lists(folder: Path) -> None:
    artifact.seal(folder)
    model = mlflow_model._load_pyfunc(str(folder))
    assert model.predict(["the food awful today", None])["label"].iloc[0] == "negative"
    assert list(model.predict([]).columns) == ["label", "confidence", "scores"]
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not the file"):
        mlflow_model._load_pyfunc(str(folder))


def test_a_local_model_is_served_without_mlflow(folder: Path) -> None:
    code = (
        "import sys; from modeling import registry; "
        f"registry.local_folder({str(folder)!r}, {artifact.digests(folder)!r}); "
        "assert not {'mlflow', 'matplotlib', 'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
