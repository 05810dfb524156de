"""How far each timeline has been read: the cursor of Mastodon, and what its ids tell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

# Mastodon's ids hold the milliseconds since 1970 above this many bits; smaller numbers are older
# or somebody else's.
_SHIFT = 16
_LEAST = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp() * 1000) << _SHIFT
_MOST = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000) << _SHIFT
NOTHING = "0"
MAX_TIMELINES = 256


def order(identity: str) -> tuple[int, str]:
    """What ids are sorted by: they grow, as numbers or letter by letter."""
    return len(identity), identity


def later(one: str, other: str) -> str:
    return max(one, other, key=order)


def moment(identity: str) -> datetime | None:
    """When a status with this id was written; None where the id does not tell."""
    if not (identity.isascii() and identity.isdigit()) or not _LEAST <= int(identity) < _MOST:
        return None
    return datetime.fromtimestamp((int(identity) >> _SHIFT) / 1000, UTC)


def at(when: datetime) -> str:
    """The id that a status of this moment would have at least."""
    return str(max(0, int(when.timestamp() * 1000) << _SHIFT))


def rewound(identity: str, seconds: float) -> str:
    """An id that many seconds before, where ids tell the time.

    A status that reaches its instance late gets an id of the time when it was written, below
    those that are there already.
    """
    if moment(identity) is None:
        return identity
    return str(int(identity) - (int(seconds * 1000) << _SHIFT))


class Positions:
    """The newest id of each timeline up to which everything has been delivered.

    While a timeline is being caught up with, what comes live does not count yet.
    """

    def __init__(self, host: str, cursor: str, timelines: Iterable[str]) -> None:
        self._host = host
        self._at = {
            timeline: identity
            for timeline, identity in _read(host, cursor).items()
            if timeline in set(timelines)
        }
        # Timelines that are being caught up with: the newest that came live in the meantime.
        self._live = dict.fromkeys(self._at, NOTHING)

    @property
    def behind(self) -> dict[str, str]:
        """Where catching up has to begin, of each timeline that is not there yet."""
        return {timeline: self._at[timeline] for timeline in self._live}

    def knows(self, timeline: str) -> bool:
        return timeline in self._at

    def live(self, timeline: str, identity: str) -> None:
        """A status came on the open connection."""
        where = self._live if timeline in self._live else self._at
        where[timeline] = later(where.get(timeline, NOTHING), identity)

    def replayed(self, timeline: str, identity: str) -> None:
        """Everything up to this status has been asked for, and delivered."""
        self._at[timeline] = later(self._at.get(timeline, NOTHING), identity)

    def caught_up(self, timeline: str, newest: str = "") -> None:
        """The past is over; a timeline that was new begins at `newest`."""
        self.replayed(timeline, later(self._live.pop(timeline, NOTHING), newest))

    def keep(self, timelines: Iterable[str]) -> None:
        """Nobody reads the others any more; who reads one of them again begins anew."""
        for timeline in self._at.keys() - set(timelines):
            del self._at[timeline]
            self._live.pop(timeline, None)

    def cursor(self) -> str:
        return json.dumps({"host": self._host, "at": self._at}, separators=(",", ":"))


def _read(host: str, cursor: str) -> dict[str, str]:
    """What an earlier `cursor()` said; nothing when another instance said it."""
    with suppress(ValueError, RecursionError):
        said = json.loads(cursor)
        if isinstance(said, dict) and said.get("host") == host and isinstance(said.get("at"), dict):
            known = list(said["at"].items())[:MAX_TIMELINES]
            return {key: value for key, value in known if isinstance(value, str) and value}
    return {}
