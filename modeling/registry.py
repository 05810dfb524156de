"""The model registry: the only importer of MLflow.

MLflow is imported when it is first needed: it takes seconds, and a process that serves a model
from a local folder never needs it.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings

from modeling.exceptions import RegistryError
from modeling.ml import artifact

logger = logging.getLogger(__name__)

ARTIFACT_PATH = "model"


@dataclass(frozen=True)
class Registered:
    """What the registry calls the version: its number, its run and where its files lie."""

    version: int
    run_id: str
    artifact_uri: str


def _mlflow() -> Any:
    import mlflow
    from mlflow import environment_variables as variables

    # Its seven retries take four minutes, and whoever promotes waits for them.
    for variable, value in (
        (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, 2),
        (variables.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, 1),
        (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, 30),
    ):
        if not variable.is_set():
            variable.set(value)
    # MLflow narrates every registration; our own progress says enough.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(settings.MLFLOW_TRACKING_URI)
    return mlflow


def _experiment(client: Any, scheme_key: str) -> str:
    """The id of the scheme's experiment, made when it is missing."""
    if found := client.get_experiment_by_name(scheme_key):
        return str(found.experiment_id)
    remote = urlsplit(settings.MLFLOW_TRACKING_URI).scheme in {"http", "https"}
    root = None if remote else str(Path(settings.MLFLOW_ARTIFACT_ROOT, scheme_key))
    return str(client.create_experiment(scheme_key, artifact_location=root))


def register(
    folder: Path,
    *,
    scheme_key: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
    tags: Mapping[str, str] | None = None,
) -> Registered:
    """Log a trained folder as a run and register it as the next version of `scheme_key`.

    `history` holds one mapping of metrics an epoch. Raises RegistryError when MLflow refuses.
    """
    mlflow = _mlflow()
    client = mlflow.MlflowClient()
    try:
        run = client.create_run(_experiment(client, scheme_key), tags=dict(tags or {}))
        run_id = run.info.run_id
        for name, value in parameters.items():
            client.log_param(run_id, name, value)
        for step, epoch in enumerate(history, start=1):
            for name, value in epoch.items():
                client.log_metric(run_id, name, value, step=step)
        for name, value in metrics.items():
            client.log_metric(run_id, name, value)
        client.log_artifacts(run_id, str(folder), ARTIFACT_PATH)
        client.set_terminated(run_id)
        if not client.search_registered_models(f"name='{scheme_key}'"):
            client.create_registered_model(scheme_key)
        uri = f"{run.info.artifact_uri}/{ARTIFACT_PATH}"
        version = client.create_model_version(scheme_key, source=uri, run_id=run_id)
    except mlflow.exceptions.MlflowException as error:
        raise RegistryError(
            f"MLflow at {settings.MLFLOW_TRACKING_URI} refused the model: {error}"
        ) from error
    return Registered(int(version.version), run_id, uri)


def set_alias(scheme_key: str, alias: str, version: int) -> None:
    """Point MLflow's alias (`champion`, `challenger`) at a version. Safe to repeat."""
    mlflow = _mlflow()
    try:
        mlflow.MlflowClient().set_registered_model_alias(scheme_key, alias, str(version))
    except mlflow.exceptions.MlflowException as error:
        raise RegistryError(f"MLflow did not move the alias {alias!r}: {error}") from error


def local_folder(artifact_uri: str, digests: Mapping[str, str]) -> Path:
    """A folder on this machine that holds the version's files, fetched once, digests checked.

    Raises `modeling.ml.artifact.ArtifactError` when a file is missing or altered, RegistryError
    when the files cannot be fetched.
    """
    parts = urlsplit(artifact_uri)
    if parts.scheme in {"", "file"}:
        folder = Path(unquote(parts.path))
    else:
        folder = _fetched(artifact_uri, digests)
    artifact.verify(folder, digests)
    return folder


def _fetched(artifact_uri: str, digests: Mapping[str, str]) -> Path:
    key = digests.get(artifact.ONNX_FILE) or digests.get("model.safetensors", "model")
    folder = Path(settings.MODEL_CACHE_DIR, key[:16])
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        mlflow = _mlflow()
        try:
            got = mlflow.artifacts.download_artifacts(artifact_uri, dst_path=temporary)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise RegistryError(f"{artifact_uri} cannot be fetched: {error}") from error
        artifact.verify(Path(got), digests)
        # Renaming is atomic: another process sees the whole folder or none.
        try:
            Path(got).rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(got, ignore_errors=True)
    return folder
