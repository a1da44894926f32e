"""The archives that torch.save writes: records that lie uncompressed in a zip file. Read as if an enemy wrote them.

What the archive says of itself is compared with the file before anything of that size is allocated: records lie one
behind the other, each whole, inside the file, under a name of its own and with its checksum.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcore.errors import ModelFormatError

MAX_FILE = (1 << 32) - 1  # bytes; zip needs other records beyond it, and checkpoints of such models do not come near
MAX_DIRECTORY = 4 << 20  # bytes; a record takes some 60 of them

HEADER = struct.Struct("<4s5H3I2H")  # before each record
LISTED = struct.Struct("<4s6H3I5H2I")  # one record in the directory
END = struct.Struct("<4s4H2IH")
END_64 = 56 + 20  # the same in 64 bits, and a pointer to it; torch writes them always

MAGIC = b"PK\x03\x04"  # of a header, so of the file
SAVE_THERE = "save module.state_dict() alone, where the file was made"
SAVE_AGAIN = "load it in torch and torch.save(module.state_dict(), path)"
SCRIPT = "TorchScript", "in torch, torch.save(torch.jit.load(path).state_dict(), other_path)"
EXPORT = "torch.export", "in torch, torch.save(torch.export.load(path).state_dict, other_path)"

ALLOWED_FLAGS = 1 << 3 | 1 << 11  # sizes stand behind the data too; names are UTF-8

#: Parts of records' names by which the archives are known that other functions of torch write, and how to convert them.
OTHER_ARCHIVES = {
    "constants.pkl": SCRIPT,
    "code": SCRIPT,
    "archive_format": EXPORT,
    "serialized_exported_program.json": EXPORT,
    "extern_modules": ("torch.package", SAVE_AGAIN),
}


class Record(NamedTuple):
    """Where a record's bytes are, and their CRC-32."""

    start: int
    size: int
    checksum: int


class Archive:
    """The records of an archive that is open for reading, by their names inside the archive's one folder.

    Args:
        stream: The file, from which `read` takes the records.
        what: The beginning of every error: the file, and what was expected of it.

    Raises:
        ModelFormatError: No zip file, a damaged or hostile one, or one that torch.save did not write.
    """

    def __init__(self, stream: io.BufferedReader, what: str) -> None:
        self._stream, self._what = stream, what
        listed, directory = self._read_directory(os.fstat(stream.fileno()).st_size)
        for path in [name.split("/") for name in listed]:
            for part in path[1:] or path:  # the folder has the file's name
                if part in OTHER_ARCHIVES:
                    kind, how = OTHER_ARCHIVES[part]
                    raise self._refused(f"it is a {kind} archive; {how}")
        records = self._find_records(listed, directory)
        folders = sorted({name.partition("/")[0] for name in records})
        if len(folders) != 1 or f"{folders[0]}/data.pkl" not in records:
            raise self._refused(f"expected one folder with a data.pkl in the archive, got the folders {folders!r:.200}")
        self.records = {name.partition("/")[2]: record for name, record in records.items()}
        # torch.serialization.set_crc32_options(False) leaves every checksum 0.
        self._has_checksums = any(record.checksum for record in records.values())

    def read(self, name: str, limit: int) -> npt.NDArray[np.uint8]:
        """The bytes of a record, shape (size,). Raises ModelFormatError without it, if damaged or above `limit`."""
        what = f"record {name!r:.200}"
        record = self.records.get(name)
        if record is None:
            raise self._refused(f"{what} is missing")
        if record.size > limit:
            raise self._refused(f"{what}: expected at most {limit} bytes, got {record.size}")
        data = np.empty(record.size, np.uint8)
        self._stream.seek(record.start)
        if self._stream.readinto(data.data) != record.size:
            raise self._refused(f"{what}: the file became shorter while it was read")
        if self._has_checksums and (found := zlib.crc32(data.data)) != record.checksum:
            raise self._refused(f"{what} is damaged: expected checksum {record.checksum:08x}, got {found:08x}")
        return data

    def _read_directory(self, size: int) -> tuple[dict[str, tuple[int, ...]], int]:
        """What the directory says of each record, (flags, method, checksum, packed size, size, start); where it is."""
        if size > MAX_FILE:
            raise self._refused(f"a file of {size} bytes; at most {MAX_FILE} are taken")
        if size < END.size:
            raise self._refused(f"truncated: {size} bytes")
        magic, disk, first_disk, here, count, length, start, comment = END.unpack(self._at(size - END.size, END.size))
        if magic != b"PK\x05\x06" or disk or first_disk or here != count or comment:
            raise self._refused("truncated or damaged: no end of a zip archive at the end of the file")
        if start + length not in (size - END.size, size - END.size - END_64) or length > MAX_DIRECTORY:
            raise self._refused(f"truncated or damaged: a directory of {length} bytes at {start} in a file of {size}")
        data, at = self._at(start, length), 0
        listed: dict[str, tuple[int, ...]] = {}
        while at + LISTED.size <= length:
            magic, _, _, flags, method, _, _, checksum, packed, size, *more = LISTED.unpack_from(data, at)
            name_length, extra_length, comment_length, disk, _, _, record_start = more
            at += LISTED.size
            name = self._decoded(data[at : at + name_length])
            at += name_length + extra_length + comment_length
            if magic != b"PK\x01\x02" or disk or name in listed:
                raise self._refused(f"a damaged directory, or two records of one name: {name!r:.200}")
            listed[name] = (flags, method, checksum, packed, size, record_start)
        if at != length or len(listed) != count:
            raise self._refused(f"a damaged directory: expected {count} records, got {len(listed)}")
        return listed, start

    def _find_records(self, listed: dict[str, tuple[int, ...]], directory: int) -> dict[str, Record]:
        records, free = {}, 0
        for name, entry in sorted(listed.items(), key=lambda item: item[1][-1]):
            flags, method, checksum, packed, size, at = entry
            what = f"record {name!r:.200}"
            if method or packed != size or flags & ~ALLOWED_FLAGS:
                raise self._refused(f"{what} is compressed or encrypted; torch.save writes the bytes as they are")
            if at < free or at + HEADER.size > directory:
                raise self._refused(f"{what}: its place, {at}, is taken or outside the file")
            magic, _, _, method, *_, name_length, extra_length = HEADER.unpack(self._at(at, HEADER.size))
            if magic != MAGIC or method or self._at(at + HEADER.size, name_length) != name.encode():
                raise self._refused(f"{what}: its header and the directory differ")
            start = at + HEADER.size + name_length + extra_length
            free = start + size
            if free > directory:
                raise self._refused(f"{what}: {size} bytes at {start} in a file with {directory} bytes of records")
            records[name] = Record(start, size, checksum)
        return records

    def _at(self, start: int, size: int) -> bytes:
        self._stream.seek(start)
        data = self._stream.read(size)
        if len(data) != size:
            raise self._refused("the file became shorter while it was read")
        return data

    def _decoded(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise self._refused(f"a damaged directory: a record's name is {name!r:.200}") from None

    def _refused(self, why: str) -> ModelFormatError:
        return ModelFormatError(f"{self._what}: {why}")
