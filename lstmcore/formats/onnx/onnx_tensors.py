"""Tensors of an ONNX file as arrays: those in the protobuf, and those in files beside it.

What a tensor says of its shape is compared with the bytes that are there before anything of that size is allocated.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.files import open_plain
from lstmcore.layers import Array

MAX_RANK = 8
MAX_SHARED = 4  # tensors that may lie in the same bytes of another file, on average

#: What tensors may hold, by ONNX's number of the type: numpy's dtype of it as it lies in `raw_data`.
DTYPES: Mapping[int, str] = MappingProxyType(
    {
        TensorProto.FLOAT: "<f4",
        TensorProto.DOUBLE: "<f8",
        TensorProto.FLOAT16: "<f2",
        TensorProto.BFLOAT16: "<u2",
        TensorProto.INT64: "<i8",
        TensorProto.INT32: "<i4",
        TensorProto.INT8: "<i1",
        TensorProto.UINT8: "<u1",
        TensorProto.BOOL: "<u1",
    }
)

#: The field that holds a tensor's numbers where `raw_data` does not.
TYPED_FIELDS: Mapping[int, str] = MappingProxyType(
    {
        TensorProto.FLOAT: "float_data",
        TensorProto.DOUBLE: "double_data",
        TensorProto.INT64: "int64_data",
        **dict.fromkeys(
            (
                TensorProto.FLOAT16,
                TensorProto.BFLOAT16,
                TensorProto.INT32,
                TensorProto.INT8,
                TensorProto.UINT8,
                TensorProto.BOOL,
            ),
            "int32_data",
        ),
    }
)


def type_name(number: int) -> str:
    """ONNX's name of a tensor's type, for messages."""
    return str(TensorProto.DataType.Name(number)) if number in TensorProto.DataType.values() else f"type {number}"


class Tensors:
    """Turns tensors of `file` into arrays; keeps count of the bytes that come from other files.

    Raises:
        ModelFormatError: A tensor whose data is not what its shape says, or lies outside the file's folder.
        UnsupportedError: A type that models do not need.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._folder = Path(file).resolve().parent
        self._checked: set[Path] = set()
        self._sizes: dict[Path, int] = {}  # of other files
        self.external = 0  # bytes read from them

    def array(self, tensor: TensorProto, what: str) -> Array:
        """The numbers of `tensor`, half precision widened to float32; `what` names it in errors."""
        what = f"{self._file}: {what}"
        if tensor.data_type not in DTYPES:
            raise UnsupportedError(f"{what}: holds {type_name(tensor.data_type)}; expected float or integer numbers")
        dtype = np.dtype(DTYPES[tensor.data_type])
        shape = tuple(tensor.dims)
        if len(shape) > MAX_RANK or any(n < 0 for n in shape):
            raise ModelFormatError(f"{what}: shape {shape!r:.200}; expected at most {MAX_RANK} sizes, none negative")
        if tensor.HasField("segment"):
            raise UnsupportedError(f"{what}: is stored in segments")
        count = math.prod(shape)
        if tensor.data_location == TensorProto.EXTERNAL:
            flat = self._external(tensor, dtype, count, what)
        else:
            flat = _internal(tensor, dtype, count, what)
        if tensor.data_type == TensorProto.BFLOAT16:
            flat = (flat.astype("<u4") << 16).view("<f4")
        elif tensor.data_type == TensorProto.FLOAT16:
            flat = flat.astype("<f4")
        elif tensor.data_type == TensorProto.BOOL:
            flat = flat != 0
        try:
            return flat.reshape(shape)
        except ValueError as error:  # sizes whose product is 0, and yet too large
            raise ModelFormatError(f"{what}: shape {shape!r:.200}: {error}") from None

    def _external(self, tensor: TensorProto, dtype: np.dtype[np.generic], count: int, what: str) -> Array:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.raw_data or any(len(getattr(tensor, field)) for field in set(TYPED_FIELDS.values())):
            raise ModelFormatError(f"{what}: has numbers both in the file and outside of it")
        unknown = entries.keys() - {"location", "offset", "length", "checksum"}
        if unknown or len(entries) != len(tensor.external_data) or "location" not in entries:
            keys = [entry.key for entry in tensor.external_data]
            raise ModelFormatError(f"{what}: external data: expected location, offset and length, got {keys!r:.200}")
        expected = count * dtype.itemsize
        offset = _number(entries.get("offset", "0"), f"{what}: external data: offset")
        length = _number(entries.get("length", str(expected)), f"{what}: external data: length")
        if length != expected:
            raise ModelFormatError(
                f"{what}: shape {tuple(tensor.dims)} needs {expected} bytes, external data has {length}"
            )
        path = self._inside(entries["location"], what)
        where = f"{what}: external data: {entries['location']!r:.200}"
        try:
            opened = open_plain(path, what=where)
        except OSError as error:
            raise ModelFormatError(f"{where}: {error.strerror}") from None
        with opened as stream:
            status = os.fstat(stream.fileno())
            if offset + length > status.st_size:
                raise ModelFormatError(
                    f"{what}: external data: bytes {offset} to {offset + length} of {entries['location']!r:.200}, "
                    f"which has {status.st_size}"
                )
            if "checksum" in entries and path not in self._checked:
                digest = hashlib.sha1(usedforsecurity=False)
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                if digest.hexdigest() != entries["checksum"].lower():
                    raise ModelFormatError(f"{where} has another checksum")
                self._checked.add(path)
            self.external += length
            self._sizes[path] = status.st_size
            if self.external > MAX_SHARED * sum(self._sizes.values()):
                raise ModelFormatError(
                    f"{what}: external data: tensors that share more than {MAX_SHARED} times the bytes there are"
                )
            stream.seek(offset)
            data = stream.read(length)
        if len(data) != length:
            raise ModelFormatError(f"{where} has changed while it was read")
        return np.frombuffer(data, dtype)

    def _inside(self, location: str, what: str) -> Path:
        """The file at `location`, which must lie in the model's folder, links followed."""
        given = Path(location)
        wrong = f"{what}: external data: {location!r:.200}: expected a file in the model's folder"
        if not location or "\0" in location or "\\" in location or given.is_absolute() or ".." in given.parts:
            raise ModelFormatError(wrong)
        try:
            path = (self._folder / given).resolve(strict=True)
        except (OSError, RuntimeError):
            raise ModelFormatError(f"{wrong}, and there is none of this name") from None
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise ModelFormatError(wrong)
        return path


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ModelFormatError(f"{what}: expected a number of bytes, got {text!r:.100}")
    return int(text)


