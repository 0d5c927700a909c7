"""The content of a file, read block by block. It is never in memory as a whole."""

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any

from agent.sources.file_signatures import refuse_foreign
from agent.sources.samples import unreadable
from fedge.data.disclosure import public
from fedge.errors import DataError

BLOCK = 1 << 16
"""The number of bytes that are read at once."""


class Content:
    """The complete lines of one open file. If the file does not grow, a last line without an end counts too.

    Args:
        file: the file, for messages.
        stream: the open file, unbuffered. A pipe is read to its end into memory.
        growing: whether a last line without an end is still being written, and is left for the next read.
    """

    def __init__(self, file: Path, stream: io.FileIO, growing: bool) -> None:
        self.file, self._descriptor = file, stream.fileno()
        stat = os.fstat(self._descriptor)
        self._piped = None if S_ISREG(stat.st_mode) else stream.readall()
        size = stat.st_size if self._piped is None else len(self._piped)
        self.state = stat.st_dev, stat.st_ino, size, stat.st_mtime_ns
        """A value that differs whenever the file may have changed."""
        self.end = self._last_end(size) if growing else size
        """The number of bytes that are read."""
        self.waits = self.end < size
        """Whether there is a last line without its end."""
        refuse_foreign(file, self.piece(0, 4_096), self.piece(max(0, size - BLOCK), BLOCK))

    def piece(self, start: int, count: int) -> bytes:
        """Read a piece of the file. It is shorter than `count` at the end of the file."""
        if self._piped is not None:
            return self._piped[start : start + count]
        return os.pread(self._descriptor, count, start)

    def head(self, count: int) -> bytes:
        """Read the first bytes, at most those of the complete lines."""
        return self.piece(0, min(count, self.end))

    def text(self, start: int = 0) -> Iterator[str]:
        """Iterate over the lines, with their line ends. Bytes that are not UTF-8 become surrogates.

        Args:
            start: the first byte to read, which must begin a line.

        Raises:
            DataError: the file was truncated while it was read.
        """
        piece = io.BufferedReader(_Piece(self, start), BLOCK)
        encoding = "utf-8-sig" if start == 0 else "utf-8"
        return io.TextIOWrapper(piece, encoding=encoding, errors="surrogateescape", newline="")

    def scan(self, start: int, end: int, checksum: int = 0) -> tuple[int, bool]:
        """Compute the CRC-32 of these bytes, continued from `checksum`, and whether they contain a quote."""
        quotes = False
        while start < end and (block := self.piece(start, min(BLOCK, end - start))):
            checksum = zlib.crc32(block, checksum)
            quotes = quotes or b'"' in block
            start += len(block)
        return checksum, quotes

    def _last_end(self, size: int) -> int:
        """Return the position after the last complete line."""
        while size > 0:
            start = max(0, size - BLOCK)
            block = self.piece(start, size - start)
            if (found := max(block.rfind(b"\n"), block.rfind(b"\r"))) >= 0:
                return start + found + 1
            size = start
        return 0


class _Piece(io.RawIOBase):
    """The bytes of a content from one position on."""

    def __init__(self, content: Content, start: int) -> None:
        self._content, self._at = content, start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._content
        block = content.piece(self._at, min(len(buffer), content.end - self._at))
        if not block and self._at < content.end:
            told = public("the file was cut while it was read")
            raise DataError(f"{content.file}: {told}; it is read again in the next round", told)
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)


@contextmanager
def opened(file: Path, growing: bool) -> Iterator[Content]:
    """Open a file's content for reading.

    Raises:
        DataError: the file cannot be read, or is not text.
    """
    try:
        with io.FileIO(file) as stream:
            yield Content(file, stream, growing)
    except OSError as error:
        raise unreadable(file, error) from None
