"""Files of a model that cannot be loaded."""

import json
from pathlib import Path


def of_newer_format(folder: Path) -> None:
    """The tokenizer as a library of the future may write it."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "9.0"}))
