"""The walk through an ONNX graph from the window to the answer, with sizes for what the input leaves free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from lstmcore import layers
from lstmcore.errors import LstmcoreError, ModelFormatError, UnsupportedError
from lstmcore.formats.onnx.onnx_attributes import HONOURED
from lstmcore.formats.onnx.onnx_builder import Builder
from lstmcore.formats.onnx.onnx_constants import FOLD
from lstmcore.formats.onnx.onnx_ends import move, places_of
from lstmcore.formats.onnx.onnx_lower import lower
from lstmcore.formats.onnx.onnx_nodes import LayerNode, Node, Refused
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_ops import HANDLERS
from lstmcore.formats.onnx.onnx_patterns import PATTERNS
from lstmcore.formats.onnx.onnx_pick import StepError
from lstmcore.formats.onnx.onnx_recurrent import Lengths, check_all_take_lengths
from lstmcore.formats.onnx.onnx_source import Found, Reading, Source
from lstmcore.formats.onnx.onnx_value import Context, Tensor, TimeAxisError, single
from lstmcore.formats.state_places import Places, States
from lstmcore.formats.states import Flow, StateError, carried
from lstmcore.layers import Array

MAX_NAME = 200  # characters

RECURRENT = ("LSTM", "GRU", "RNN")

#: What a graph may be that has steps, but no recurrent node.
UNROLLED = (
    "; torch's newer exporter writes nn.RNN so, unrolled step by step: export it with dynamo=False, "
    "or load the module or its state_dict"
)

#: Operators whose first input may be a constant where others depend on the window.
TAKE_CONSTANTS_FIRST = ("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "MatMul", "Gemm", "Where", "Concat",
                        "LSTM", "GRU", "RNN", "Greater", "BatchNormalization", "LayerNormalization")  # fmt: skip


class Unusable(NamedTuple):
    """A value that must not reach the answer, and why."""

    reason: str


class Walk:
    """A walk through the graph with one reading."""

    def __init__(self, source: Source, reading: Reading) -> None:
        self.source = source
        builder = Builder(PATTERNS, source.dtype)
        windows, steps, features = reading.sizes
        self.context = Context(builder, windows, steps, reading.fixed, States(windows))
        builder.counted = source.lengths is not None
        self.letters = reading.letters
        window = single(self.context, builder.window(features), *reading.letters)
        self.values: dict[str, Any] = {**source.constants, source.window: window}
        for name, sizes in source.states.items():
            shape = tuple(windows if size is None else size for size in sizes)
            if math.prod(shape) > source.limit // 8:
                raise ModelFormatError(f"{source.file}: input {name!r:.200}: shape {shape} in a smaller file")
            self.values[name] = self.context.states.take_in(name, shape)
        if source.lengths is not None:
            self.values[source.lengths] = Lengths(source.lengths)
        self.recurrent: list[tuple[Op, Any]] = []
        self.left = source.limit

    def read(self) -> Found:
        """What the answer is computed by, and the states."""
        for node in self.source.nodes:
            self._evaluate(node)
        name = self.source.answer
        value = self.values.get(name)
        if isinstance(value, Places):
            raise UnsupportedError(f"{self.source.file}: the output {name!r:.200}: {value.source} is no answer")
        if not isinstance(value, Tensor):
            reason = f": {value.reason}" if isinstance(value, Unusable) else ""
            raise UnsupportedError(
                f"{self.source.file}: the output {name!r:.200} does not depend on the window{reason}"
            )
        if self.source.lengths is not None:
            check_all_take_lengths(self.recurrent)
        try:
            answer = self._answer(value)
            if self.source.lengths is not None:
                _check_lengths(answer, bool(self.recurrent))
            found, rows = lower(answer)
        except Refused as error:
            raise UnsupportedError(f"{self.source.file}: the output {name!r:.200}: {error}") from None
        except UnsupportedError as error:
            text = str(error)
            raise UnsupportedError(
                text if text.startswith(self.source.file) else f"{self.source.file}: {text}"
            ) from None
        try:
            states = carried(self._flow(value), rows, found)
            return Found(found, states, self.source.window, self.letters, name)
        except StateError as error:
            raise UnsupportedError(f"{self.source.file}: {error}") from None

    def _flow(self, answer: Tensor) -> Flow:
        """The states. Raises StateError for those that do not belong together."""
        outputs = {}
        for name in self.source.others:
            value = self.values.get(name)
            if value is None:
                raise StateError(f"the output {name!r:.200}: nothing makes it")
            places = places_of(value) if isinstance(value, Tensor) else value
            if not isinstance(places, Places):
                raise StateError(f"the output {name!r:.200} is not the answer, and not final states either")
            outputs[name] = places
        last = places_of(answer) if outputs else None
        return self.context.states.flow(outputs, self.source.answer, last)

    def _evaluate(self, node: onnx.NodeProto) -> None:
        source = self.source
        op = Op(source.file, node, source.opset, self.context, source.tensors, max(self.left, 0) // 8)
        inputs = [self._input(op, name) for name in node.input]
        while inputs and inputs[-1] is None:
            inputs.pop()
        self.context.builder.name, self.context.builder.scope = _named(node, source.own_names, source.constants)
        self.context.builder.label = op.label
        if op.kind in RECURRENT:
            self.recurrent.append((op, inputs[4] if len(inputs) > 4 else None))
        try:
            with np.errstate(all="ignore"):
                made = self._apply(op, inputs)
        except TimeAxisError as error:
            raise TimeAxisError(f"node {node.name!r:.200} ({op.kind}): {error}") from None
        except StepError as error:
            whole = any(other.op_type in RECURRENT for other in source.nodes)
            op.refuse(f"{error}{'' if whole else UNROLLED}")
        except (Refused, StateError) as error:
            op.refuse(str(error))
        except LstmcoreError:
            raise
        except (ValueError, ZeroDivisionError, OverflowError, TypeError, IndexError) as error:
            op.damaged(f"{type(error).__name__}: {error}")
        outputs = made if isinstance(made, tuple) else (made,)
        for position, name in enumerate(node.output):
            if not name:
                continue
            row = op.output_row(position)
            usable = position < len(outputs) and row.startswith(HONOURED)
            self.values[name] = outputs[position] if usable else Unusable(f"{op.label}: output {position}: {row}")

    def _input(self, op: Op, name: str) -> Any:
        if not name:
            return None
        if name not in self.values:
            op.damaged(f"input {name!r:.200}: nothing before this node makes it")
        value = self.values[name]
        if isinstance(value, Unusable):
            raise UnsupportedError(value.reason)
        return value

    def _apply(self, op: Op, inputs: Sequence[Any]) -> Any:
        if any(isinstance(value, Lengths) for value in inputs):
            return self._apply_to_lengths(op, inputs)
        if op.kind == "Shape":
            return _shape(op, inputs[0])
        output = self.source.moving.get(id(op.node))
        if output is not None and any(isinstance(value, Tensor) for value in inputs):
            inputs = self._as_places(op, inputs, output)
        if any(isinstance(value, Places) for value in inputs) and op.kind not in RECURRENT:
            made = move(op, inputs)
            self.left -= sum(each.numbers.nbytes for each in (made if isinstance(made, tuple) else [made]))
            return made
        if not any(isinstance(value, Tensor) for value in inputs):
            if op.kind not in FOLD:
                op.refuse("works on constants alone")
            made = FOLD[op.kind](op, *inputs)
            arrays = made if isinstance(made, tuple) else (made,)
            # A broadcast constant takes no memory, but what is made of it may.
            self.left -= sum(a.nbytes for a in arrays)
            return made
        if op.kind not in HANDLERS:
            op.refuse("takes what depends on the window; only constants are supported")
        if not isinstance(inputs[0], Tensor) and op.kind not in TAKE_CONSTANTS_FIRST:
            op.refuse("its first input does not depend on the window, others do")
        return HANDLERS[op.kind](op, *inputs)

    def _as_places(self, op: Op, inputs: Sequence[Any], output: str) -> list[Any]:
        """The inputs of a node behind which there is no answer, but a state that comes out."""
        made = [places_of(value) if isinstance(value, Tensor) else value for value in inputs]
        if op.kind in RECURRENT or any(a is None and b is not None for a, b in zip(made, inputs, strict=True)):
            op.refuse(
                f"leads only to the output {output!r:.200}, which is not the answer; expected final states there, as "
                "they come out of a recurrent node that the answer depends on"
            )
        return made

    def _apply_to_lengths(self, op: Op, inputs: Sequence[Any]) -> Any:
        if op.kind in ("Cast", "Identity"):
            return inputs[0]
        places = {"LSTM": 4, "GRU": 4, "RNN": 4, "ReverseSequence": 1}
        at = [n for n, value in enumerate(inputs) if isinstance(value, Lengths)]
        if at != [places.get(op.kind)]:
            op.refuse(f"takes the input {self.source.lengths!r:.200} for something else than how many steps count")
        return HANDLERS[op.kind](op, *inputs)

    def _answer(self, value: Tensor) -> Node:
        """The node that answers, its axes checked: windows, then steps, then features."""
        value = value.settled()
        builder = self.context.builder
        builder.name, builder.scope = "", ""
        real = [value.real(axis) for axis in value.axes]
        kept = [axis[0] if len(axis) == 1 else axis for axis in real if axis]
        if kept[:2] == ["T", "N"]:
            kept[:2] = ["N", "T"]
        order = [letter for letter in ("N", "T", "F") if letter in kept]
        if kept != order:
            raise Refused(f"is {value.show()}; expected the windows first, then steps, then features")
        node = value.node
        if node.sequence and ("T",) not in value.axes:  # one step, in an axis with others
            node = builder.last(node)
        if value.size("F") == 1 and not (value.axes and real[-1] == () and value.axes[-1] != ("N",)):
            node = builder.layer(layers.Squeeze, [node], 1, node.sequence)
        return node


def _shape(op: Op, value: Any) -> Array:
    if isinstance(value, Unusable) or value is None:
        op.refuse("takes the shape of nothing")
    sizes = list(value.shape)
    return np.array(sizes[op.get("start", 0) : op.get("end", len(sizes))], np.int64)


def _named(node: onnx.NodeProto, own: bool, constants: Mapping[str, Array]) -> tuple[str, str]:
    """What a layer made by `node` is called, and the part of the source model, such as a module, it belongs to."""
    kind = node.op_type.lower()
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    scopes = [part.strip(" '\"") for part in metadata.get("pkg.torch.onnx.name_scopes", "").strip("[]").split(",")]
    if len(scopes) > 2:
        return scopes[-2][:MAX_NAME], scopes[-2][:MAX_NAME]
    scope = node.name.strip("/").rpartition("/")[0]
    if not own:
        scope = scope.rpartition("/")[2]
    if not scope:
        weights = [name.rpartition(".")[0] for name in node.input if name in constants]
        return next(filter(None, weights), kind)[:MAX_NAME], ""
    return scope[:MAX_NAME], scope[:MAX_NAME]


def _check_lengths(answer: Node, recurrent: bool) -> None:
    """Refuse what the graph does to the rows behind a window's steps, which the Model does not have."""
    if not recurrent:
        raise Refused("has no recurrent layer that takes how many steps count")
    if isinstance(answer, LayerNode) and answer.kind is layers.Reverse:
        answer = answer.inputs[0]
    if answer.sequence and not (isinstance(answer, LayerNode) and issubclass(answer.kind, layers.Recurrent)):
        raise Refused(
            "rows behind a window's steps are not zero, as the Model answers; answer with the recurrent layer"
        )
