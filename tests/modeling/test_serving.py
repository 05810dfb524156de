"""The process's engine: loading, failing to load, and what it says of itself."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.test import Client
from pytest_django.fixtures import Settings

from ingestion.signals import alert_raised
from modeling import serving
from modeling.exceptions import EngineOverloaded, ModelUnavailable, NoChampion
from modeling.ml import artifact
from modeling.ml.base_model import sha256
from modeling.models import LabelScheme, ModelVersion
from tests.conftest import table_away
from tests.modeling.broken import of_newer_format
from tests.modeling.threads import at_once

# Alerts leave after the commit.
pytestmark = pytest.mark.django_db(transaction=True)

JSON = "application/json"
BROKEN = {"model.onnx": "0" * 64}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    serving.reset()
    yield
    serving.reset()


@pytest.fixture
def alerts() -> Iterator[list[tuple[str, bool]]]:
    heard: list[tuple[str, bool]] = []

    def listen(kind: str, active: bool, **kwargs: Any) -> None:
        heard.append((kind, active))

    alert_raised.connect(listen)
    yield heard
    alert_raised.disconnect(listen)


def test_nothing_is_loaded_until_it_is_asked_for(champion: ModelVersion) -> None:
    assert serving.status()["loaded"] is False
    serving.champion()
    assert serving.status() == {
        "version": "1",
        "loaded": True,
        "backend": "onnx-int8",
        "error": "",
    }


def test_looking_again_within_the_interval_asks_the_database_nothing(
    champion: ModelVersion,
    django_assert_num_queries: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The interval begins before the model is loaded, which may take longer than a second.
    monkeypatch.setattr(serving, "CHECK_SECONDS", 3600)
    first = serving.champion()
    with django_assert_num_queries(0):
        assert serving.champion() is first


def test_the_only_champion_broken_is_an_error_and_an_alert(
    make_version: Callable[..., ModelVersion],
    alerts: list[tuple[str, bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", 0)
    version = make_version(1, stage="champion", artifact_digests=BROKEN)
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="version 1 cannot be loaded"):
            serving.champion()
    # Told once, however often it is tried.
    assert alerts == [("model", True)]
    ModelVersion.objects.filter(pk=version.pk).update(artifact_digests={})
    assert serving.champion().version == "1"
    assert alerts == [("model", True), ("model", False)]
    assert serving.status()["error"] == ""


def test_a_champion_that_cannot_be_loaded_is_not_verified_for_every_request(
    make_version: Callable[..., ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", 3600)
    make_version(1, stage="champion", artifact_digests={"config.json": "0" * 64})
    hashed: list[Path] = []
    monkeypatch.setattr(artifact, "sha256", lambda path: hashed.append(path) or sha256(path))
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="version 1 cannot be loaded"):
            serving.champion()
    assert len(hashed) == 1


def test_a_database_that_is_away_leaves_the_champion_serving(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serving.champion()
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    with table_away("modeling_modelversion"):
        assert serving.champion() is first


def test_a_version_takes_no_judgement_of_another_that_bore_its_number(
    champion: ModelVersion, tiny_model: Path, tmp_path: Path, make_version: Callable[..., Any]
) -> None:
    if not project.REDIS_URL:
        pytest.skip("REDIS_URL is not set")
    text = f"the food awful {tmp_path}"
    (before,) = serving.champion().classify([text])
    # As after a restored backup, or beside another site on the same Redis.
    folder = shutil.copytree(tiny_model, tmp_path / "other")
    path = folder / artifact.SETTINGS_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "temperature": 9.0}))
    ModelVersion.objects.filter(pk=champion.pk).update(
        artifact_uri=str(folder), artifact_digests=artifact.digests(folder)
    )
    serving.reset()
    (after,) = serving.champion().classify([text])
    assert after.confidence < before.confidence


def test_a_scheme_without_a_champion_is_told_apart(
    champion: ModelVersion, own_scheme: LabelScheme
) -> None:
    with pytest.raises(NoChampion):
        serving.champion(own_scheme.key)
    assert serving.champion().version == "1"


def test_the_answers_are_plain_probabilities(champion: ModelVersion) -> None:
    (item,) = serving.champion().classify(["the food awful today"])
    assert item.label == max(item.scores, key=lambda label: item.scores[label])
    assert set(item.scores) == {"negative", "neutral", "positive"}
    assert not item.truncated


def test_no_texts_are_no_answers(champion: ModelVersion) -> None:
    assert serving.champion().classify([]) == []


def test_an_overfull_queue_is_a_domain_error(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serving.champion()
    # As if others' texts were waiting.
    monkeypatch.setattr(served.engine, "_queued", 20_000)
    monkeypatch.setattr(served.engine, "_queued_tokens", 500_000)
    with pytest.raises(EngineOverloaded, match="20000 texts are waiting"):
        served.classify(["hello"])


@pytest.mark.django_db(transaction=True)
def test_threads_that_ask_at_once_share_one_engine(champion: ModelVersion) -> None:
    assert len({id(outcome) for outcome in at_once(serving.champion, 4)}) == 1


@pytest.fixture
def served_copy(
    tiny_model: Path, tmp_path: Path, make_version: Callable[..., ModelVersion]
) -> tuple[Path, ModelVersion]:
    """A champion of its own files, which a test may spoil."""
    folder = shutil.copytree(tiny_model, tmp_path / "served")
    return folder, make_version(1, stage="champion", artifact_uri=str(folder))


@pytest.mark.parametrize("name", ["model.int8.onnx", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("is_missing", [True, False])
def test_files_that_rot_while_they_serve_degrade_health_and_are_told_once(
    served_copy: tuple[Path, ModelVersion],
    alerts: list[tuple[str, bool]],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_missing: bool,
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    path = served_copy[0] / name
    assert client.get("/health").json()["status"] == "ok"
    whole = path.read_bytes()
    if is_missing:
        path.unlink()
    else:
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for _ in range(2):
        health = client.get("/health")
        assert health.status_code == 200 and health.json()["status"] == "degraded"
        assert name in health.json()["model"]["error"]
    said = client.post("/predict", {"text": "the food awful today"}, content_type=JSON)
    assert said.json()["label"] == "negative"
    assert alerts == [("model", True)]
    path.write_bytes(whole)
    assert client.get("/health").json()["status"] == "ok"
    assert alerts == [("model", True), ("model", False)]


def test_a_new_champion_of_corrupt_files_leaves_the_old_one_serving(
    champion: ModelVersion,
    tiny_model: Path,
    tmp_path: Path,
    make_version: Callable[..., ModelVersion],
    alerts: list[tuple[str, bool]],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    assert serving.champion().version == "1"
    folder = shutil.copytree(tiny_model, tmp_path / "next")
    (folder / "model.int8.onnx").write_bytes(b"not a network")
    ModelVersion.objects.filter(pk=champion.pk).update(stage="archived")
    make_version(2, stage="champion", artifact_uri=str(folder))
    said = client.post("/predict", {"text": "the food awful today"}, content_type=JSON)
    assert said.json()["model_version"] == "1"
    health = client.get("/health").json()
    assert health["status"] == "degraded" and "version 2" in health["model"]["error"]
    assert alerts == [("model", True)]
    shutil.copy(tiny_model / "model.int8.onnx", folder)
    assert serving.champion().version == "2"
    assert client.get("/health").json()["status"] == "ok"


def unreadable_tokenizer(folder: Path, version: ModelVersion) -> None:
    of_newer_format(folder)
    version.artifact_digests = artifact.digests(folder)


def unfit_network(folder: Path, version: ModelVersion) -> None:
    path = folder / artifact.SETTINGS_FILE
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "labels": [*said["labels"], "mixed"]}))
    version.artifact_digests = artifact.digests(folder)


def nowhere_to_fetch_to(folder: Path, version: ModelVersion) -> None:
    version.artifact_uri = "runs:/" + "0" * 32 + "/model"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unreadable_tokenizer, "tokenizer.json cannot be loaded"),
        (unfit_network, "cannot judge with onnx-int8"),
        (nowhere_to_fetch_to, "cannot be kept in"),
    ],
)
def test_whatever_keeps_a_new_champion_from_loading_the_old_one_serves(
    champion: ModelVersion,
    tiny_model: Path,
    tmp_path: Path,
    make_version: Callable[..., ModelVersion],
    alerts: list[tuple[str, bool]],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    spoil: Callable[[Path, ModelVersion], None],
    words: str,
) -> None:
    (tmp_path / "cache").write_text("a file in the folder's place")
    settings.MODEL_CACHE_DIR = tmp_path / "cache"
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    assert client.get("/health").json()["status"] == "ok"
    folder = shutil.copytree(tiny_model, tmp_path / "next")
    version = make_version(2, artifact_uri=str(folder))
    spoil(folder, version)
    ModelVersion.objects.filter(pk=champion.pk).update(stage="archived")
    version.stage = ModelVersion.Stage.CHAMPION
    version.save()
    for _ in range(2):
        health = client.get("/health")
        assert health.status_code == 200 and health.json()["status"] == "degraded"
        said = health.json()["model"]
        assert said["version"] == "1" and words in said["error"]
    answer = client.post("/predict", {"text": "the food awful today"}, content_type=JSON)
    assert answer.json()["model_version"] == "1"
    assert alerts == [("model", True)]
    # What starts now has nothing to serve, and says so.
    serving.reset()
    health = client.get("/health")
    assert health.status_code == 503 and words in health.json()["model"]["error"]


def test_nothing_is_loaded_again_by_who_looked_when_all_was_forgotten(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.champion()
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    began, go_on = threading.Event(), threading.Event()
    look = serving._look

    def slowly(scheme_key: str) -> serving.Served:
        began.set()
        assert go_on.wait(30)
        return look(scheme_key)

    monkeypatch.setattr(serving, "_look", slowly)
    asyncio.run(serving.achampion())
    assert began.wait(30)
    forgetting = threading.Thread(target=serving.reset)
    forgetting.start()
    # Time enough to forget too early.
    forgetting.join(0.2)
    go_on.set()
    forgetting.join(30)
    serving._watcher.submit(bool).result(30)
    assert serving.status()["loaded"] is False


def test_files_that_are_whole_are_hashed_once(
    champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "CHECK_SECONDS", -1)
    hashed: list[Path] = []
    monkeypatch.setattr(artifact, "sha256", lambda path: hashed.append(path) or sha256(path))
    for _ in range(3):
        serving.champion()
    assert len(hashed) == len(champion.artifact_digests)
