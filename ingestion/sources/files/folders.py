"""Which files of a directory are meant to be read."""

from __future__ import annotations

import re
from pathlib import Path

# How programs call a file that they have not written to its end.
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~")
# An archive of X holds many files; the posts are in these.
_ARCHIVE = re.compile(r"(?:deleted-)?tweets?(?:-part\d+)?\.js", re.IGNORECASE)


def is_meant(name: str) -> bool:
    """Whether a file of this name is one to be read: neither hidden nor half written."""
    return not name.startswith(".") and not name.lower().endswith(_UNFINISHED)


def meant(names: list[str]) -> list[str]:
    """Of a directory's names those to be read, in order; of an archive of X, its posts."""
    archive = [name for name in names if _ARCHIVE.fullmatch(name)]
    # What was deleted comes last, so that nothing brings it back.
    return sorted(archive or filter(is_meant, names), key=lambda name: ("deleted" in name, name))


def files_in(directory: Path) -> list[Path]:
    """The files to be read that lie in a directory, not below it."""
    names = [path.name for path in directory.iterdir() if path.is_file()]
    return [directory / name for name in meant(names)]
