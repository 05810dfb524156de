"""The model registry: with `mlflow_package`, the only importer of MLflow.

MLflow is imported when it is first needed: it takes seconds, and a process that serves a model
from a local folder never needs it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

from modeling import mlflow_package
from modeling.exceptions import RegistryError
from modeling.ml import artifact
from modeling.ml.base_model import sha256

logger = logging.getLogger(__name__)

ARTIFACT_PATH = "model"
REPORTS_PATH = "reports"
# Tags of a run by which a registration that was cut short is found again.
TRAINING_RUN_TAG = "training_run"
INSTALLATION_TAG = "installation"
# Schemes of a tracking server, rather than of a store that this process opens itself.
SERVERS = {"http", "https"}
# What MLflow's store holds of a data set's digest.
DIGEST_CHARS = 36


@dataclass(frozen=True)
class Registered:
    """What the registry calls the version: its number, its run, where its files lie, and the
    digests of those."""

    version: int
    run_id: str
    artifact_uri: str
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataNote:
    """What MLflow is told of the data: name, digest, and the number of texts by set and label."""

    name: str
    digest: str
    sizes: Mapping[str, Mapping[str, int]]


def _mlflow() -> Any:
    import mlflow
    from mlflow import environment_variables as variables

    # Its seven retries take four minutes, and whoever promotes waits for them; its progress bars
    # end up in log files.
    for variable, value in (
        (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, 2),
        (variables.MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR, 1),
        (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, 30),
        (variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, False),
    ):
        if not variable.is_set():
            variable.set(value)
    # MLflow narrates every registration; our own progress says enough.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(_tracking_uri())
    return mlflow


def _tracking_uri() -> str:
    """What MLflow is given. A server's user and password go to its own variables: it would write
    an address that holds them into every error."""
    from mlflow import environment_variables as variables

    parts = urlsplit(settings.MLFLOW_TRACKING_URI)
    if parts.scheme not in SERVERS or parts.username is None:
        return settings.MLFLOW_TRACKING_URI
    variables.MLFLOW_TRACKING_USERNAME.set(unquote(parts.username))
    variables.MLFLOW_TRACKING_PASSWORD.set(unquote(parts.password or ""))
    return _address()


def _address() -> str:
    """Where MLflow is, without user and password: many may read an error."""
    uri = settings.MLFLOW_TRACKING_URI
    secret, at, _ = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(secret + at, "", 1)


@contextmanager
def _client(refusal: str) -> Iterator[Any]:
    """MLflow's client; what it refuses becomes a RegistryError that starts with `refusal`."""
    mlflow = _mlflow()
    try:
        yield mlflow.MlflowClient()
    except mlflow.exceptions.MlflowException as error:
        raise RegistryError(f"{refusal}: {error}") from error


def _experiment(client: Any, scheme_key: str) -> str:
    """The id of the scheme's experiment, made when it is missing."""
    if found := client.get_experiment_by_name(scheme_key):
        return str(found.experiment_id)
    remote = urlsplit(settings.MLFLOW_TRACKING_URI).scheme in SERVERS
    root = None if remote else str(Path(settings.MLFLOW_ARTIFACT_ROOT, scheme_key))
    return str(client.create_experiment(scheme_key, artifact_location=root))


def _installation() -> str:
    """Tells this installation's training runs from those of others with the same tracking server:
    each counts its runs from 1."""
    return salted_hmac("modeling.registry", "installation").hexdigest()[:16]


def register(
    folder: Path,
    *,
    scheme_key: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
    reports: Path | None = None,
    data: DataNote | None = None,
    training_run: int | None = None,
) -> Registered:
    """Log a trained folder as a run and register it as the next version of `scheme_key`.

    `history` holds one mapping of metrics an epoch; the files of `reports` (plots, tables) go
    beside the model. The folder is sealed: its digests are written into it. A `training_run` that
    has registered these very weights before gets that version again; what it left half done is
    marked as failed. Raises RegistryError when MLflow refuses.
    """
    artifact.seal(folder)
    with _client(f"MLflow at {_address()} refused the model") as client:
        experiment = _experiment(client, scheme_key)
        owner = {} if training_run is None else _owner(training_run)
        if training_run is not None:
            found = _take_up(client, experiment, scheme_key, training_run, folder)
            if found is not None:
                return found
        run = client.create_run(experiment, tags=owner)
        run_id = run.info.run_id
        try:
            _log(client, run_id, parameters, metrics, history, data)
            if reports is not None:
                client.log_artifacts(run_id, str(reports), REPORTS_PATH)
            _log_model(client, run_id, folder, scheme_key)
            version = _create_version(client, scheme_key, run, owner)
            client.set_terminated(run_id)
        except BaseException:
            _give_up(client, run_id)
            raise
    return Registered(int(version.version), run_id, _model_uri(run), dict(artifact.digests(folder)))


