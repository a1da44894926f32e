"""ONNX files as bytes: the protobuf, and what no node of it can make good. Read as if an enemy wrote them."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.files import read_whole
from lstmcore.formats.onnx import onnx_wire

MAX_FILE = (1 << 31) - 1  # bytes; no protobuf message is larger
MAX_NODES = 10_000  # a model of a hundred layers has some 2,000
MAX_TENSORS = 20_000
OLDEST_OPSET = 11


def parse(file: str) -> tuple[onnx.ModelProto, int]:
    """The model in `file`, and the file's size in bytes. Raises FileNotFoundError and ModelFormatError."""
    proto = onnx.ModelProto()
    data = read_whole(file, MAX_FILE)
    onnx_wire.check(file, data, proto.DESCRIPTOR)
    try:
        proto.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise ModelFormatError(f"{file}: not an ONNX file, or a damaged one: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelFormatError(f"{file}: expected an ONNX model, got a protobuf without graph or opset_import")
    return proto, len(data)


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
