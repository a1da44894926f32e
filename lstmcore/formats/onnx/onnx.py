"""ONNX: a Model written as a graph that any ONNX runtime answers with, and such graphs read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lstmcore.errors import UnsupportedError
from lstmcore.files import write_whole
from lstmcore.layers import Layer

try:
    import onnx
except ImportError as error:
    raise UnsupportedError('ONNX needs the onnx package: pip install "lstmcore[onnx]"') from error

if TYPE_CHECKING:
    from lstmcore.model import Model


def write(model: Model, path: str | os.PathLike[str], *, states: bool = False, lengths: bool = False) -> None:
    """Write `model` as an ONNX file; see `build`."""
    write_whole(path, build(model, states=states, lengths=lengths).SerializeToString())


def build(model: Model, *, states: bool = False, lengths: bool = False) -> onnx.ModelProto:
    """`model` as a float32 ONNX model; see `onnx_write.build`."""
    from lstmcore.formats.onnx import onnx_write

    return onnx_write.build(model, states=states, lengths=lengths)


def read(path: str | os.PathLike[str]) -> list[Layer]:
    """The layers of the ONNX model at `path`; see `onnx_read.read`."""
    from lstmcore.formats.onnx import onnx_read

    return onnx_read.read(path)
