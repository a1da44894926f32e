"""A protobuf's fields as they lie in the file, before any is parsed: what they would take, and whether names are text.

Two bytes can be an empty message, for which the parser allocates some hundreds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstmcore.errors import ModelFormatError

MAX_FIELDS = 800_000  # in the whole protobuf; a node with its attributes, shapes and metadata has some 60
MAX_DEPTH = 100  # messages in messages; protobuf's own limit
GROWTH, FLOOR = 8, 4 << 20  # what parsing may take: so many times the file's size, and some bytes
SLOT = 16  # bytes that a field takes in a parsed message, and a number in a list that grows
NAME = 32  # bytes that a text takes in a list, beside its characters

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # types on the wire


class _Kind:
    """The fields of a kind of message, by number, and what such a message takes."""

    def __init__(self, descriptor: Any) -> None:
        self.name = descriptor.name
        self.size = SLOT * (1 + len(descriptor.fields))
        self.fields: Mapping[int, Any] = {field.number: field for field in descriptor.fields}


def check(file: str, data: bytes, descriptor: Any) -> None:
    """Raise ModelFormatError where `data` is no message of this kind, or one that grows when it is parsed."""
    kinds: dict[str, _Kind] = {}

    def kind_of(found: Any) -> _Kind:
        if found.full_name not in kinds:
            kinds[found.full_name] = _Kind(found)
        return kinds[found.full_name]

    damaged = f"{file}: not an ONNX file, or a damaged one"
    limit = FLOOR + GROWTH * len(data)
    taken = seen = 0
    at, end, kind = 0, len(data), kind_of(descriptor)
    outer: list[tuple[int, _Kind]] = []
    while True:
        while at == end and outer:
            end, kind = outer.pop()
        if taken > limit:
            raise ModelFormatError(f"{file}: {len(data)} bytes that would take more than {limit} in memory")
        if at == end:
            return
        seen += 1
        if seen > MAX_FIELDS:
            raise ModelFormatError(f"{file}: more than {MAX_FIELDS} fields in the protobuf")
        tag, at = _number(data, at, end, damaged)
        field, wire = kind.fields.get(tag >> 3), tag & 7
        if wire == VARINT:
            _, at = _number(data, at, end, damaged)
            taken += SLOT
            continue
        if wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        elif wire == BYTES:
            size, at = _number(data, at, end, damaged)
        else:
            raise ModelFormatError(f"{damaged}: a field of type {wire} on the wire")
        if size > end - at:
            raise ModelFormatError(f"{damaged}: ends within a field")
        taken += SLOT
        if wire == BYTES and field is not None:
            if field.type == field.TYPE_MESSAGE:
                if len(outer) >= MAX_DEPTH:
                    raise ModelFormatError(f"{damaged}: messages {MAX_DEPTH} deep")
                outer.append((end, kind))
                end, kind = at + size, kind_of(field.message_type)
                taken += kind.size
                continue
            if field.type == field.TYPE_STRING:
                taken += NAME
                _check_text(data[at : at + size], f"{file}: {kind.name}.{field.name}")
            elif field.type not in (field.TYPE_BYTES, field.TYPE_FLOAT, field.TYPE_DOUBLE):
                # Numbers behind each other, each of which ends with a byte below 128.
                taken += SLOT * int(np.count_nonzero(np.frombuffer(data, np.int8, size, at) >= 0))
        at += size


def _number(data: bytes, at: int, end: int, damaged: str) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next field begins."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ModelFormatError(f"{damaged}: ends within a number")


def _check_text(text: bytes, what: str) -> None:
    """Refuse names that are no text, which protobuf hands out as bytes."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ModelFormatError(f"{what}: {text!r:.100} is no text") from None