def _internal(tensor: TensorProto, dtype: np.dtype[np.generic], count: int, what: str) -> Array:
    """The numbers in the protobuf itself, in one of two places; never both."""
    if tensor.external_data:
        raise ModelFormatError(f"{what}: names external data, but is not external")
    field = TYPED_FIELDS[tensor.data_type]
    others = [name for name in (*set(TYPED_FIELDS.values()), "string_data", "uint64_data") if name != field]
    if any(len(getattr(tensor, name)) for name in others):
        raise ModelFormatError(f"{what}: holds {type_name(tensor.data_type)}, but has numbers of another type")
    typed = getattr(tensor, field)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(typed) or len(raw) != count * dtype.itemsize:
            raise ModelFormatError(
                f"{what}: shape {tuple(tensor.dims)} needs {count * dtype.itemsize} bytes, there are {len(raw)}"
            )
        return np.frombuffer(raw, dtype)
    if len(typed) != count:
        raise ModelFormatError(f"{what}: shape {tuple(tensor.dims)} needs {count} numbers, there are {len(typed)}")
    if field != "int32_data":
        return np.fromiter(typed, dtype, count)
    wide = np.fromiter(typed, "<i4", count)
    stored = np.dtype("<u2") if dtype == np.float16 else dtype  # half precision lies there as its bits
    limits = np.iinfo(stored.str)
    if count and not limits.min <= wide.min() <= wide.max() <= limits.max:
        raise ModelFormatError(f"{what}: numbers too large for {type_name(tensor.data_type)}")
    return wide.astype(stored).view(dtype)
