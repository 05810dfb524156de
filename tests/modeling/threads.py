"""Doing a thing several times at the same moment."""

import threading
from collections.abc import Callable

from django.db import connections


def at_once(work: Callable[[], object], count: int) -> list[object]:
    """What each of `count` threads returned or raised, in no order."""
    outcomes: list[object] = []
    start = threading.Barrier(count)

    def run() -> None:
        start.wait(10)
        try:
            outcomes.append(work())
        except Exception as error:  # handed to the test
            outcomes.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes
