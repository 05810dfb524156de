"""A clock that jumps, for processes that are started with this folder in PYTHONPATH: the file that
CLOCK_OFFSET names holds the seconds by which the time of day is wrong. Monotonic clocks go on."""

import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

LOOK_SECONDS = 0.2


def follow(path: Path) -> None:
    """Keep this process's time of day as wrong as the file says."""
    travels, shift = time_machine.travel(datetime.now(UTC), tick=True).start(), None
    while True:
        with suppress(OSError, ValueError):
            if (wanted := int(path.read_text())) != shift:
                shift = wanted
                # A fork may begin in another time; only who travels can ask for the true one.
                true = time_machine.escape_hatch.datetime.datetime.now(UTC)
                travels.move_to(true + timedelta(seconds=shift), tick=True)
        time.sleep(LOOK_SECONDS)


def begin() -> None:
    path = Path(os.environ["CLOCK_OFFSET"])
    threading.Thread(target=follow, args=(path,), daemon=True).start()


if "CLOCK_OFFSET" in os.environ:
    # A worker's children are forks, which no thread comes along to.
    os.register_at_fork(after_in_child=begin)
    begin()
