"""Sources: one module a vendor, one protocol for all, and the registry that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, cast

from ingestion.events import Event
from ingestion.exceptions import NotConfigured
from ingestion.models import Source as SourceName
from ingestion.models import Stream


@dataclass(frozen=True)
class Followed:
    """What a source made of the streams it was given.

    `rule_ids` maps a stream's primary key to the vendor's id of its rule, `refused` to the reason
    why it is not followed. `foreign` names rules that somebody else made; they are left alone.
    """

    rule_ids: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    foreign: Sequence[str] = ()


class LiveSource(Protocol):
    """A place that posts stream from.

    One object serves one runner: `connect` runs in a reader thread, the others may be called from
    any thread. Delivery is at least once: what is delivered twice is stored once. Every call to
    the vendor has a timeout.
    """

    name: str
    # Whether each post read costs money, so that reading is counted.
    is_paid: bool

    def follow(self, streams: Sequence[Stream]) -> Followed:
        """Deliver what these active streams ask for, and nothing of those that are gone.

        Works on an open connection too. Raises SourceError.
        """
        ...

    def connect(self, cursor: str) -> Iterator[Event]:
        """Connect once, going on at `cursor` where the vendor can, and yield what it says.

        The first event is Connected. Ends by raising a SourceError that says why, or in silence
        after `disconnect`. The caller decides when to connect again.
        """
        ...

    def disconnect(self) -> None:
        """End the connection at once, from any thread."""
        ...


# Vendor → where its class lives; modules load on first use, so that a vendor's library costs
# nothing where it is not used.
_MODULES: dict[str, str] = {SourceName.X: "ingestion.sources.x"}


def names() -> tuple[str, ...]:
    """Sources that can be streamed."""
    return tuple(_MODULES)


def create(name: str) -> LiveSource:
    """The source of this name, set up from the settings. Raises NotConfigured."""
    if name not in _MODULES:
        raise NotConfigured(f"{name!r} cannot be streamed; what can: {', '.join(_MODULES)}")
    factory = cast(Callable[[], LiveSource], import_module(_MODULES[name]).from_settings)
    return factory()
