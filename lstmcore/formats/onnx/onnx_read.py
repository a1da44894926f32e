"""Reading ONNX: the graph is walked from the window to the answer, and comes out as layers.

A graph whose input has free sizes is read with several, so that a number that only fits some of them, such as the index
of a step, cannot be taken for what it is not: see `onnx_trials`.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from lstmcore.errors import LstmcoreError, ModelFormatError, UnsupportedError
from lstmcore.formats.onnx import onnx_file, onnx_roles, onnx_trials
from lstmcore.formats.onnx.onnx_functions import Inliner
from lstmcore.formats.onnx.onnx_source import Found, Source
from lstmcore.formats.onnx.onnx_tensors import MAX_RANK, Tensors, type_name
from lstmcore.formats.onnx.onnx_value import TimeAxisError
from lstmcore.layers import Array, Layer
from lstmcore.layers.base import MAX_SIZE
from lstmcore.layers.wiring import wire
from lstmcore.text import listed

MAX_CANDIDATES = 8  # for the number of features, where the input leaves that free

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)

#: What the axes of an input may be, in the order in which it is tried.
LAYOUTS: Mapping[int, tuple[tuple[str, ...], ...]] = {
    3: (("N", "T", "F"), ("T", "N", "F")),
    2: (("N", "T"), ("T", "F"), ("T", "N"), ("N", "F")),
}


def read(path: str | os.PathLike[str]) -> list[Layer]:
    """The layers of the ONNX model at `path`.

    It may have one input of windows, (N, T, F) or (T, N, F), whichever its recurrent layers read, and one answer. Other
    inputs and outputs may be the initial and final states of its recurrent layers: the Model's `state` and what
    `return_state` gives. An input that says how many steps of each window count (sequence_lens) is the Model's own
    `lengths`. Weights in half precision are widened to float32. In the Model's answers the windows come first, and axes
    of size 1 other than the features are gone.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged or hostile; the text names the node or tensor.
        UnsupportedError: An operator, an attribute or a use of one that has no layer; the text names it.

    Warns:
        UserWarning: Initializers that nothing on the way to the answer reads.
    """
    return read_all(path).layers


def read_all(path: str | os.PathLike[str]) -> Found:
    """What `read` reads, and which states go in and come out."""
    file = os.fspath(path)
    try:
        proto, size = onnx_file.parse(file)
        found = _Graph(file, proto, onnx_file.check(file, proto), size).read()
        wire(found.layers)
    except LstmcoreError:
        raise
    except MemoryError:
        raise ModelFormatError(f"{file}: more memory is needed than there is") from None
    except (ValueError, OverflowError) as error:  # a layer that does not take its settings
        raise UnsupportedError(f"{file}: {error}") from None
    return found


class _Graph:
    """One model, as it is read with some sizes after the others."""

    def __init__(self, file: str, proto: onnx.ModelProto, opset: int, size: int) -> None:
        self.file = file
        self.graph = proto.graph
        self.tensors = Tensors(file)
        self.functions = Inliner(file, proto, size)
        self.nodes, self.writers, used = self._reachable()
        self.constants = self._constants(used)
        self.window, states, self.lengths = self._inputs(used)
        self.states = {value.name: _state_shape(file, value) for value in states}
        outputs = [value.name for value in self.graph.output]
        self.sources = [
            Source(
                file,
                opset,
                self.nodes,
                self.constants,
                self.window.name,
                np.float64 if self.window.type.tensor_type.elem_type == TensorProto.DOUBLE else np.float32,
                self.states,
                self.lengths,
                answer,
                [name for name in outputs if name != answer],
                self._moving(answer, outputs),
                proto.producer_name == "lstmcore",
                self.tensors,
                4 * (size + self.tensors.external) + (1 << 20),
            )
            for answer in onnx_roles.answers(file, self.writers, outputs)
        ]

    def _reachable(self) -> tuple[list[onnx.NodeProto], dict[str, onnx.NodeProto], set[str]]:
        """The nodes that the outputs depend on, local functions put in; who writes what; and the names read."""
        outputs = [value.name for value in self.graph.output]
        if not outputs or len(set(outputs)) < len(outputs):
            raise ModelFormatError(f"{self.file}: outputs {outputs!r:.200}: none, or one that is there twice")
        for value in self.graph.output:
            kind = value.type.tensor_type.elem_type
            if kind not in (*FLOATS, TensorProto.UNDEFINED):
                raise UnsupportedError(
                    f"{self.file}: the output {value.name!r:.200} is {type_name(kind)}; expected float numbers"
                )
        nodes = self.functions.inlined(self.graph.node)
        given = {value.name for value in self.graph.input} | {tensor.name for tensor in self.graph.initializer}
        writers: dict[str, onnx.NodeProto] = {}
        for writer in nodes:
            for name in filter(None, writer.output):
                if name in writers or name in given:
                    others = "two nodes write" if name in writers else "a node writes the input or initializer"
                    raise ModelFormatError(f"{self.file}: {others} {name!r:.200}")
                writers[name] = writer
        needed, used = onnx_roles.ancestors(writers, outputs)
        return [node for node in nodes if id(node) in needed], writers, used

    def _moving(self, answer: str, outputs: Sequence[str]) -> dict[int, str]:
        """The nodes, by id, that only another output than the answer depends on, with that output."""
        of_answer, _ = onnx_roles.ancestors(self.writers, [answer])
        found: dict[int, str] = {}
        for name in outputs:
            for node in onnx_roles.ancestors(self.writers, [name])[0] - of_answer:
                found.setdefault(node, name)
        return found

    def _constants(self, used: set[str]) -> dict[str, Array]:
        """The initializers that are used, as arrays."""
        found: dict[str, Array] = {}
        unused = []
        for tensor in self.graph.initializer:
            if not tensor.name or tensor.name in found:
                raise ModelFormatError(
                    f"{self.file}: initializer {tensor.name!r:.200}: no name, or one that is there twice"
                )
            if tensor.name in used:
                found[tensor.name] = self.tensors.array(tensor, f"initializer {tensor.name!r:.200}")
            else:
                unused.append(tensor.name)
        if unused:
            text = f"{self.file}: initializers that the answer does not depend on: {listed(unused)}"
            warnings.warn(text, stacklevel=5)
        return found

    def _inputs(self, used: set[str]) -> tuple[onnx.ValueInfoProto, list[onnx.ValueInfoProto], str | None]:
        """The window, the states, and the name of the input that says how many steps count."""
        # Up to IR version 3, initializers stand among the inputs.
        initializers = {tensor.name for tensor in self.graph.initializer}
        inputs = [value for value in self.graph.input if value.name not in initializers]
        names = [value.name for value in inputs]
        for value in inputs:
            if value.type.WhichOneof("value") != "tensor_type":
                raise UnsupportedError(f"{self.file}: input {value.name!r:.200}: expected a tensor")
        floats = [value for value in inputs if value.type.tensor_type.elem_type in FLOATS]
        counts = [
            value.name for value in inputs if value.type.tensor_type.elem_type in (TensorProto.INT32, TensorProto.INT64)
        ]
        if not floats or len(counts) > 1 or len(inputs) != len(floats) + len(counts) or len(set(names)) < len(names):
            raise UnsupportedError(
                f"{self.file}: inputs {names!r:.200}; expected one of float windows, others of float states, and at "
                "most one of integers, how many steps of each window count"
            )
        for name in names:
            if name not in used:
                raise UnsupportedError(f"{self.file}: the answer does not depend on the input {name!r:.200}")
        window, _ = onnx_roles.state_inputs(self.file, self.nodes, [value.name for value in floats])
        states = [value for value in floats if value.name != window]
        return next(v for v in floats if v.name == window), states, counts[0] if counts else None

    def read(self) -> Found:
        """The layers and states, the same for all sizes that the input leaves free."""
        failed: UnsupportedError | ModelFormatError | None = None
        swapped: UnsupportedError | None = None
        for source, letters in itertools.product(self.sources, self._layouts()):
            for features in self._features(letters):
                sizes = self._sizes(letters) | {"F": features}
                try:
                    return onnx_trials.read(source, letters, sizes)
                except TimeAxisError as error:
                    swapped = UnsupportedError(f"{self.file}: {error}")
                    break
                except (UnsupportedError, ModelFormatError) as error:
                    failed = failed or error
        reason = failed or swapped
        assert reason is not None
        raise reason

    def _layouts(self) -> Sequence[tuple[str, ...]]:
        shape = self.window.type.tensor_type.shape
        rank = len(shape.dim) if self.window.type.tensor_type.HasField("shape") else 3
        if rank not in LAYOUTS:
            raise UnsupportedError(
                f"{self.file}: input {self.window.name!r:.200} has rank {rank}; expected windows (N, T, F) or (T, N, F)"
            )
        return LAYOUTS[rank]

    def _sizes(self, letters: tuple[str, ...]) -> dict[str, int]:
        """The sizes that the input states."""
        dims = self.window.type.tensor_type.shape.dim
        sizes = {letter: dim.dim_value for letter, dim in zip(letters, dims, strict=False) if dim.HasField("dim_value")}
        for letter, size in sizes.items():
            if not 1 <= size <= MAX_SIZE and not (letter in "NT" and size <= 0):
                raise ModelFormatError(f"{self.file}: input {self.window.name!r:.200}: a size of {size}")
        found = {letter: size for letter, size in sizes.items() if size > 0}
        if "N" in letters and any(None not in shape for shape in self.states.values()):
            found.setdefault("N", 1)  # a state has no axis of windows that is free
        return found

    def _features(self, letters: tuple[str, ...]) -> Iterator[int]:
        """How many features there may be: what the input says, or what some layer reads."""
        sizes = self._sizes(letters)
        if "F" not in letters or "F" in sizes:
            yield sizes.get("F", 1)
            return
        candidates: dict[int, None] = {}
        for node in self.nodes:
            weight = self.constants.get(node.input[1]) if len(node.input) > 1 else None
            if weight is not None and weight.ndim > 1 and node.op_type in ("LSTM", "GRU", "RNN", "MatMul", "Gemm"):
                transposed = any(a.name == "transB" and a.i for a in node.attribute) or weight.ndim == 3
                candidates[weight.shape[-1 if transposed else -2]] = None
        if not candidates:
            raise UnsupportedError(f"{self.file}: nothing says how many features {self.window.name!r:.200} has")
        yield from list(candidates)[:MAX_CANDIDATES]


def _state_shape(file: str, value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The sizes of an input that is states, None for the number of windows, which it may leave free."""
    dims = value.type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)
    if not 1 <= len(shape) <= MAX_RANK or shape.count(None) > 1:
        raise UnsupportedError(
            f"{file}: input {value.name!r:.200}, an initial state: expected a shape of which only the number of "
            f"windows is free, got {['?' if size is None else size for size in shape]}"
        )
    if math.prod(size or 1 for size in shape) > MAX_SIZE:
        raise ModelFormatError(f"{file}: input {value.name!r:.200}: shape {shape}")
    return shape
