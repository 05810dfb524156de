"""Which Jetstream hosts there are, and which to ask next."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

# Version 1 is spoken by the numbered hosts, version 2 by the others.
PUBLIC_HOSTS = {
    1: tuple(
        f"jetstream{number}.{region}.bsky.network"
        for region in ("us-east", "us-west")
        for number in (1, 2)
    ),
    2: ("jetstream.us-east.bsky.network", "jetstream.us-west.bsky.network"),
}
PATHS = {1: "/subscribe", 2: "/xrpc/network.bsky.jetstream.subscribeEvents"}


def base_address(host: str) -> str:
    """`wss://host`, unless the host comes with a scheme of its own."""
    return host.rstrip("/") if "://" in host else f"wss://{host.rstrip('/')}"


def is_address(host: str) -> bool:
    """Whether a websocket can be opened there."""
    try:
        address = urlsplit(base_address(host))
        has_port = address.port != 0
    except ValueError:
        return False
    is_bare = not (address.query or address.fragment or address.username)
    is_word = not any(char.isspace() for char in host)
    has_host = address.scheme in ("ws", "wss") and bool(address.hostname)
    return has_host and has_port and is_bare and is_word


class Hosts:
    """Which host to ask next: the one whose last failure is longest ago."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._failed_at: dict[str, float] = {address: float("-inf") for address in addresses}
        self._refused: set[str] = set()

    def choose(self) -> str:
        return min(self._failed_at, key=self._failed_at.__getitem__)

    def failed(self, address: str, now: float) -> None:
        self._failed_at[address] = now

    def refused(self, address: str) -> bool:
        """Note that a host will not serve us; whether that is true of all."""
        self._refused.add(address)
        return len(self._refused) == len(self._failed_at)

    def accepted(self) -> None:
        """Note that a host serves us: refusals were theirs alone."""
        self._refused.clear()
