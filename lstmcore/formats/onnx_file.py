"""ONNX files as bytes: the protobuf, its tensors, and those in files beside it. Read as if an enemy wrote them.

What a tensor says of its shape is compared with the bytes that are there before anything of that size is allocated.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.layers import Array

MAX_FILE = (1 << 31) - 1  # bytes; no protobuf message is larger
MAX_NODES = 10_000  # a model of a hundred layers has some 2,000
MAX_TENSORS = 20_000
MAX_MESSAGES = 500_000  # in the whole protobuf; a node with its attributes, shapes and metadata has some 20
MAX_RANK = 8
OLDEST_OPSET = 11

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


def parse(file: str) -> tuple[onnx.ModelProto, int]:
    """The model in `file`, and the file's size in bytes. Raises FileNotFoundError and ModelFormatError."""
    path = Path(file)
    size = path.stat().st_size
    if not path.is_file():
        raise ModelFormatError(f"{file}: expected a file")
    if size > MAX_FILE:
        raise ModelFormatError(f"{file}: {size} bytes; ONNX files have at most {MAX_FILE}")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, RecursionError) as error:
        raise ModelFormatError(f"{file}: not an ONNX file, or a damaged one: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelFormatError(f"{file}: expected an ONNX model, got a protobuf without graph or opset_import")
    _check_text(file, proto)
    return proto, size


def _check_text(file: str, proto: Message) -> None:
    """Refuse names that are no text, which protobuf hands out as bytes, and more messages than any model has."""
    left: list[Message] = [proto]
    seen = 0
    while left:
        message = left.pop()
        seen += 1
        if seen > MAX_MESSAGES:
            raise ModelFormatError(f"{file}: more than {MAX_MESSAGES} messages in the protobuf")
        for field, value in message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                left.extend([value] if isinstance(value, Message) else value)
            elif field.type == field.TYPE_STRING:
                for text in [value] if isinstance(value, str | bytes) else value:
                    if not isinstance(text, str):
                        raise ModelFormatError(
                            f"{file}: {message.DESCRIPTOR.name}.{field.name}: {text!r:.100} is no text"
                        )


def check(file: str, proto: onnx.ModelProto) -> int:
    """Refuse what no node can make good; the opset's version. Raises ModelFormatError and UnsupportedError."""
    graph = proto.graph
    opsets = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if len(opsets) != 1:
        raise ModelFormatError(f"{file}: opset_import: expected one version of ONNX's own operators, got {opsets}")
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opsets[0] <= newest:
        raise UnsupportedError(f"{file}: opset {opsets[0]}; expected {OLDEST_OPSET} to {newest}")
    counts = {"nodes": (len(graph.node), MAX_NODES), "initializers": (len(graph.initializer), MAX_TENSORS)}
    for what, (count, limit) in counts.items():
        if count > limit:
            raise ModelFormatError(f"{file}: {count} {what}; expected at most {limit}")
    if proto.training_info:
        raise UnsupportedError(f"{file}: training_info; export the model for inference")
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise UnsupportedError(f"{file}: sparse initializer {name!r:.200}; only dense ones are supported")
    if graph.quantization_annotation:
        name = graph.quantization_annotation[0].tensor_name
        raise UnsupportedError(f"{file}: quantization of {name!r:.200}; export the float model")
    return int(opsets[0])


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
        self.external = 0  # bytes read from other files

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
        # Not to be held up by what is no plain file.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelFormatError(f"{what}: external data: {entries['location']!r:.200} is no plain file")
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
                    raise ModelFormatError(f"{what}: external data: {entries['location']!r:.200} has another checksum")
                self._checked.add(path)
            self.external += length
            stream.seek(offset)
            flat: Array = np.frombuffer(stream.read(length), dtype)
        if len(flat) != count:
            raise ModelFormatError(f"{what}: external data: {entries['location']!r:.200} has changed while it was read")
        return flat

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
    wide = np.array(typed, {"int32_data": "<i8"}.get(field, dtype))
    if field == "int32_data":
        limits = np.iinfo(dtype.str)
        if count and not limits.min <= wide.min() <= wide.max() <= limits.max:
            raise ModelFormatError(f"{what}: numbers too large for {type_name(tensor.data_type)}")
    return wide.astype(dtype)


def subgraphs(node: onnx.NodeProto) -> Iterator[str]:
    """The attributes of `node` that hold graphs."""
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs:
            yield attribute.name
