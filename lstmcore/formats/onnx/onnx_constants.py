"""Arithmetic on constants and on shapes: FOLD, operator -> what it makes of arrays.

A graph is read with sizes for batch and time, so that what exporters compute from a shape is numbers here. The size of
each result is known before it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import TensorProto

from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_shapes import (
    flattened,
    integers,
    listed_axes,
    permutation,
    reshaped,
    slices,
    split_sizes,
    squeezed,
    unsqueezed,
)
from lstmcore.layers import Array

#: numpy's types for ONNX's, in Cast; half precision is widened.
CASTS: Mapping[int, str] = MappingProxyType(
    {
        TensorProto.FLOAT: "f4",
        TensorProto.FLOAT16: "f4",
        TensorProto.BFLOAT16: "f4",
        TensorProto.DOUBLE: "f8",
        TensorProto.INT64: "i8",
        TensorProto.INT32: "i4",
        TensorProto.BOOL: "?",
    }
)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Array]:
    def fold(op: Op, *arrays: Array) -> Array:
        op.small(math.prod(np.broadcast_shapes(*(a.shape for a in arrays))))
        return np.asarray(function(*arrays))

    return fold


def _divide(a: Array, b: Array) -> Array:
    """Integers are cut towards zero."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        if np.any(b == 0):
            raise ZeroDivisionError("division by zero")
        return (np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)).astype(a.dtype)
    return np.asarray(a / b, np.result_type(a, b))


def _cast(op: Op, a: Array) -> Array:
    target = op.get("to", 0)
    if target not in CASTS:
        op.refuse(f"attribute to: type {target}")
    return a.astype(CASTS[target])


def _constant(op: Op) -> Array:
    if len(op.attributes) != 1:
        op.damaged(f"expected one attribute with the value, got {sorted(op.attributes)}")
    value = op.tensor("value") if "value" in op.attributes else op.get(next(iter(op.attributes)), None)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, str) or (isinstance(value, list) and any(isinstance(item, str) for item in value)):
        op.refuse("holds text")
    name = next(iter(op.attributes))
    return np.array(value, np.int64 if "int" in name else np.float32)


def _constant_of_shape(op: Op, shape: Array) -> Array:
    sizes = integers(op, shape, "shape") or []
    value = op.tensor("value")
    if value is None:
        value = np.zeros(1, np.float32)
    if value.size != 1 or len(sizes) > 8 or any(n < 0 for n in sizes):
        op.damaged(f"a value of shape {value.shape} for the shape {sizes}")
    op.small(math.prod(sizes))
    return np.broadcast_to(value.reshape(()), sizes)


def _expand(op: Op, a: Array, shape: Array) -> Array:
    sizes = integers(op, shape, "shape") or []
    if len(sizes) > 8 or any(n < 0 for n in sizes):
        op.damaged(f"shape {sizes}")
    target = np.broadcast_shapes(a.shape, tuple(sizes))
    op.small(math.prod(target))
    return np.broadcast_to(a, target)


def _slice(op: Op, a: Array, *inputs: Array | None) -> Array:
    for at, indices in slices(op, a.shape, *inputs).items():
        a = a[(slice(None),) * at + (_as_slice(indices),)]
    return a


def _as_slice(indices: range) -> slice:
    stop = indices.stop if indices.stop >= 0 else None
    return slice(indices.start, stop, indices.step) if len(indices) else slice(0)


def _split(op: Op, a: Array, split: Array | None = None) -> tuple[Array, ...]:
    if not a.ndim:
        op.damaged("splits a single number")
    at = op.axis(op.get("axis", 0), a.ndim)
    ends = np.cumsum(split_sizes(op, a.shape[at], split))[:-1]
    return tuple(np.split(a, ends.tolist(), at))


