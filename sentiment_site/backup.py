"""One consistent copy of everything that cannot be made again: database, registry, model files.

The database is read as of one moment, first; what it names of the registry was there before, and
model files never change, so that what is copied afterwards holds all of it. The whole is in place
when its folder bears its name.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Replace

from modeling import registry, serving
from modeling.exceptions import ModelingError
from modeling.ml import artifact
from modeling.ml.artifact import ArtifactError
from modeling.ml.base_model import sha256
from modeling.ml.classifier import SentimentClassifier
from modeling.models import ModelVersion

FORMAT = 1
MANIFEST = "backup.json"
DATABASES = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
REGISTRY = "mlflow.sqlite3"
ARTIFACTS = "mlflow-artifacts"
MODELS = "models"
SPILL = "spill"
# Where MLflow's own store holds addresses of files.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
# Judged when a backup is made, and again when it is restored.
PROBES = (
    "I love this, what a wonderful day",
    "two hours late again and nobody says why",
    "the train leaves at noon",
    "not bad at all :)",
)
# Another processor rounds differently; another model differs by more.
TOLERANCE = 0.02

Say = Callable[[str], None]


class BackupError(Exception):
    """A backup that cannot be made or restored; says what to do."""


@dataclass
class Manifest:
    """What a backup holds. `versions` maps a version's id to where its files lie in the backup;
    `probes` maps a champion's scheme to the scores of PROBES, one list a text."""

    format: int
    made_at: str
    vendor: str
    artifact_root: str
    counts: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    probes: dict[str, list[list[float]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def backup(target: Path, say: Say) -> Manifest:
    """Write a backup to the new folder `target`, while everything runs; `say` is told the steps.

    Raises BackupError, and leaves nothing behind then.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is there already: name a new folder")
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        # It holds posts, accounts and digests of tokens.
        part.mkdir(mode=0o700, parents=True)
        manifest = _write(part, say)
        path = part / MANIFEST
        path.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True), encoding="utf-8")
        if target.is_dir():
            target.rmdir()
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup cannot be written: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def _write(folder: Path, say: Say) -> Manifest:
    manifest = Manifest(
        FORMAT, datetime.now(UTC).isoformat(), connection.vendor, settings.MLFLOW_ARTIFACT_ROOT
    )
    path = folder / DATABASES[connection.vendor]
    manifest.counts = _dump(path)
    say(f"database: {path.stat().st_size / 1e6:.1f} MB, {sum(manifest.counts.values()):,} rows")
    if (store := _local_store()) is not None and store.is_file():
        _copy_sqlite(store, folder / REGISTRY)
        say(f"registry: {(folder / REGISTRY).stat().st_size / 1e6:.1f} MB")
    root = Path(settings.MLFLOW_ARTIFACT_ROOT)
    if store is not None and root.is_dir():
        shutil.copytree(root, folder / ARTIFACTS)
    _copy_models(folder, root, manifest, say)
    if settings.SPILL_DIR.is_dir() and any(settings.SPILL_DIR.iterdir()):
        # Posts that wait for the database; those that were stored in the meantime come twice, and
        # are kept once.
        shutil.copytree(settings.SPILL_DIR, folder / SPILL)
    manifest.files = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return manifest


def _dump(path: Path) -> dict[str, int]:
    """Write the database as of one moment; return how many rows each table had then."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        _copy_sqlite(Path(connection.settings_dict["NAME"]), path)
        with closing(sqlite3.connect(path)) as copy:
            # Names of tables that the database itself lists.
            return {
                table: copy.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
                for table in _tables()
            }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        options = ["--format=custom", "--compress=1", "--no-owner", "--no-privileges"]
        _run("pg_dump", *options, f"--snapshot={snapshot}", f"--file={path}")
        counts = {}
        for table in _tables():
            cursor.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - our own names
            (counts[table],) = cursor.fetchone()
    return counts


def _tables() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models if model._meta.managed})


def _run(program: str, *arguments: str) -> None:
    """A program of PostgreSQL's, on our database. Raises BackupError."""
    given = connection.settings_dict
    where = {"--host": given["HOST"], "--port": str(given["PORT"]), "--username": given["USER"]}
    address = [f"{name}={value}" for name, value in where.items() if value]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, without a shell
            [program, *address, "--no-password", *arguments, f"--dbname={given['NAME']}"],
            env={**os.environ, "PGPASSWORD": given["PASSWORD"] or ""},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise BackupError(
            f"{program} is not installed: install PostgreSQL's client programs, of the server's "
            "version or newer"
        ) from error
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-1000:]}")


def _copy_sqlite(source: Path, target: Path) -> None:
    """A consistent copy of a database that others write to."""
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)


def _local_store() -> Path | None:
    """MLflow's own database, where this process opens it; None for a server's or another's."""
    parts = urlsplit(settings.MLFLOW_TRACKING_URI)
    return Path(unquote(parts.path)[1:]) if parts.scheme == "sqlite" else None


def _copy_models(folder: Path, root: Path, manifest: Manifest, say: Say) -> None:
    """The files of every version, also of those that a tracking server keeps."""
    for version in ModelVersion.objects.select_related("scheme"):
        key = str(version.pk)
        try:
            found = registry.local_folder(version.artifact_uri, version.artifact_digests)
            copied = _copied(folder, root, found, key)
            artifact.verify(copied, version.artifact_digests)
        except (ModelingError, ArtifactError, OSError) as error:
            manifest.damaged[key] = str(error)
            say(f"WARNING: version {version.version} is not whole, and so not in it: {error}")
            continue
        manifest.versions[key] = str(copied.relative_to(folder))
        if version.stage == ModelVersion.Stage.CHAMPION:
            manifest.probes[version.scheme.key] = _probe(copied)
    say(f"model files: {len(manifest.versions)} versions, verified")


