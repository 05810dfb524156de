"""Where a Jetstream connection goes on, and when it has caught up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ingestion.sources.bluesky_payload import Moment

# Hosts see an event at slightly different times, and lose order when a replay turns live.
REWIND = timedelta(seconds=5)
# So long hosts keep what they sent; they begin at the oldest when asked for more.
LOOKBACK = timedelta(hours=36)
# An event this close to the moment of connecting is no longer one that was missed.
NOW = timedelta(seconds=2)
# A replay that begins this much later than asked for has lost something.
GRACE = timedelta(seconds=60)

_MICROSECOND = timedelta(microseconds=1)
# Larger cursors are times, smaller ones numbers: so version 2 tells them apart.
_FIRST_TIME = 10**15


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream: its time counts at every host, its number at `host` alone."""

    time_us: int
    seq: int = 0
    host: str = ""

    def __str__(self) -> str:
        place: dict[str, int | str] = {"time_us": self.time_us}
        if self.seq:
            place |= {"seq": self.seq, "host": self.host}
        return json.dumps(place)

    @classmethod
    def parse(cls, cursor: str) -> Position | None:
        """The position that `str` has written; None when it is not one."""
        try:
            place = json.loads(cursor)
        except (ValueError, RecursionError):
            return None
        if not isinstance(place, Mapping):
            return None
        time_us, seq, host = place.get("time_us"), place.get("seq", 0), place.get("host", "")
        if type(time_us) is not int or type(seq) is not int or not isinstance(host, str):
            return None
        return cls(time_us, seq, host) if time_us >= _FIRST_TIME and seq >= 0 else None

    @classmethod
    def at(cls, moment: datetime) -> Position:
        return cls(micros(moment))

    def number(self, host: str) -> str:
        """The exact cursor, where this host gave it; "" elsewhere."""
        return str(self.seq) if self.seq and host == self.host else ""

    def rewound(self) -> str:
        """The cursor by time, with an overlap; what comes twice is stored once."""
        return str(max(_FIRST_TIME, self.time_us - REWIND // _MICROSECOND))


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND


def start(cursor: str, covered_until: datetime | None, now: datetime) -> Position | None:
    """Where to go on: the cursor; what is covered when there is none or it is no use."""
    position = Position.parse(cursor)
    # A host whose clock was wrong: no host would find a time that has not come.
    if position is not None and position.time_us <= micros(now + GRACE):
        return position
    if covered_until is not None and covered_until <= now:
        return Position.at(covered_until)
    return None


class Replay:
    """Judges by the times of what comes when everything missed has come.

    A live event may overtake the replay: it is over when for `settle` seconds nothing but
    new events came. On a connection that is quiet altogether, silence of `quiet` seconds tells.
    """

    def __init__(self, missed_since: datetime, now: datetime, settle: float, quiet: float) -> None:
        # Set when the host says that it begins later than it was asked to.
        self.is_clamped = False
        self._missed_since = missed_since
        self._asked_at = now
        self._edge = micros(now - NOW)
        self._settle, self._quiet = settle, quiet
        self._last_heard = 0.0
        self._first: int | None = None
        # Since when nothing but new things came; None while the last was old.
        self._new_since: float | None = None

    def begin(self, now: float) -> None:
        """The connection stands: silence counts from here."""
        self._last_heard = now

    def is_old(self, moment: Moment) -> bool:
        """Whether an event is one of those that were missed."""
        return moment.time_us < self._edge

    def heard(self, moment: Moment, now: float) -> None:
        self._first = moment.time_us if self._first is None else min(self._first, moment.time_us)
        self._last_heard = now
        if self.is_old(moment):
            self._new_since = None
        elif self._new_since is None:
            # Not from the last old one: a host slow to begin would look as if it had ended.
            self._new_since = now

    def ends(self, now: float) -> bool:
        """Whether everything has come."""
        has_settled = self._new_since is not None and now - self._new_since >= self._settle
        return has_settled or now - self._last_heard >= self._quiet

    def missing(self, is_filtered: bool) -> str:
        """What the replay did not bring, in words; "" when it was whole.

        Of a few authors long silence is natural: there only the host's memory counts.
        """
        first = self._missed_since
        if self._first is not None and (self.is_clamped or not is_filtered):
            first = Moment(self._first).time
        first = max(first, self._asked_at - LOOKBACK)
        if first - self._missed_since <= GRACE:
            return ""
        return f"nothing from {_words(self._missed_since)} to {_words(first)} was replayed"


def _words(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
