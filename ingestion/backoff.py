"""How long to wait before connecting again, by what ended the last connection."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from ingestion.exceptions import Closed, NetworkFault, RateLimited, SourceError, Unavailable

# A connection that stood so long was a good one: what failed before it is forgotten.
HEALTHY_SECONDS = 60.0
# The longest window that a source is known to have; a reset further off is not believed.
LONGEST_WINDOW = 900.0


class Backoff:
    """One runner's memory of failures. All figures are seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: Counter[type[SourceError]] = Counter()
        self._connected_at: float | None = None

    def connected(self) -> None:
        self._connected_at = self._clock()

    def delay(self, error: SourceError) -> float:
        """The wait that this failure asks for, with jitter, so that many do not come as one."""
        if self._connected_at is not None:
            if self._clock() - self._connected_at >= HEALTHY_SECONDS:
                self._failures.clear()
            self._connected_at = None
        curve = next(kind for kind in _CURVES if isinstance(error, kind))
        failures = self._failures[curve]
        self._failures[curve] += 1
        if isinstance(error, RateLimited) and error.retry_at is not None:
            wait = min(max(0.0, error.retry_at - time.time()), LONGEST_WINDOW)
            return wait + random.uniform(0.5, 3)
        first, step, factor, longest = _CURVES[curve]
        if failures == 0:
            wait = first
        elif factor:
            # The exponent is bounded: a week of failures must not overflow.
            wait = min(step * factor ** min(failures - 1, 30), longest)
        else:
            wait = min(step * failures, longest)
        return wait * random.uniform(0.8, 1.2) + random.uniform(0, 0.05)


# Kind → the first wait, the next one, what it grows by (0: by itself each time), the longest.
# A clean close grows fast: X allows 50 connects in 15 minutes.
_CURVES: dict[type[SourceError], tuple[float, float, float, float]] = {
    NetworkFault: (0, 0.25, 0, 16),
    Closed: (0, 1, 2, 32),
    Unavailable: (5, 10, 2, 320),
    RateLimited: (60, 120, 2, 900),
    SourceError: (5, 10, 2, 320),
}
