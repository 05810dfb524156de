"""Where the servers' programs are on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Service → the programs that can be it, and the Debian package that brings them.
PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "postgres": (("postgres",), "postgresql"),
    "redis": (("redis-server",), "redis-server"),
    "proxy": (("nginx",), "nginx-light"),
    "prometheus": (("prometheus",), "prometheus"),
    "redis-exporter": (
        ("prometheus-redis-exporter", "redis_exporter"),
        "prometheus-redis-exporter",
    ),
    "postgres-exporter": (
        ("prometheus-postgres-exporter", "postgres_exporter"),
        "prometheus-postgres-exporter",
    ),
    "blackbox-exporter": (
        ("prometheus-blackbox-exporter", "blackbox_exporter"),
        "prometheus-blackbox-exporter",
    ),
    # Never started here: it is not in Debian, and its folders are the container's.
    "grafana": ((), ""),
}
# Without these there is no stack; without the others it is only watched less.
NEEDED = ("postgres", "redis", "proxy", "prometheus")


def program(service: str) -> str | None:
    """The path of the program that is this server; None where it is not installed."""
    names, _ = PROGRAMS[service]
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    places = [*(str(path) for path in reversed(versions)), *places]
    return next(
        (found for name in names if (found := shutil.which(name, path=":".join(places)))), None
    )


def missing() -> list[str]:
    """Debian packages without which the stack cannot run."""
    return [PROGRAMS[service][1] for service in NEEDED if program(service) is None]
