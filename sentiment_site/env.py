"""Typed readers of environment variables: the only place that touches `os.environ`.

Every reader accepts the value in `NAME` or the path of a file that holds it in `NAME_FILE`
(Docker and Kubernetes secrets). A value that does not parse raises `ImproperlyConfigured`
with one line that names the variable, what it held and what would be right.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv

N = TypeVar("N", int, float)

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_TLS = {"tls=1", "tls=true", "tls=yes"}


def load(path: Path) -> None:
    """Read `path` (a `.env` file) into the environment; variables already set win."""
    load_dotenv(path, override=False)


def set_default(name: str, value: str) -> None:
    """Set a variable that a library reads from the environment, unless the user has set it."""
    os.environ.setdefault(name, value)


def _raw(name: str) -> str | None:
    file = os.environ.get(f"{name}_FILE")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {file!r}: {error}") from error
    value = os.environ.get(name)
    return value.strip() if value is not None else None


def is_set(name: str) -> bool:
    """Whether the user has given the variable a value."""
    return bool(_raw(name))


def text(name: str, default: str = "", *, choices: tuple[str, ...] = ()) -> str:
    """The variable as text, stripped; unset or empty gives `default`."""
    value = _raw(name) or default
    if choices and value not in choices:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not one of: {', '.join(filter(None, choices))}"
        )
    return value


def boolean(name: str, default: bool = False) -> bool:
    """1/true/yes/on or 0/false/no/off, in any case."""
    value = _raw(name)
    if value is None or value == "":
        return default
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name}={value!r} is not a boolean: use 1 or 0")


def integer(name: str, default: int, *, low: int | None = None, high: int | None = None) -> int:
    """A whole number within [low, high]."""
    return _number(name, default, int, "a whole number", low, high)


def decimal(
    name: str, default: float, *, low: float | None = None, high: float | None = None
) -> float:
    """A number within [low, high]."""
    return _number(name, default, float, "a number", low, high)


def _number(
    name: str, default: N, parse: Callable[[str], N], kind: str, low: N | None, high: N | None
) -> N:
    value = _raw(name)
    if not value:
        return default
    try:
        number = parse(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={value!r} is not {kind}") from error
    if (low is not None and not number >= low) or (high is not None and not number <= high):
        bounds = f"between {low} and {high}" if high is not None else f"at least {low}"
        raise ImproperlyConfigured(f"{name}={value!r} is out of range: it must be {bounds}")
    return number


def networks(name: str, default: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """A comma-separated list of networks, as 10.0.0.0/8."""
    try:
        return [ip_network(item) for item in items(name, default)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not a list of networks: {error}") from error


_PERIODS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "day": 86_400}


def rate(name: str) -> tuple[int, int] | None:
    """How many in how many seconds, as `600/min`; None when not set."""
    value = _raw(name)
    if not value:
        return None
    count, _, period = value.partition("/")
    if not count.isascii() or not count.isdigit() or not int(count) or period not in _PERIODS:
        raise ImproperlyConfigured(
            f"{name}={value!r} is not a rate: give a number and {', '.join(_PERIODS)}, as 600/min"
        )
    return int(count), _PERIODS[period]


def items(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A comma-separated list."""
    value = _raw(name)
    if not value:
        return list(default)
    return [item.strip() for item in value.split(",") if item.strip()]


def email(name: str, default: str) -> dict[str, Any]:
    """Django's e-mail settings from an address: smtp://user:password@host:587?tls=1, smtps://…
    (TLS from the start), file:///folder, or console://.

    Raises ImproperlyConfigured for anything else, also after the question mark: what is misspelt
    there would send passwords in the clear.
    """
    value = text(name, default)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not an address of a mail server: {error}") from error
    backend = {"smtp": "smtp", "smtps": "smtp", "file": "filebased", "console": "console"}
    if parts.scheme not in backend or (backend[parts.scheme] == "smtp" and not parts.hostname):
        # Not the value: it may hold a password.
        raise ImproperlyConfigured(
            f"{name} must begin with smtp://host, smtps://host, file:///folder or console://"
        )
    if parts.query and parts.query.lower() not in _TLS:
        raise ImproperlyConfigured(
            f"{name} may say nothing but tls=1 after its question mark; for no TLS leave it out, "
            "and write a ? in a password as %3F"
        )
    is_implicit = parts.scheme == "smtps"
    return {
        "EMAIL_BACKEND": f"django.core.mail.backends.{backend[parts.scheme]}.EmailBackend",
        "EMAIL_HOST": parts.hostname or "",
        "EMAIL_PORT": port or (465 if is_implicit else 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": is_implicit,
        "EMAIL_USE_TLS": not is_implicit and bool(parts.query),
        "EMAIL_FILE_PATH": parts.path,
    }
