"""Arithmetic, and operations of torch that join several values, as handlers; see `torch_ops`."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lstmcore.formats.torch.torch_axes import both_halves, features_last, merge_directions
from lstmcore.formats.torch.torch_value import ONE_DIRECTION, D, F, N, Op, T, Value, array, show
from lstmcore.layers import Activation, Add, Concat, Linear, Merge, Mul, Recurrent, Reverse, Scaler

Number = torch.Tensor | float


def add(op: Op, x: Any, y: Any, alpha: float = 1) -> Value:
    """x + alpha·y."""
    if isinstance(x, Value) and isinstance(y, Value):
        return _join(op, x, y if alpha == 1 else _affine(op, y, float(alpha), 0.0), Add, "sum")
    x, y = (x, y) if isinstance(x, Value) else (y, x)
    bias = _one_number(y)
    if bias is not None:
        return _affine(op, x, 1.0, alpha * bias)
    layer = x.layer
    if isinstance(layer, Linear) and not layer.bias and x.axes[-1] == F and y.numel() == layer.out_features:
        weights = {**layer.weights, "bias": array(alpha * y.reshape(-1))}
        with_bias: Value = x.from_source(
            x.graph.add(layer.replace(bias=True, weights=weights), *x.graph.inputs(x.source))
        )
        return with_bias
    op.refuse("adds a constant for each feature; lstmcore has no equation for that but the bias of a Linear")


def sub(op: Op, x: Any, y: Any, alpha: float = 1) -> Value:
    """x - alpha·y."""
    if isinstance(x, Value) and isinstance(y, Value):
        return add(op, x, y, -alpha)
    if not isinstance(x, Value):
        return add(op, _affine(op, y, float(-alpha), 0.0), x)
    if x.reads_window and alpha == 1:
        return _scaler(op, x, y, 1.0)
    return add(op, x, y, -alpha)


def rsub(op: Op, x: Value, y: Number, alpha: float = 1) -> Value:
    """y - alpha·x."""
    return sub(op, y, x, alpha)


def mul(op: Op, x: Any, y: Any) -> Value:
    """x·y."""
    if isinstance(x, Value) and isinstance(y, Value):
        return _join(op, x, y, Mul, "mul")
    x, y = (x, y) if isinstance(x, Value) else (y, x)
    factor = _one_number(y)
    if factor is None:
        op.refuse("multiplies by a constant for each feature; lstmcore has no equation for that but a Linear's weights")
    return _affine(op, x, factor, 0.0)


def div(op: Op, x: Any, y: Any) -> Value:
    """x / y."""
    if not isinstance(x, Value) or isinstance(y, Value):
        op.refuse("divides by a value that depends on the input; lstmcore has no equation for that")
    layer = x.layer
    centred = isinstance(layer, Scaler) and bool(np.all(layer.weights["scale"] == 1))
    if x.reads_window or centred:
        mean = torch.tensor(layer.weights["mean"]) if isinstance(layer, Scaler) else 0.0
        return _scaler(op, dataclasses.replace(x, source=-1), mean, y)
    scale = _one_number(y)
    if not scale:
        op.refuse("divides by a constant for each feature, or by 0; that is supported on the input, as its scale")
    return _affine(op, x, 1 / scale, 0.0)


def neg(op: Op, x: Value) -> Value:
    """-x."""
    return _affine(op, x, -1.0, 0.0)


def matmul(op: Op, x: Any, y: Any) -> Value:
    """x @ y, where y is a matrix of weights."""
    if not isinstance(x, Value) or isinstance(y, Value):
        op.refuse("multiplies values that depend on the input as matrices, as attention does; that is not supported")
    x = features_last(op, x)
    if x.axes[-1] != F or y.ndim != 2:
        op.refuse(f"multiplies {show(x.axes)} by weights of shape {tuple(y.shape)}; expected the features by a matrix")
    in_features, out_features = y.shape
    layer = Linear(op.name, in_features, out_features, False, weights={"weight": array(y.mT)})
    product: Value = x.then(layer, out_features)
    return product


def cat(op: Op, values: Sequence[Any], dim: int = 0) -> Value:
    """Features side by side, both directions of a layer, or all steps behind each other."""
    values = _all_values(op, values)
    axis, steps = values[0].axes[dim], {x.step for x in values}
    if axis == () or (axis == F and values[0].sizes["F"] == 1 and steps == {*range(values[0].sizes["T"])}):
        return _all_steps(op, values, dim, [])
    if axis != F:
        op.refuse(f"joins along {show([axis])}; only features can be joined")
    joined = [values[0]]
    for x in values[1:]:
        both = _both(joined[-1], x)
        joined = [*joined[:-1], both] if both else [*joined, x]
    if len(joined) == 1:
        return joined[0]
    joined = _alike(op, joined)
    return _merged(op, joined, Concat, sum(x.sizes["F"] for x in joined))


def stack(op: Op, values: Sequence[Any], dim: int = 0) -> Value:
    """All steps behind each other, or both directions of a layer in an axis of their own."""
    values = _all_values(op, values)
    dim %= len(values[0].axes) + 1
    both = _both(*values) if len(values) == 2 else None
    if both:
        axes = (*values[0].axes[:dim], D, *values[0].axes[dim:])
        return both_halves(dataclasses.replace(both, axes=axes, sizes={**values[0].sizes, "D": 2}))
    return _all_steps(op, values, dim, [()])


def _all_values(op: Op, values: Sequence[Any]) -> list[Value]:
    if not all(isinstance(x, Value) for x in values):
        op.refuse("joins a constant with values that depend on the input; lstmcore has no equation for that")
    return list(values)


def _all_steps(op: Op, values: list[Value], dim: int, new: list[Any]) -> Value:
    """The values as the sequence of which each is one step."""
    dim %= len(values[0].axes) + len(new)
    first, steps = values[0], [x.step for x in values]
    same = all((x.source, x.axes, x.half) == (first.source, first.axes, first.half) for x in values)
    forward = list(range(first.sizes["T"]))
    if not same or steps not in (forward, forward[::-1]):
        op.refuse("joins values that are not all steps of one sequence in their order; that is not supported")
    axes = (*first.axes[:dim], T, *first.axes[dim + (not new) :])
    if F not in axes and () in axes:  # of two axes of size 1, the other one was the features
        axes = tuple(F if axis == () else axis for axis in axes)
    whole = dataclasses.replace(first, axes=axes, step=None)
    return whole if steps == forward else whole.then(Reverse("reverse"))


def _both(x: Value, y: Value) -> Value | None:
    """The two directions of a layer side by side, where `x` and `y` are the forward and the backward one."""
    if (x.half, y.half) != (0, 1) or x.axes != y.axes or x.source != y.source:
        return None
    sizes = {**x.sizes, "F": 2 * x.sizes["F"]}
    if x.step == y.step:
        return dataclasses.replace(x, half=None, sizes=sizes)
    layer: Any = x.layer
    if (x.step, y.step) != (x.sizes["T"] - 1, 0) or not isinstance(layer, Recurrent):
        return None
    final = x.graph.add(layer.replace(return_sequences=False), *x.graph.inputs(x.source))
    return dataclasses.replace(x, source=final, half=None, step=None, picked=None, sizes=sizes)


def _join(op: Op, x: Value, y: Value, kind: type[Merge], merge: str) -> Value:
    """The sum or product of two values: by a layer of its own, or of the two directions of one layer."""
    if {x.half, y.half} == {0, 1}:
        both = _both(x, y) or _both(y, x)
        if both is None:
            op.refuse(ONE_DIRECTION)
        return merge_directions(op, dataclasses.replace(both, sizes=x.sizes), merge)
    x, y = _alike(op, [x, y])
    if x.sizes["F"] != y.sizes["F"]:
        op.refuse(f"joins values of {x.sizes['F']} and {y.sizes['F']} features; only equal numbers are supported")
    return _merged(op, [x, y], kind, x.sizes["F"])


def _alike(op: Op, values: list[Value]) -> list[Value]:
    """The values with their steps settled, unless it is the same of all; refused with different axes."""
    if len({x.step for x in values}) > 1 or any(x.half is not None for x in values):
        values = [x.settled() for x in values]
    if len({x.axes for x in values}) > 1:
        op.refuse(f"joins {' and '.join(show(x.axes) for x in values)}; only values of the same axes can be joined")
    for before, x in itertools.pairwise(values):
        if "D" in "".join(itertools.chain(*before.axes, *x.axes)) or N not in x.axes:
            op.refuse(f"joins values with {show(x.axes)}; expected a batch of features")
    return values


def _merged(op: Op, values: list[Value], kind: type[Merge], features: int) -> Value:
    first = values[0]
    return first.from_source(first.graph.add(kind(op.name), *(x.source for x in values)), features)


def _one_number(value: Number) -> float | None:
    """The constant, where it is one number."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 else None
    return float(value)


def _affine(op: Op, x: Value, alpha: float, beta: float) -> Value:
    return x.then(Activation(op.name, f"affine({alpha!r},{beta!r})"))


def _scaler(op: Op, x: Value, mean: Number, scale: Number) -> Value:
    weights = {}
    for key, value in {"mean": mean, "scale": scale}.items():
        tensor = torch.as_tensor(value, dtype=op.node.meta["val"].dtype)
        if key == "mean" and isinstance(
            value, torch.Tensor
        ):  # it may have more digits: the difference was rounded later
            tensor = value.to(torch.promote_types(tensor.dtype, value.dtype))
        if x.axes[-1] != F or tensor.numel() != math.prod(tensor.shape[-1:]):
            op.refuse(f"the constant of shape {tuple(tensor.shape)} is not one number for each feature")
        weights[key] = array(tensor.reshape(-1).expand(x.sizes["F"]))
    return x.then(Scaler("scaler", x.sizes["F"], weights=weights))
