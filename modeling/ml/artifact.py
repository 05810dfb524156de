"""The folder that a trained model is: its files, its settings, its digests."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from modeling.ml.base_model import sha256

SETTINGS_FILE = "sentiment.json"
ONNX_FILE = "model.onnx"
ONNX_INT8_FILE = "model.int8.onnx"
OPENVINO_FILE = "openvino.int8.xml"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
# Digests of all other files, in the form that `sha256sum --check` reads.
SUMS_FILE = "SHA256SUMS"

Fingerprint = tuple[tuple[str, int, int], ...]


class ArtifactError(ValueError):
    """A model folder is incomplete, altered or not ours."""


@dataclass(frozen=True)
class ArtifactSettings:
    """What inference must know beside the weights.

    `labels` in the order of the model's outputs; `max_length` in tokens, special ones included;
    `temperature` divides the logits, so that confidence means probability.
    """

    labels: tuple[str, ...]
    max_length: int
    temperature: float
    emoji_as_words: bool
    base_model: str

    def write(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=2)
        (folder / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ArtifactSettings":
        """Raises ArtifactError when `folder` holds no settings of ours."""
        path = folder / SETTINGS_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "labels": tuple(values["labels"])})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is missing or not a model's settings: {error}") from error


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder, by file name. Raises ArtifactError for a link."""
    names = sorted(path.name for path in folder.iterdir() if path.is_symlink() or path.is_file())
    return {name: sha256(member(folder, name)) for name in names}


def member(folder: Path, name: str) -> Path:
    """The path of a file in `folder`.

    Raises ArtifactError for a name that leads elsewhere, and for a link: the digest of a link's
    target says nothing of what it will point to when it is loaded.
    """
    if name in {"", ".", ".."} or any(char in name for char in "/\\\0"):
        raise ArtifactError(f"{name!r} is not the name of a file in a model's folder")
    path = folder / name
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link: a model's files are plain files")
    return path


def verify(folder: Path, expected: Mapping[str, str]) -> None:
    """Raise ArtifactError when a file of `expected` is missing, altered or a link."""
    for name, digest in expected.items():
        try:
            path = member(folder, name)
            if not path.is_file():
                raise ArtifactError(f"{path} is missing")
            actual = sha256(path)
        except OSError as error:
            raise ArtifactError(f"{folder / name} cannot be read: {error}") from error
        if actual != digest:
            raise ArtifactError(f"{path} is not the file that was registered")


def fingerprint(folder: Path, names: Iterable[str]) -> Fingerprint:
    """Name, size and time of each file, links not followed; what is missing is left out.

    Cheap, and changes whenever a file does.
    """
    found = []
    for name in sorted(names):
        with suppress(OSError, ValueError):
            state = (folder / name).lstat()
            found.append((name, state.st_size, state.st_mtime_ns))
    return tuple(found)


def seal(folder: Path) -> None:
    """Write the digests of all files beside them, for whoever gets the folder without the row."""
    sums = {name: digest for name, digest in digests(folder).items() if name != SUMS_FILE}
    lines = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    (folder / SUMS_FILE).write_text(lines, encoding="utf-8")


def sealed(folder: Path) -> dict[str, str]:
    """What `seal` wrote: file name → SHA-256. Raises ArtifactError when it is missing or no list
    of digests."""
    path = member(folder, SUMS_FILE)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is missing or not a list of digests: {error}") from error