def _owner(training_run: int) -> dict[str, str]:
    return {TRAINING_RUN_TAG: str(training_run), INSTALLATION_TAG: _installation()}


def _log(
    client: Any,
    run_id: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    data: DataNote | None,
) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    points = [
        Metric(name, float(value), now, step)
        for step, epoch in enumerate(history, start=1)
        for name, value in epoch.items()
    ]
    points += [Metric(name, float(value), now, 0) for name, value in metrics.items()]
    # In batches: one by one, each figure costs a round trip to the server.
    given = [Param(name, str(value)) for name, value in parameters.items()]
    for start in range(0, len(given), 100):
        client.log_batch(run_id, params=given[start : start + 100])
    for start in range(0, len(points), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000])
    if data is not None:
        client.log_inputs(run_id, _inputs(data))


def _inputs(data: DataNote) -> list[Any]:
    """One data set a split, of which MLflow shows name, digest and label counts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    contexts = {"train": "training", "validation": "validation", "test": "testing"}
    return [
        DatasetInput(
            Dataset(
                name=f"{data.name}-{split}",
                digest=hashlib.sha256(f"{data.digest} {split}".encode()).hexdigest()[:DIGEST_CHARS],
                source_type="local",
                source=json.dumps({"dataset_digest": data.digest, "split": split}),
                profile=json.dumps({"num_rows": sum(counts.values()), "labels": counts}),
            ),
            [InputTag("mlflow.data.context", contexts.get(split, split))],
        )
        for split, counts in data.sizes.items()
    ]


def _log_model(client: Any, run_id: str, folder: Path, scheme_key: str) -> None:
    """The folder, and beside its files what makes it an MLflow model."""
    with tempfile.TemporaryDirectory() as temporary:
        wrapping = mlflow_package.write(folder, Path(temporary), run_id, ARTIFACT_PATH)
        client.log_artifacts(run_id, str(wrapping), ARTIFACT_PATH)
    client.log_artifacts(run_id, str(folder), ARTIFACT_PATH)


def _model_uri(run: Any) -> str:
    return f"{run.info.artifact_uri}/{ARTIFACT_PATH}"


def _create_version(client: Any, scheme_key: str, run: Any, owner: Mapping[str, str]) -> Any:
    if not client.search_registered_models(f"name='{scheme_key}'"):
        client.create_registered_model(scheme_key)
    return client.create_model_version(
        scheme_key, source=_model_uri(run), run_id=run.info.run_id, tags=dict(owner)
    )


def _give_up(client: Any, run_id: str) -> None:
    """Mark a run as failed. What stopped the registration is raised, not what goes wrong here."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_terminated(run_id, "FAILED")
    except MlflowException as error:
        logger.warning("MLflow's run %s stays open: %s", run_id, error)


def _runs_of(client: Any, experiment: str, training_run: int) -> list[Any]:
    """MLflow's runs of one training run, newest first."""
    wanted = " and ".join(
        f"tags.{name} = '{value}'" for name, value in _owner(training_run).items()
    )
    return list(client.search_runs([experiment], wanted, order_by=["attributes.start_time DESC"]))


def _version_of(client: Any, scheme_key: str, run: Any) -> Registered | None:
    """The version that an MLflow run became; None without one, or without its list of files."""
    from mlflow.exceptions import MlflowException

    wanted = f"name='{scheme_key}' and run_id='{run.info.run_id}'"
    versions = client.search_model_versions(wanted)
    if not versions:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        path = f"{ARTIFACT_PATH}/{artifact.SUMS_FILE}"
        try:
            got = Path(client.download_artifacts(run.info.run_id, path, temporary))
            digests = artifact.sealed(got.parent) | {artifact.SUMS_FILE: sha256(got)}
        except (MlflowException, artifact.ArtifactError, OSError) as error:
            logger.warning("version %s of MLflow is not whole: %s", versions[0].version, error)
            return None
    return Registered(int(versions[0].version), run.info.run_id, _model_uri(run), digests)


