"""Server-sent events as bytes: cuts a stream into its messages. Knows the format alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ingestion.events import EXCERPT

# No status comes near; an event without end must not fill the memory.
MAX_EVENT = 512 * 1024

# What a comment becomes: a sign of life without content.
COMMENT = b""


@dataclass(frozen=True, slots=True)
class Oversized:
    """An event of more than MAX_EVENT bytes: its beginning, and how long it was."""

    excerpt: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Message:
    """The two fields that matter; `event` is "" when it has none."""

    event: str
    data: bytes


class Cutter:
    """Takes bytes as they arrive and gives whole messages, in memory that is bounded."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._line_size = 0
        self._event = bytearray()
        self._lost = 0
        # Lines that have come to an end, so that a trickle can be told from progress.
        self.lines = 0

    def feed(self, data: bytes) -> Iterator[bytes | Oversized]:
        """COMMENT for each comment, a message's bytes without the blank line that ended it."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._add(part)
            self.lines += 1
            yield from self._take(self._end_line())
        self._add(rest)

    def _add(self, part: bytes) -> None:
        room = MAX_EVENT - len(self._line) - len(self._event)
        self._line += part[: max(0, room)]
        self._line_size += len(part)
        self._lost += max(0, len(part) - max(0, room))

    def _end_line(self) -> bytes | None:
        """The line, without its end; None where there is no room left for any of it."""
        line = bytes(self._line).removesuffix(b"\r")
        is_cut_away = not self._line and self._line_size > 1
        self._line.clear()
        self._line_size = 0
        return None if is_cut_away else line

    def _take(self, line: bytes | None) -> Iterator[bytes | Oversized]:
        if line is None:
            return
        if line.startswith(b":"):
            yield COMMENT
        elif line:
            self._event += line + b"\n"
        elif self._event or self._lost:
            yield self._finished()

    def _finished(self) -> bytes | Oversized:
        event, lost = bytes(self._event).removesuffix(b"\n"), self._lost
        self._event.clear()
        self._lost = 0
        return Oversized(event[:EXCERPT], len(event) + lost) if lost else event


def read(message: bytes) -> Message:
    """The fields of one message; several `data` lines are one, with line breaks."""
    event = b""
    data: list[bytes] = []
    for line in message.split(b"\n"):
        name, _, value = line.removesuffix(b"\r").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            event = value
        elif name == b"data":
            data.append(value)
    return Message(event.decode("utf-8", "replace").strip(), b"\n".join(data))
