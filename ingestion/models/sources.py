"""Where posts come from."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from django.db import models


class Source(models.TextChoices):
    """Where posts come from, of what this project brings; packages may add more."""

    X = "x", "X"
    BLUESKY = "bluesky", "Bluesky"
    MASTODON = "mastodon", "Mastodon"
    RSS = "rss", "RSS or Atom"
    FILE = "file", "File"


# Not followed by anybody: texts that programs asked about, where they are kept.
API = "api"
# A package names its source, and the factory that makes it, under this group.
ENTRY_POINTS = "live_sentiment.sources"


def brought_sources() -> dict[str, EntryPoint]:
    """Sources that installed packages bring, by name; none may take the name of ours."""
    return _brought(tuple(sys.path))


# Looking through all packages takes milliseconds, and every row of a list asks for its source.
@lru_cache(maxsize=4)
def _brought(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    return {name: found[name] for name in sorted(found) if name not in {*Source.values, API}}


def source_choices() -> list[tuple[str, str]]:
    """Our own sources, and those that installed packages bring."""
    return [*Source.choices, *((name, name) for name in brought_sources())]


def post_source_choices() -> list[tuple[str, str]]:
    """Where posts may come from: what can be followed, and the API."""
    return [*source_choices(), (API, "API")]
