"""Recordings of an exchange's stream, as text or as gzip: a line is what came, and when.

A line is the receive time since 1970, a space, and the message as it came, one JSON object. Nothing is said here
about what is in it: that is for `lstmcore.feed.messages`.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from lstmcore.feed.clock import NS_PER, unit_of
from lstmcore.files import open_plain

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

GZIP = b"\x1f\x8b"  # what every such file begins with
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)  # what reading a gzip file raises that is cut off or spoiled
MAX_LINE = 1 << 19  # bytes; an exchange's longest messages, whole order books, have a fifth of that
BOM = b"\xef\xbb\xbf"  # some editors begin a text file with it


class Line(NamedTuple):
    """One message."""

    received_ns: int  # since 1970, by the clock of the machine that recorded
    payload: bytes  # without a line's end


class Recording:
    """The lines of a file, read one by one in bounded memory; each `for` begins anew.

    Lines without a receive time since 1970 in front, or with one that is in another unit by damage, and lines longer
    than half a megabyte, are left out and counted. Where a gzip file is cut off, the lines before that place are read;
    where it is damaged, those up to a block before. Receive times may be in ns, µs, ms or s: the size of the first one
    says in which (see `lstmcore.feed.clock`), `unit` tells it, and lines come in ns.

    Args:
        path: A text file or a gzip file; which, its first bytes say.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        #: In which unit the file has its receive times, a key of `clock.NS_PER`; "" before the first line was read.
        self.unit = ""
        #: Lines that were left out.
        self.malformed = 0
        #: Why the file could not be read to its end; "" where it could.
        self.damage = ""
        #: Bytes of the file that have been read: behind us, of `size`.
        self.position = 0

    @property
    def size(self) -> int:
        """Bytes of the file. Raises FileNotFoundError."""
        return os.stat(self.path).st_size

    def head(self, lines: int, most: int = 60) -> list[bytes]:
        """The first lines as they stand in the file, sound or not, at most `most` bytes of each.

        Raises FileNotFoundError, or another OSError, or ValueError, where the file cannot be opened.
        """
        found: list[bytes] = []
        with open_plain(self.path, ValueError) as file:
            unpacked = _Unpacked(file) if _is_gzip(file) else None
            text = io.BufferedReader(unpacked) if unpacked else file
            while len(found) < lines and (line := text.readline(MAX_LINE)):
                if unpacked and unpacked.damage and not line.endswith(b"\n"):
                    break
                found.append(line.rstrip(b"\r\n")[:most])
                _skip_rest(text, line)
        return found

    def __iter__(self) -> Iterator[Line]:
        """The lines.

        Raises:
            FileNotFoundError: No such file; or another OSError, where it cannot be opened.
            ValueError: No file but a pipe or a folder, a pointer of Git LFS, or receive times in several units;
                the lines before that place have been yielded.
        """
        self.malformed, self.damage, self.position, self.unit = 0, "", 0, ""
        with open_plain(self.path, ValueError) as file:
            unpacked = _Unpacked(file) if _is_gzip(file) else None
            for line in self._lines(io.BufferedReader(unpacked) if unpacked else file, unpacked):
                self.position = file.tell()
                yield line
            self.damage = str(unpacked.damage or "") if unpacked else ""
            self.position = file.tell()

    def _lines(self, text: IO[bytes], unpacked: _Unpacked | None) -> Iterator[Line]:
        number, scale, sound, strange = 0, 0, False, 0
        last: tuple[int, str] | None = None  # of `strange` lines with another unit: its number, its unit
        while line := text.readline(MAX_LINE):
            number += 1
            if unpacked and unpacked.damage and not line.endswith(b"\n"):
                return  # the beginning of a line
            if _skip_rest(text, line):
                self.malformed += 1
                continue
            time, space, payload = line.removeprefix(BOM).partition(b" ")
            unit = unit_of(int(time)) if space and time.isdigit() and len(time) < 20 else None
            if unit is None:
                self.malformed += 1
                continue
            if unit != self.unit and self.unit:
                # One alone is a damaged line, and so are some among as many that have no time at all.
                if last and ((unit == last[1] and not sound) or strange >= max(1, self.malformed - strange)):
                    if unpacked and unpacked.is_damaged():
                        return
                    raise ValueError(
                        f"{self.path}: line {number}: the receive time {int(time)} is one in {unit}, line {last[0]} "
                        f"has one in {last[1]}, and the first is in {self.unit}; a recording has one unit"
                    )
                last, sound, strange = (number, unit), False, strange + 1
                self.malformed += 1
                continue
            if not self.unit:
                self.unit, scale = unit, NS_PER[unit]
            sound = True  # since the last strange one
            yield Line(int(time) * scale, payload.rstrip(b"\r\n"))


def _skip_rest(text: IO[bytes], line: bytes) -> bool:
    """Whether a line is longer than MAX_LINE; what is left of it is then passed over."""
    long = len(line) == MAX_LINE and not line.endswith(b"\n")
    while long and (rest := text.readline(MAX_LINE)) and not rest.endswith(b"\n"):
        pass
    return long


def _is_gzip(file: io.BufferedReader) -> bool:
    return file.peek(len(GZIP))[: len(GZIP)] == GZIP


class _Unpacked(io.RawIOBase):
    """What a gzip file holds, up to where it is cut off: a reader that buffers would drop what came just before.

    Before other damage, the last block is left out: what is unpacked there may already be wrong.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._gzip = gzip.GzipFile(fileobj=file)
        self._ready, self._last, self._ended = bytearray(), b"", False
        self.damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._ready and not self._ended:
            self._unpack()
        data = self._ready[: len(into)]
        del self._ready[: len(data)]
        into[: len(data)] = data
        return len(data)

    def is_damaged(self) -> bool:
        """Whether anything is wrong from here to the end; nothing is read after that."""
        while not self._ended:
            self._unpack()
            self._ready.clear()
        return self.damage is not None

    def _unpack(self) -> None:
        try:
            block = self._gzip.read1(io.DEFAULT_BUFFER_SIZE)
        except DAMAGE as error:
            self.damage, block = error, b""
            if isinstance(error, zlib.error):
                self._last = b""
        self._ready += self._last
        self._last, self._ended = block, not block


class Writer:
    """Writes a recording; a context manager. A file that is there already is replaced.

    Args:
        path: A name that ends in .gz is compressed, any other is text.

    Raises:
        FileNotFoundError: No such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "wb")  # noqa: SIM115  # closed by `close`
        compressed = Path(path).suffix == ".gz"
        # no name and no time in the file, so that the same lines make the same bytes
        self._text = gzip.GzipFile("", "wb", fileobj=self._file, mtime=0) if compressed else self._file

    def write(self, received_ns: int, payload: bytes) -> None:
        """One line. A line's end inside of the message becomes a space, which in JSON is the same."""
        self._text.write(b"%d %s\n" % (received_ns, payload.replace(b"\n", b" ")))

    def close(self) -> None:
        """Write what is left."""
        self._text.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