def _copied(folder: Path, root: Path, found: Path, key: str) -> Path:
    if (folder / ARTIFACTS).is_dir() and found.is_relative_to(root):
        return folder / ARTIFACTS / found.relative_to(root)
    return Path(shutil.copytree(found, folder / MODELS / key))


def _probe(folder: Path) -> list[list[float]]:
    """One by one: beside others a text's scores differ a little."""
    classifier = SentimentClassifier(folder, settings.INFERENCE_BACKEND, threads=1)
    return [classifier.predict_proba([text])[0].round(6).tolist() for text in PROBES]


def restore(source: Path, say: Say) -> Manifest:
    """Bring a backup into this installation, which is empty; then bring it up to date, and see
    that it judges as it did. Raises BackupError, before anything is changed where it can."""
    manifest = _read(source)
    _check_empty(manifest)
    say(f"backup of {manifest.made_at}, {len(manifest.files)} files, verified")
    _load(source / DATABASES[manifest.vendor])
    found = _counts()
    if wrong := {name for name, count in manifest.counts.items() if found.get(name) != count}:
        raise BackupError(f"rows are missing after the restore: {', '.join(sorted(wrong))}")
    say(f"database: {sum(found.values()):,} rows")
    _bring_files(source, manifest)
    call_command("migrate", verbosity=0, interactive=False)
    say("migrated to this release")
    _compare_judgements(manifest)
    say("every champion judges as it did")
    return manifest


def _read(source: Path) -> Manifest:
    try:
        manifest = Manifest(**json.loads((source / MANIFEST).read_text(encoding="utf-8")))
        damaged = [
            name for name, digest in manifest.files.items() if sha256(source / name) != digest
        ]
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(f"{source} is not a whole backup: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{source} was made by another release: restore it there, then upgrade")
    if damaged:
        raise BackupError(f"{source} is damaged: {', '.join(damaged[:5])}")
    return manifest


def _check_empty(manifest: Manifest) -> None:
    if manifest.vendor != connection.vendor:
        raise BackupError(
            f"the backup is of {manifest.vendor}, DATABASE_URL names {connection.vendor}"
        )
    if connection.introspection.table_names():
        raise BackupError("the database is not empty: let DATABASE_URL name an empty one")
    root, store = Path(settings.MLFLOW_ARTIFACT_ROOT), _local_store()
    for path in (root, store):
        if path is not None and (any(path.iterdir()) if path.is_dir() else path.exists()):
            raise BackupError(f"{path} is there already: restore into an empty VAR_DIR")


def _load(path: Path) -> None:
    if connection.vendor == "postgresql":
        options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
        _run("pg_restore", *options, str(path))
        return
    with closing(sqlite3.connect(path)) as copy, connection.cursor() as cursor:
        # Through the connection that is open: whoever looks sees nothing, or all.
        copy.backup(cursor.connection)


def _counts() -> dict[str, int]:
    """Rows of each table that is there: an older release had fewer."""
    there = set(connection.introspection.table_names())
    counts = {}
    with connection.cursor() as cursor:
        for table in there & set(_tables()):
            cursor.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - our own names
            (counts[table],) = cursor.fetchone()
    return counts


def _bring_files(source: Path, manifest: Manifest) -> None:
    root, store = Path(settings.MLFLOW_ARTIFACT_ROOT), _local_store()
    if (source / ARTIFACTS).is_dir():
        shutil.copytree(source / ARTIFACTS, root, dirs_exist_ok=True)
    if store is not None and (source / REGISTRY).is_file():
        shutil.copyfile(source / REGISTRY, store)
        _move_addresses(store, manifest.artifact_root, str(root))
    if (source / SPILL).is_dir():
        shutil.copytree(source / SPILL, settings.SPILL_DIR, dirs_exist_ok=True)
    moved = Replace("artifact_uri", Value(manifest.artifact_root), Value(str(root)))
    versions = ModelVersion.objects.only("pk", "artifact_uri", "artifact_digests")
    versions.filter(artifact_uri__contains=manifest.artifact_root).update(artifact_uri=moved)
    for version in versions.filter(pk__in=map(int, manifest.versions)):
        place = manifest.versions[str(version.pk)]
        if not place.startswith(f"{MODELS}/"):
            continue
        if urlsplit(version.artifact_uri).scheme in {"", "file"}:
            # A folder of the old machine's, wherever it was.
            version.artifact_uri = str(root / "restored" / str(version.pk))
            version.save(update_fields=["artifact_uri"])
        folder = registry.folder_of(version.artifact_uri, version.artifact_digests)
        shutil.copytree(source / place, folder, dirs_exist_ok=True)


def _move_addresses(store: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(store)) as database, database:
        for table, column in ADDRESSES:
            # A release of MLflow's that lacks one has nothing to move there.
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            if column in columns:
                # Names of ADDRESSES, a constant; what was read is a parameter.
                sql = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608
                database.execute(sql, (old, new))


def _compare_judgements(manifest: Manifest) -> None:
    serving.reset()
    for key, expected in manifest.probes.items():
        version = ModelVersion.objects.champions().get(scheme__key=key)
        folder = registry.local_folder(version.artifact_uri, version.artifact_digests)
        pairs = zip(_probe(folder), expected, strict=True)
        difference = max(
            abs(a - b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)
        )
        if difference > TOLERANCE:
            raise BackupError(
                f"{key}: the restored champion's scores differ by {difference:.3f} from those of "
                "the backup"
            )