def _take_up(
    client: Any, experiment: str, scheme_key: str, training_run: int, folder: Path
) -> Registered | None:
    """The version of an earlier attempt, if it holds the same weights.

    Other attempts are marked as failed: an open run without a version was cut short, and a
    version of other weights is none that anybody serves.
    """
    weights = artifact.digests(folder).get(artifact.WEIGHTS_FILE)
    taken = None
    for run in _runs_of(client, experiment, training_run):
        found = _version_of(client, scheme_key, run)
        same = found is not None and found.digests.get(artifact.WEIGHTS_FILE) == weights
        if taken is None and same:
            taken = found
            client.set_terminated(run.info.run_id)
        elif run.info.status != "FAILED":
            client.set_terminated(run.info.run_id, "FAILED")
            logger.warning(
                "MLflow's run %s of training run %s was cut short", run.info.run_id, training_run
            )
    return taken


def set_alias(scheme_key: str, alias: str, version: int) -> None:
    """Point MLflow's alias (`champion`, `challenger`) at a version. Safe to repeat."""
    with _client(f"MLflow did not move the alias {alias!r}") as client:
        client.set_registered_model_alias(scheme_key, alias, str(version))


def clear_alias(scheme_key: str, alias: str) -> None:
    """Take an alias away. Safe to repeat, and for a scheme that has no model yet."""
    with _client(f"MLflow did not clear the alias {alias!r}") as client:
        if client.search_registered_models(f"name='{scheme_key}'"):
            client.delete_registered_model_alias(scheme_key, alias)


def folder_of(artifact_uri: str, digests: Mapping[str, str]) -> Path:
    """Where the version's files lie on this machine, or would once they are fetched."""
    parts = urlsplit(artifact_uri)
    if parts.scheme in {"", "file"}:
        return Path(unquote(parts.path))
    key = json.dumps(sorted(digests.items()))
    return Path(settings.MODEL_CACHE_DIR, hashlib.sha256(key.encode()).hexdigest()[:16])


def local_folder(artifact_uri: str, digests: Mapping[str, str]) -> Path:
    """A folder on this machine that holds the version's files, fetched once, digests checked.

    A fetched copy that has been damaged is fetched again. Raises
    `modeling.ml.artifact.ArtifactError` when a file is missing or altered, RegistryError when the
    files cannot be fetched.
    """
    folder = folder_of(artifact_uri, digests)
    if urlsplit(artifact_uri).scheme in {"", "file"}:
        artifact.verify(folder, digests)
        return folder
    if folder.is_dir():
        try:
            artifact.verify(folder, digests)
            return folder
        except artifact.ArtifactError as error:
            logger.warning("%s; fetching the model again", error)
    _fetch(artifact_uri, digests, folder)
    return folder


def _fetch(artifact_uri: str, digests: Mapping[str, str], folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            got = _download(artifact_uri, Path(temporary, "new"))
            artifact.verify(got, digests)
            _put_in_place(got, folder, Path(temporary, "old"))
    except OSError as error:
        raise RegistryError(
            f"{artifact_uri} cannot be kept in {folder.parent}, a folder to write to: {error}"
        ) from error


def _download(artifact_uri: str, target: Path) -> Path:
    try:
        return Path(_mlflow().artifacts.download_artifacts(artifact_uri, dst_path=str(target)))
    except Exception as error:  # the stores behind MLflow raise classes that share no base
        raise RegistryError(f"{artifact_uri} cannot be fetched: {error}") from error


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Renaming is atomic: another process sees a whole folder or none."""
    try:
        if folder.is_dir():
            folder.rename(old)
        new.rename(folder)
    except OSError:
        # Another process was quicker; what it put there is as good, or the next look tells.
        if not folder.is_dir():
            raise
        shutil.rmtree(new, ignore_errors=True)
