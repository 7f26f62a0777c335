"""Plain, gzip and zstandard files behind one door: a stream of bytes, and how far into the file it has read."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What reading a damaged compressed file raises."""
BLOCK = 1 << 20


class OpenFile:
    """`stream` gives the decompressed bytes; `position` counts the bytes read from the file itself."""

    def __init__(self, stream: IO[bytes], raw: IO[bytes]) -> None:
        self.stream = stream
        self._raw = raw

    @property
    def position(self) -> int:
        return self._raw.tell()


@contextmanager
def open_file(path: Path) -> Iterator[OpenFile]:
    """Opens a file by what its name ends with (.gz, .zst, or as it is)."""
    with path.open("rb") as raw:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield OpenFile(unpacked, raw)  # type: ignore[arg-type]  # GzipFile reads as any binary file does
        elif path.suffix.lower() == ".zst":
            yield OpenFile(io.BufferedReader(ZstandardReader(raw), BLOCK), raw)
        else:
            yield OpenFile(raw, raw)


class ZstandardReader(io.RawIOBase):
    """A .zst file's content; unlike the library's own reader it notices that a file was cut off."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: Any = None
        self._ready = memoryview(b"")
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._waiting or self._raw.read(BLOCK)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ends in the middle of a zstandard frame")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(packed))
            self._waiting = b""
            if self._frame.eof:  # a file may hold several frames, one after the other
                self._waiting, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
