"""The layout of safetensors files: a header in JSON that says where each tensor's bytes lie, then the bytes.

It is read here and not by the safetensors package, which maps the file into memory: a process that reads from a map of
a file that another one makes shorter is killed. A file is read as if an enemy had written it: what the header says is
compared with the file, and a tensor is read when it is asked for, once its shape was found to be the right one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lstmcore.errors import ModelFormatError
from lstmcore.files import open_plain
from lstmcore.formats.guard.json_text import parse
from lstmcore.formats.guard.limits import MAX_EXTENT, allowed
from lstmcore.layers import Array

MAX_HEADER = 4 << 20  # bytes; a header of a thousand layers needs under one MiB
MAX_AXES = 32  # numpy's, before 2.0
LETTERS = {"F": "float", "I": "int", "U": "uint"}  # "F32" is numpy's "float32"
#: The sizes in bytes of the dtypes that are read; a tensor of another one has a dtype and a shape to be told.
SIZES = {"F16": 2, "F32": 4, "F64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "U8": 1, "U16": 2, "U32": 4, "U64": 8}
#: What a file of another format begins with.
OTHERS = {
    "a zip archive, as .keras and .pt files are": re.compile(rb"PK\x03\x04"),
    "HDF5, as .h5 files are": re.compile(rb"\x89HDF\r\n\x1a\n"),
    # Protobuf's fields of a ModelProto: ir_version, up to 31, and one that is known behind it.
    "a .onnx file": re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]"),
}


class Tensor(NamedTuple):
    """One tensor of a file: its dtype in the file's words, its shape, and a function that reads it."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Array]

    @property
    def numpy_dtype(self) -> str:
        """numpy's name of the dtype; the file's own where numpy has none."""
        return LETTERS[self.dtype[0]] + self.dtype[1:] if self.dtype in SIZES else self.dtype


@contextlib.contextmanager
def open_tensors(file: str) -> Iterator[tuple[dict[str, str], dict[str, Tensor]]]:
    """The metadata of a file, and its tensors by name, to be read while it is open.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: No safetensors file, a damaged one, or one that becomes shorter while it is read.
    """
    with open_plain(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        header, start = _header(stream, file, size)
        what = f"{file}: not a valid safetensors file"
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ModelFormatError(f"{what}: __metadata__: expected texts by name, got {metadata!r:.200}")
        places = {name: _place(entry, f"{what}: {name!r:.200}") for name, entry in header.items()}
        ends = [0, *itertools.chain(*sorted(offsets for _, _, offsets in places.values())), size - start]
        if max(ends) > size - start:
            raise ModelFormatError(f"{what}: truncated: {size - start} bytes of tensors, which end at {max(ends)}")
        if ends[0::2] != ends[1::2]:  # where one ends the next begins
            raise ModelFormatError(f"{what}: the tensors do not lie one after the other in its {size - start} bytes")
        yield metadata, {name: _tensor(stream, f"{file}: {name}", start, *place) for name, place in places.items()}


def _header(stream: io.BufferedReader, file: str, size: int) -> tuple[dict[str, Any], int]:
    """The header, whose stated length is compared with the file before anyone allocates it, and where it ends.

    No key is there twice: of two keys in the metadata, and of two tensors, others would take the last in silence.
    """
    first = stream.read(8)
    if len(first) < 8:
        raise ModelFormatError(
            f"{file}: truncated: {size} bytes, and a safetensors file begins with 8 of header length"
        )
    length = int.from_bytes(first, "little")
    looks = next((name for name, begins in OTHERS.items() if begins.match(first)), None)
    if looks and 8 + length > min(size, MAX_HEADER):
        raise ModelFormatError(f"{file}: no safetensors file: it looks like {looks}; give it that format's suffix")
    if length > MAX_HEADER:
        raise ModelFormatError(
            f"{file}: no safetensors file, or a hostile one: header of {length} bytes; at most {MAX_HEADER} are taken"
        )
    if 8 + length > size:
        raise ModelFormatError(f"{file}: truncated: a header of {length} bytes in a file of {size}")
    text = stream.read(length)
    if len(text) != length:
        raise _shorter(file)
    return parse(text, f"{file}: not a valid safetensors file: its header", allowed(size)), 8 + length


def _place(entry: Any, what: str) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    """A tensor's dtype, shape and offsets, which fit each other."""
    if not isinstance(entry, Mapping) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ModelFormatError(f"{what}: expected dtype, shape and data_offsets, got {entry!r:.200}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _sizes(shape) or len(shape) > MAX_AXES:
        raise ModelFormatError(f"{what}: expected a dtype and a shape, got {dtype!r:.200} and {shape!r:.200}")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ModelFormatError(f"{what}: data_offsets: expected a begin and an end, got {offsets!r:.200}")
    if math.prod(max(n, 1) for n in shape) > MAX_EXTENT:
        raise ModelFormatError(f"{what}: expected a shape of at most {MAX_EXTENT} elements, got {shape!r:.200}")
    begin, end = offsets
    if dtype in SIZES and math.prod(shape) * SIZES[dtype] != end - begin:
        raise ModelFormatError(f"{what}: {dtype} of shape {shape!r:.200} in {end - begin} bytes")
    return dtype, tuple(shape), (begin, end)


def _sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)


def _tensor(
    stream: io.BufferedReader, what: str, start: int, dtype: str, shape: tuple[int, ...], offsets: tuple[int, int]
) -> Tensor:
    return Tensor(dtype, shape, functools.partial(_read, stream, what, start, dtype, shape, offsets))


def _read(
    stream: io.BufferedReader, what: str, start: int, dtype: str, shape: tuple[int, ...], offsets: tuple[int, int]
) -> Array:
    if dtype not in SIZES:
        raise ModelFormatError(f"{what}: dtype {dtype:.40}: expected one of {', '.join(SIZES)}")
    data = np.empty(offsets[1] - offsets[0], np.uint8)
    stream.seek(start + offsets[0])
    if stream.readinto(data.data) != data.size:
        raise _shorter(what)
    little = data.view(np.dtype(LETTERS[dtype[0]] + dtype[1:]).newbyteorder("<"))
    return little.astype(little.dtype.newbyteorder("="), copy=False).reshape(shape)


def _shorter(what: str) -> ModelFormatError:
    return ModelFormatError(f"{what}: the file became shorter while it was read")
