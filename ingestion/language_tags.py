"""What languages are called: tags as en or pt-br, written one way."""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 16
_TAG = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,8})*")


@lru_cache(maxsize=2048)
def normalised(tag: str) -> str:
    """`pt-br` of pt-BR and pt_BR, by whole subtags `LONGEST` characters at most; "" of what names
    no language."""
    found = tag.strip().replace("_", "-").lower()
    if not _TAG.fullmatch(found):
        return ""
    while len(found) > LONGEST:
        found = found.rpartition("-")[0]
    return found


def primary(tag: str) -> str:
    """`pt` of pt-BR; "" of what names no language."""
    return normalised(tag).partition("-")[0]
