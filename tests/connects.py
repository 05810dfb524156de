"""Which connect to a stand-in has led to an open connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol


class Numbered(Protocol):
    """An open connection; its number is that of the connect it came from."""

    number: int


def wait_for_connect(
    standing: Callable[[], Iterable[Numbered]], connects: int, seconds: float
) -> None:
    """Until the so-manieth connect, or a later one, is among those that stand."""
    deadline = time.monotonic() + seconds
    # Not just any: that of the connect before may still stand.
    while not any(one.number >= connects for one in standing()):
        if time.monotonic() > deadline:
            numbers = [one.number for one in standing()]
            raise AssertionError(f"connect {connects} does not stand, but {numbers}")
        time.sleep(0.01)
