"""The texts in the attributes of an HDF5 file, read from its bytes.

The HDF5 library allocates what a text says its length is, up to 4 GiB, before it looks at the heap in which the text
lies; and where an entry of that heap has size 0, it walks for ever. So these few structures, which Keras's files have
in their first version alone, are read here. Offsets are taken as they stand: every access is a slice of the file.

Layouts: "HDF5 File Format Specification Version 3.0", The HDF Group: object header (IV.A.1.a), attribute message
(IV.A.2.m), datatype message (IV.A.2.d), dataspace message (IV.A.2.b), global heap (III.E).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_MESSAGES = 1 << 12  # in one object's header
MAX_NAMES = 1 << 14  # texts in one attribute
MAX_ENTRIES = 1 << 17  # in all heaps of a file, which may lie in each other
MAX_TEXT = 16 << 20  # bytes of an attribute's texts; the architecture of a thousand layers needs under four MiB

ATTRIBUTE, CONTINUATION = 0x0C, 0x10  # kinds of messages
FIXED, VARIABLE = 3, 9  # classes of datatypes: a text in its place, and one in a heap

HEADER = struct.Struct("<BxHII4x")  # version, messages, references, size of the messages
MESSAGE = struct.Struct("<HHB3x")  # kind, size, flags
PLACE = struct.Struct("<QQ")  # offset, length
SIZES = struct.Struct("<BxHHH")  # an attribute's version, and the sizes of its name, datatype and dataspace
IN_HEAP = struct.Struct("<IQI")  # length, the heap's offset, the entry's number
HEAP = struct.Struct("<4sB3xQ")  # signature, version, size
ENTRY = struct.Struct("<H6xQ")  # number, or 0 for what is free; size


class TextError(ValueError):
    """bytes that are not laid out as they should be; the text says which."""


def texts_of(data: bytes, heaps: Heaps, header: int, name: str) -> list[str] | None:
    """The texts of the attribute `name` of the object whose header is at `header`; None without it.

    `heaps` are those of `data`.

    Raises:
        TextError: Damaged, no texts, or more than a model has.
    """
    for kind, body in _messages(data, header):
        if kind == ATTRIBUTE:
            found = _attribute(heaps, body, name)
            if found is not None:
                return found
    return None


def _messages(data: bytes, header: int) -> Iterator[tuple[int, bytes]]:
    version, _, _, size = HEADER.unpack(_at(data, header, HEADER.size))
    if version != 1:
        raise TextError("an object header of another version than 1, which Keras writes")
    parts, count = [(header + HEADER.size, size)], 0
    for start, length in parts:  # grows while it is walked
        at, end = start, start + length
        while at + MESSAGE.size <= end:
            kind, size, flags = MESSAGE.unpack(_at(data, at, MESSAGE.size))
            at += MESSAGE.size
            if at + size > end:
                raise TextError("a message that is longer than its header")
            body, count = _at(data, at, size), count + 1
            if count > MAX_MESSAGES or len(parts) > MAX_MESSAGES:
                raise TextError(f"more than {MAX_MESSAGES} messages in an object's header")
            if kind == CONTINUATION:
                parts.append(PLACE.unpack(body[: PLACE.size]))
            elif flags & 2 and kind == ATTRIBUTE:
                raise TextError("an attribute that lies in another object")
            else:
                yield kind, body
            at += size


def _attribute(heaps: Heaps, body: bytes, name: str) -> list[str] | None:
    version, name_size, type_size, space_size = SIZES.unpack(body[: SIZES.size])
    if version not in (1, 2, 3):
        raise TextError(f"an attribute of version {version}")
    at, parts = SIZES.size + (version == 3), []
    for size in (name_size, type_size, space_size):
        parts.append(body[at : at + size])
        at += (size + 7) // 8 * 8 if version == 1 else size
    found, datatype, space = parts
    if found.rstrip(b"\0") != name.encode():
        return None
    if version > 1 and body[1] & 3:
        raise TextError("a type or a shape that lies in another object")
    count, values = _count(space), body[at:]
    if count == 0:
        return []
    kind, size = datatype[0] & 15, int.from_bytes(datatype[4:8], "little")
    if kind not in (FIXED, VARIABLE) or (kind == VARIABLE and datatype[1] & 15 != 1):
        raise TextError("expected text, got another type")
    size = IN_HEAP.size if kind == VARIABLE else size
    if count > MAX_NAMES or count * size > len(values):
        raise TextError(f"{count} texts of {size} bytes in a message of {len(values)}")
    each = [values[n * size : (n + 1) * size] for n in range(count)]
    if kind == FIXED:
        return [value.rstrip(b"\0").decode() for value in each]
    left, texts = MAX_TEXT, []
    for value in each:
        length, heap, number = IN_HEAP.unpack(value)
        texts.append(heaps.text(length, heap, number, left))
        left -= len(texts[-1])
    return texts


def _count(space: bytes) -> int:
    """How many elements a dataspace has."""
    version, rank = space[0], space[1]
    if version not in (1, 2) or rank > 1:
        raise TextError(f"expected one text or a list of them, got {rank} axes")
    if version == 2 and space[3] == 2:
        return 0
    return int.from_bytes(space[8 if version == 1 else 4 :][:8], "little") if rank else 1


class Heaps:
    """The heaps of a file, each walked once however many texts name it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._entries: dict[int, dict[int, tuple[int, int]]] = {}  # by a heap's offset and a number: offset and size
        self._left = MAX_ENTRIES

    def text(self, length: int, heap: int, number: int, limit: int) -> str:
        """The text of `length` bytes that is the entry `number` of the heap at `heap`."""
        if length > limit:
            raise TextError(f"texts of more than {MAX_TEXT} bytes")
        if length == 0:
            return ""
        if heap not in self._entries:
            self._entries[heap] = self._walk(heap)
        if number not in self._entries[heap]:
            raise TextError(f"no entry {number} in the heap at {heap}")
        at, size = self._entries[heap][number]
        if length > size:
            raise TextError(f"a text of {length} bytes in an entry of {size}")
        return _at(self._data, at, length).rstrip(b"\0").decode()

    def _walk(self, heap: int) -> dict[int, tuple[int, int]]:
        signature, version, size = HEAP.unpack(_at(self._data, heap, HEAP.size))
        if signature != b"GCOL" or version != 1:
            raise TextError(f"no heap at {heap}, where a text should lie")
        found: dict[int, tuple[int, int]] = {}
        at, end = heap + HEAP.size, min(heap + size, len(self._data))
        while at + ENTRY.size <= end:
            number, size = ENTRY.unpack(_at(self._data, at, ENTRY.size))
            at += ENTRY.size
            if number == 0 or size > end - at:
                break
            self._left -= 1
            if self._left < 0:
                raise TextError(f"more than {MAX_ENTRIES} entries in heaps")
            found.setdefault(number, (at, size))
            at += (size + 7) // 8 * 8
        return found


def _at(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise TextError(f"{size} bytes at {start} are outside the file")
    return data[start : start + size]