def _gather(op: Op, a: Array, indices: Array) -> Array:
    if not a.ndim or indices.dtype.kind not in "iu":
        op.damaged("expected integers as indices into a tensor")
    at = op.axis(op.get("axis", 0), a.ndim)
    size = a.shape[at]
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        op.damaged(f"index out of range for axis {at} of {a.shape}")
    op.small(a.size // max(size, 1) * indices.size)
    return np.take(a, indices, at)


def _concat(op: Op, *arrays: Array) -> Array:
    op.small(sum(a.size for a in arrays))
    return np.concatenate(arrays, op.get("axis", 0))


def _range(op: Op, start: Array, limit: Array, delta: Array) -> Array:
    if start.size != 1 or limit.size != 1 or delta.size != 1 or not np.all(delta):
        op.damaged("expected three numbers")
    count = (limit.item() - start.item()) / delta.item()
    op.small(math.ceil(max(count, 0)))
    made: Array = (start.item() + delta.item() * np.arange(math.ceil(max(count, 0)))).astype(start.dtype)
    return made


def _tile(op: Op, a: Array, repeats: Array) -> Array:
    times = integers(op, repeats, "repeats") or []
    if any(n < 0 for n in times):
        op.damaged(f"repeats {times}")
    op.small(a.size * math.prod(times))
    return np.tile(a, times)


def _reduce(function: Callable[..., Any]) -> Callable[..., Array]:
    def fold(op: Op, a: Array, axes: Array | None = None) -> Array:
        numbers = listed_axes(op, axes)
        if not numbers and op.get("noop_with_empty_axes", 0):
            return a
        at = tuple(op.axes(numbers, a.ndim)) if numbers else None
        return np.asarray(function(a, axis=at, keepdims=bool(op.get("keepdims", 1))), a.dtype)

    return fold


def _product(op: Op, a: Array, b: Array) -> Array:
    if a.ndim != 2 or b.ndim != 2:
        op.refuse(f"a product of constants of shapes {a.shape} and {b.shape}")
    op.small(a.shape[0] * b.shape[1])
    op.small(a.shape[0] * b.shape[1] * a.shape[1] // 64)
    return a @ b


def _dropout(op: Op, a: Array, ratio: Array | None = None, training: Array | None = None) -> Array:
    if training is not None and np.any(training):
        op.refuse("input training_mode: drops constants at inference too; export the model for inference")
    return a


FOLD: Mapping[str, Callable[..., Array | tuple[Array, ...]]] = MappingProxyType(
    {
        "Constant": _constant,
        "ConstantOfShape": _constant_of_shape,
        "Identity": lambda op, a: a,
        "Dropout": _dropout,
        "Cast": _cast,
        "Size": lambda op, a: np.array(a.size, np.int64),
        "Expand": _expand,
        "Reshape": lambda op, a, shape: a.reshape(reshaped(op, a.shape, shape)),
        "Flatten": lambda op, a: a.reshape(flattened(op, a.shape)),
        "Transpose": lambda op, a: a.transpose(permutation(op, a.ndim)),
        "Squeeze": lambda op, a, axes=None: a.squeeze(tuple(squeezed(op, a.shape, axes))),
        "Unsqueeze": lambda op, a, axes=None: np.expand_dims(a, tuple(unsqueezed(op, a.ndim, axes))),
        "Slice": _slice,
        "Split": _split,
        "Gather": _gather,
        "Concat": _concat,
        "Range": _range,
        "Tile": _tile,
        "Add": _elementwise(np.add),
        "Sub": _elementwise(np.subtract),
        "Mul": _elementwise(np.multiply),
        "Div": _elementwise(_divide),
        "Pow": _elementwise(lambda a, b: np.power(a.astype(np.float64), b).astype(a.dtype)),
        "Mod": lambda op, a, b: _elementwise(np.fmod if op.get("fmod", 0) else np.mod)(op, a, b),
        "Max": _elementwise(lambda *arrays: np.max(np.broadcast_arrays(*arrays), axis=0)),
        "Min": _elementwise(lambda *arrays: np.min(np.broadcast_arrays(*arrays), axis=0)),
        "Sum": _elementwise(lambda *arrays: sum(arrays[1:], arrays[0])),
        "Equal": _elementwise(np.equal),
        "Less": _elementwise(np.less),
        "Greater": _elementwise(np.greater),
        "LessOrEqual": _elementwise(np.less_equal),
        "GreaterOrEqual": _elementwise(np.greater_equal),
        "And": _elementwise(np.logical_and),
        "Or": _elementwise(np.logical_or),
        "Not": _elementwise(np.logical_not),
        "Where": _elementwise(np.where),
        "Neg": _elementwise(np.negative),
        "Abs": _elementwise(np.abs),
        "Sqrt": _elementwise(np.sqrt),
        "Exp": _elementwise(np.exp),
        "Log": _elementwise(np.log),
        "Floor": _elementwise(np.floor),
        "Ceil": _elementwise(np.ceil),
        "Reciprocal": _elementwise(np.reciprocal),
        "ReduceSum": _reduce(np.sum),
        "ReduceProd": _reduce(np.prod),
        "ReduceMean": _reduce(np.mean),
        "MatMul": _product,
    }
)
