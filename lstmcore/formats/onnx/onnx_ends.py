"""States as places on their way through a graph: moved by its nodes, and taken of tensors that are final states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.formats.onnx.onnx_constants import CASTS, FOLD
from lstmcore.formats.onnx.onnx_nodes import LayerNode, Node
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_value import Context, Letter, Tensor
from lstmcore.formats.state_places import Places
from lstmcore.formats.states import Slot
from lstmcore.layers import Array

#: Operators that only move the elements of their first input (of Concat, all): what they do to a state.
MOVES = ("Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split",
         "Concat", "Expand")  # fmt: skip


def places_of(x: Tensor) -> Places | None:
    """Where the elements of a tensor are final h of recurrent layers; None where one is not."""
    letters: list[Letter] = [letter for axis in x.axes for letter in axis if letter != "T"]
    found = [_rows(x.context, node) for node in x.parts.flat]
    rows = [row for row in found if row is not None]
    if len(rows) < len(found) or (any("T" in axis for axis in x.axes) and x.size("T") > 1):
        return None
    every = np.stack(rows).reshape(*x.parts.shape, *rows[0].shape)  # (parts, N, F)
    all_letters: Sequence[Letter] = [*range(x.parts.ndim), "N", "F"]
    missing = [letter for letter in all_letters if letter not in letters]  # all of size 1
    order = [all_letters.index(letter) for letter in (*letters, *missing)]
    return Places(every.transpose(order).reshape(x.shape), "a final state")


def _rows(context: Context, node: Node) -> Array | None:
    """The elements (N, features) of a node."""
    parts = context.builder.parts(node)
    if node not in parts.values():
        found = [_rows(context, parts[start]) for start in sorted(parts)]
        return None if any(part is None for part in found) else np.concatenate([p for p in found if p is not None], 1)
    if not isinstance(node, LayerNode):
        return None
    if node.kind is layers.Reverse and context.one_step:
        return _rows(context, node.inputs[0])
    if len(node.cells) != 1 or (node.sequence and not context.one_step):
        return None
    return context.states.end(Slot(node.cells[0], "h", node.features))


def move(op: Op, inputs: Sequence[Any]) -> Any:
    """States with their elements in other places."""
    some = [value for value in inputs if isinstance(value, Places)]
    what = some[0].source
    moved = inputs if op.kind == "Concat" else inputs[:1]
    if op.kind not in MOVES or not all(isinstance(value, Places) for value in moved):
        op.refuse(f"reads {what}; a state can only begin a recurrent node, and come out of one, as it is")
    if op.kind == "Cast":
        if not CASTS.get(op.get("to", 0), "").startswith("f"):
            op.refuse(f"attribute to: turns {what} into something else than float numbers")
        return some[0]
    made = FOLD[op.kind](op, *(value.numbers if isinstance(value, Places) else value for value in inputs))
    return tuple(Places(a, what) for a in made) if isinstance(made, tuple) else Places(made, what)
