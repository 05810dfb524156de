"""A file's bytes, unpacked when they are gzip or zstd: streamed, of any number of frames."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from ingestion.exceptions import UnusableFile
from ingestion.sources.files.records import Place

STANDARD_INPUT = Path("-")
BLOCK = 1 << 16
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
# What an index or a comment between frames begins with.
_SKIPPABLE = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))
# Four bytes may unpack to 128 KiB: so little at a time keeps a bomb small.
_SLICE = 1024


class UnreadableFile(UnusableFile):
    """The system does not let us read the file now; later it may."""


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is compressed."""
    return head.startswith((GZIP, ZSTD, *_SKIPPABLE))


@contextmanager
def opened(path: Path, place: Place) -> Iterator[io.BufferedReader]:
    """The unpacked bytes. Raises UnusableFile, also for damage that is met later."""
    with ExitStack() as stack:
        try:
            place.raw = _raw(path, stack)
            # Any binary file will do; its type asks for a raw one.
            buffered = io.BufferedReader(place.raw, BLOCK)  # type: ignore[type-var]
            head = buffered.peek(4)[:4]
            place.is_packed = is_packed(head)
            yield _unpacked(buffered, head, stack)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise UnusableFile(f"{path}: its compressed data is {_damage(error)}") from error
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from error


def _raw(path: Path, stack: ExitStack) -> IO[bytes]:
    if path == STANDARD_INPUT:
        return sys.stdin.buffer
    return stack.enter_context(path.open("rb"))


def _unpacked(packed: Any, head: bytes, stack: ExitStack) -> io.BufferedReader:
    raw: Any
    if head.startswith(GZIP):
        raw = stack.enter_context(gzip.GzipFile(fileobj=packed))
    elif is_packed(head):
        raw = _Zstd(packed)
    else:
        return packed
    return io.BufferedReader(raw, BLOCK)


def _damage(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "damaged or cut off: it ends before its end mark; what came before has been read"
    if "too much memory" in str(error):
        return "packed with a window of more than 128 MiB: pack it again without --long or --ultra"
    return f"damaged: {error}"


class _Zstd(io.RawIOBase):
    """Zstandard frames one after the other; EOFError when the last one is not whole."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._unpack():
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _unpack(self) -> bool:
        """Unpack a little more; False at the end."""
        data = self._rest or self._packed.read(_SLICE)
        if not data:
            if self._frame is not None:
                raise EOFError("the last frame is not whole")
            return False
        if self._frame is None:
            self._frame = self._decompressor.decompressobj()
        self._ready, self._rest = memoryview(self._frame.decompress(data)), b""
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return True
