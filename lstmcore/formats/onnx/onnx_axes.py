"""Operators that move, merge, drop or pick from axes, as handlers; see `onnx_ops`. What they do is in `onnx_value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lstmcore.formats.guard.trials import ENDLESS
from lstmcore.formats.onnx import onnx_shapes as shapes
from lstmcore.formats.onnx.onnx_join import concatenated
from lstmcore.formats.onnx.onnx_nodes import Node, Refused
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_pick import pick
from lstmcore.formats.onnx.onnx_recurrent import Lengths
from lstmcore.formats.onnx.onnx_value import Axis, Tensor
from lstmcore.layers import Array


def _array(op: Op, value: Any, what: str) -> Array | None:
    if value is not None and not isinstance(value, np.ndarray):
        op.refuse(f"input {what}: is computed from the window; expected a constant")
    return value


def _tensor(op: Op, value: Any) -> Tensor:
    """The input that depends on the window."""
    if not isinstance(value, Tensor):
        op.refuse("takes its first input, a constant, apart by what depends on the window")
    return value


def _transpose(op: Op, x: Any) -> Tensor:
    value = _tensor(op, x)
    return value.transpose(shapes.permutation(op, len(value.axes)))


def _reshape(op: Op, x: Any, shape: Any) -> Tensor:
    sizes = _array(op, shape, "shape")
    assert sizes is not None
    value = _tensor(op, x)
    return value.reshape(shapes.reshaped(op, value.shape, sizes))


def _flatten(op: Op, x: Any) -> Tensor:
    value = _tensor(op, x)
    return value.reshape(shapes.flattened(op, value.shape))


def _squeeze(op: Op, x: Any, axes: Any = None) -> Tensor:
    value = _tensor(op, x)
    return value.squeeze(shapes.squeezed(op, value.shape, _array(op, axes, "axes")))


def _unsqueeze(op: Op, x: Any, axes: Any = None) -> Tensor:
    value = _tensor(op, x)
    return value.unsqueeze(shapes.unsqueezed(op, len(value.axes), _array(op, axes, "axes")))


def _slice(op: Op, data: Any, *inputs: Any) -> Tensor:
    arrays = [_array(op, value, "starts, ends, axes and steps") for value in inputs]
    x = _tensor(op, data)
    whole = [ENDLESS if _is_fixed(x, axis) else size for axis, size in zip(x.axes, x.shape, strict=True)]
    of_longer = shapes.slices(op, whole, *arrays)
    for at, indices in shapes.slices(op, x.shape, *arrays).items():
        if not len(indices):
            op.refuse(f"takes nothing along axis {at} of {x.show()} of shape {x.shape}")
        size, longer = x.shape[at], of_longer[at]
        if indices == range(size) and longer not in (indices, range(whole[at])):
            op.refuse(
                f"takes what is whole along axis {at} of {x.show()} only up to the size of {size} that the file fixes; "
                "export the model without it"
            )
        x = pick(x, at, indices, keep=True)
    return x


def _is_fixed(x: Tensor, axis: Axis) -> bool:
    """Whether it is the axis of windows or of steps, of a size that the file states and the Model does not keep to."""
    return x.real(axis) in (("N",), ("T",)) and set(axis) <= x.context.fixed


def _gather(op: Op, data: Any, indices: Any) -> Tensor:
    array = _array(op, indices, "indices")
    x = _tensor(op, data)
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1 or not array.size:
        op.refuse("input indices: expected one index, or a list")
    at = op.axis(op.get("axis", 0), len(x.axes))
    size = x.shape[at]
    if not -size <= array.min() <= array.max() < size or array.size > size:
        op.damaged(f"input indices: out of range for axis {at} of {x.show()}, {x.shape}")
    return pick(x, at, [int(n) % size for n in array.reshape(-1)], keep=array.ndim == 1)


def _split(op: Op, data: Any, split: Any = None) -> tuple[Tensor, ...]:
    x = _tensor(op, data)
    at = op.axis(op.get("axis", 0), len(x.axes))
    sizes = shapes.split_sizes(op, x.shape[at], _array(op, split, "split"))
    if 0 in sizes:
        op.refuse("splits off nothing")
    ends = np.cumsum(sizes).tolist()
    return tuple(pick(x, at, range(end - size, end), keep=True) for size, end in zip(sizes, ends, strict=True))


def _concat(op: Op, *inputs: Any) -> Tensor:
    if not all(isinstance(value, Tensor) for value in inputs):
        op.refuse("concatenates constants and what depends on the window")
    if "axis" not in op.attributes:
        op.damaged("attribute axis is missing")
    if len(inputs) == 1:
        return _tensor(op, inputs[0])
    return concatenated(inputs, op.axis(op.get("axis", 0), len(inputs[0].axes)))


def _reverse_sequence(op: Op, data: Any, lengths: Any) -> Tensor:
    x = _tensor(op, data)
    time, batch = (op.axis(op.get(f"{name}_axis", n), len(x.axes)) for n, name in enumerate(("time", "batch")))
    if x.real(x.axes[time]) != x.real(("T",)) or x.real(x.axes[batch]) != x.real(("N",)):
        op.refuse(f"reverses axis {time} of {x.show()}; only time can be reversed")
    counts = lengths if isinstance(lengths, Lengths) else _array(op, lengths, "sequence_lens")
    if counts is not None and not isinstance(counts, Lengths):
        op.context.builder.need_all_steps("reverses all steps")
        if np.any(counts != op.context.steps):
            op.refuse("input sequence_lens: reverses a part of the steps; expected all")
    return x.map(op.context.builder.reverse)


def _expand(op: Op, data: Any, shape: Any) -> Tensor:
    array = _array(op, shape, "shape")
    x = _tensor(op, data)
    sizes = shapes.integers(op, array, "shape") or []
    try:
        target = np.broadcast_shapes(x.shape, tuple(sizes))
    except ValueError:
        op.damaged(f"shape {sizes} for {x.shape}")
    if target[-len(x.axes) :] != x.shape or any(n != 1 for n in target[: len(target) - len(x.axes)]):
        op.refuse(f"repeats {x.show()} of shape {x.shape} to {target}")
    return x.unsqueeze(range(len(target) - len(x.axes)))


def reduce(op: Op, data: Any, axes: Any, join: Callable[[Op, Sequence[Node]], Node]) -> Tensor:
    """Sums and means: over directions or layers, and over the features within a normalisation."""
    x = _tensor(op, data)
    numbers = shapes.listed_axes(op, _array(op, axes, "axes"))
    if numbers is None or len(numbers) != 1:
        op.refuse(f"reduces several axes of {x.show()}")
    at = op.axis(numbers[0], len(x.axes))
    keep = bool(op.get("keepdims", 1))
    real = x.real(x.axes[at])
    rest = [*x.axes[:at], *([()] if keep else []), *x.axes[at + 1 :]]
    if len(real) == 1 and isinstance(real[0], int):
        columns = np.moveaxis(x.parts, real[0], -1)
        parts = np.empty((*columns.shape[:-1], 1), object)
        for index in np.ndindex(columns.shape[:-1]):
            parts[(*index, 0)] = join(op, list(columns[index]))
        return Tensor(x.context, np.moveaxis(parts, -1, real[0]), x.axes).with_axes(rest)
    if real == () and x.length(x.axes[at]) == 1:
        return x.with_axes(rest)
    if op.kind == "ReduceMean" and keep and at == len(x.axes) - 1:
        value = x.features_last()
        made = value.map(lambda node: op.context.builder.function("mean", node, features=1))
        return Tensor(made.context, made.parts, (*made.axes[:-1], ()))
    raise Refused(f"reduces axis {at} of {x.show()}; pooling over it has no layer")


AXES: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Transpose": _transpose,
        "Reshape": _reshape,
        "Flatten": _flatten,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Slice": _slice,
        "Gather": _gather,
        "Split": _split,
        "Concat": _concat,
        "ReverseSequence": _reverse_sequence,
        "Expand": _expand,
    }
)
