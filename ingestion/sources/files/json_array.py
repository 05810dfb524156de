"""A JSON array of posts, an element at a time: a broken element costs only itself.

Also the form in which X hands out archives: `window.YTD.tweets.part0 = [ … ]`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from ingestion.exceptions import BadPost, UnusableFile
from ingestion.sources.files.formats import ARRAY
from ingestion.sources.files.records import EXCERPT, MAX_LINE, Record

_BLOCK = 1 << 16
_HEAD = 4096
# A whole string, the beginning of one, or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)
_GAP = re.compile(rb"[\s,]*")
_SCALAR_END = re.compile(rb"[,\]]")


def records(binary: io.BufferedReader, path: Path) -> Iterator[Record]:
    """Every element. Raises UnusableFile when the array does not begin, or does not end."""
    return _Array(binary, path).records()


class _Array:
    """A window on the array: `_data` from the element that is being read."""

    def __init__(self, binary: io.BufferedReader, path: Path) -> None:
        self._binary = binary
        self._path = path
        self._data = b""
        # Where the window begins in the file, and in which line.
        self._base = 0
        self._line = 1

    def records(self) -> Iterator[Record]:
        self._open()
        while self._find_element():
            line, start, (raw, is_long) = self._line, self._base, self._element()
            if is_long:
                yield Record(line, BadPost(f"it is longer than {MAX_LINE >> 20} MiB"), raw=raw)
            else:
                yield Record(line, raw, start, start + len(raw))
        self._close()

    def _open(self) -> None:
        while len(self._data) < _HEAD and self._fill():
            pass
        opening = ARRAY.match(self._data.removeprefix(b"\xef\xbb\xbf"))
        if opening is None:
            raise UnusableFile(f"{self._path} is not a JSON array")
        self._drop(self._data.index(b"[") + 1)

    def _find_element(self) -> bool:
        """Go on to where the next element begins; False where the array ends."""
        while True:
            # It always matches, if only nothing.
            self._drop(_GAP.match(self._data).end())  # type: ignore[union-attr]
            if self._data:
                return not self._data.startswith(b"]")
            self._fill_or_fail()

    def _element(self) -> tuple[bytes, bool]:
        """The element's bytes, or only the first of them when it is too long."""
        if self._data[:1] not in b"{[":
            return self._scalar()
        head: bytes | None = None
        depth = scan = 0
        while True:
            for token in _TOKEN.finditer(self._data, scan):
                if (text := token[0]) == b'"':
                    scan = token.start()
                    break
                scan = token.end()
                if len(text) == 1:
                    depth += 1 if text in b"{[" else -1
                if depth == 0:
                    return self._cut(scan, head)
            else:
                scan = len(self._data)
            if len(self._data) > MAX_LINE:
                head = head or self._data[:EXCERPT]
                scan = self._forget(scan)
            self._fill_or_fail()

    def _cut(self, end: int, head: bytes | None) -> tuple[bytes, bool]:
        element = self._data[:end]
        self._drop(end)
        return (element, False) if head is None else (head, True)

    def _forget(self, scan: int) -> int:
        """Let go of what an endless element has filled the window with; where to go on."""
        rest = self._data[scan:]
        if rest.startswith(b'"'):
            # An odd backslash at the end escapes what comes next.
            slashes = len(rest) - len(rest.rstrip(b"\\"))
            rest = b'"' + b"\\" * (slashes % 2)
        self._drop(len(self._data) - len(rest))
        self._data = rest
        return 0

    def _scalar(self) -> tuple[bytes, bool]:
        """Something that is no object, up to the next comma; it will be told as such."""
        while (end := _SCALAR_END.search(self._data)) is None:
            if len(self._data) > MAX_LINE:
                return self._cut(len(self._data), self._data[:EXCERPT])
            self._fill_or_fail()
        return self._cut(end.start(), None)

    def _close(self) -> None:
        self._drop(1)
        while True:
            self._drop(len(self._data) - len(self._data.lstrip(b"; \t\r\n")))
            if self._data:
                raise UnusableFile(
                    f"{self._path}: something follows the array, in line {self._line}; "
                    "what came before has been read"
                )
            if not self._fill():
                return

    def _drop(self, count: int) -> None:
        self._line += self._data.count(b"\n", 0, count)
        self._base += count
        self._data = self._data[count:]

    def _fill(self) -> bool:
        block = self._binary.read1(_BLOCK)
        self._data += block
        return bool(block)

    def _fill_or_fail(self) -> None:
        if not self._fill():
            raise UnusableFile(
                f"{self._path} is cut off: its array does not end; what came before has been read"
            )
