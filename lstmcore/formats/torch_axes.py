"""Operations of torch that move, merge, drop or pick from axes, as handlers of a `Value`; see `torch_ops`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from lstmcore.formats.torch_value import Axis, F, L, N, Op, T, Value, show
from lstmcore.layers import LSTM, Flatten, Layer


def permute(op: Op, x: Value, *args: Any) -> Value:
    """All ways to reorder axes: torch says where each goes, shown by axes of different lengths."""
    target: Any = op.node.target
    probe = target(torch.empty(*range(2, 2 + len(x.axes))), *args)
    return x.with_axes(*(x.axes[size - 2] for size in probe.shape))


def reshape(op: Op, x: Value, *args: Any) -> Value:
    """Views, flattening, squeezing: the letters in their order, dealt out to the axes of the new shape."""
    shape = tuple(op.node.meta["val"].shape)
    letters = [letter for axis in x.axes for letter in axis]
    axes: list[Axis] = []
    for size in shape:
        axis: list[str] = []
        if size == 1 and letters and x.sizes[letters[0]] == 1:
            axis.append(letters.pop(0))
        while _length(x, axis) < size and letters:
            axis.append(letters.pop(0))
        if _length(x, axis) != size:
            op.refuse(f"makes {shape} of {show(x.axes)}, which mixes axes")
        axes.append(tuple(letter for letter in axis if x.sizes[letter] > 1 or len(axis) == 1))
    flat = ("T", "F")
    return _flatten(op, x, axes, flat) if flat in axes else x.with_axes(*axes)


def features_last(op: Op, x: Value) -> Value:
    """With the features in the last axis, where that is a way to read a single feature."""
    if x.sizes["F"] > 1:
        return x
    without = [() if axis == F else axis for axis in x.axes]
    if x.axes[-1] == ():
        return x.with_axes(*without[:-1], F)
    if x.axes[-1] == T:
        return _flatten(op, x, without, T)
    return x


def select(op: Op, x: Value, dim: int, index: int) -> Value:
    """x[:, index]."""
    length = _length(x, x.axes[dim])
    return _pick(op, x, dim, index % length, [])


def slice_(op: Op, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    """x[:, start:end:step]."""
    length = _length(x, x.axes[dim])
    picked = range(length)[start:end:step]
    if len(picked) == length:
        return x
    if len(picked) != 1:
        what = show([x.axes[dim]])
        op.refuse(f"takes {len(picked)} of {length} along {what}; only the last time step can be taken")
    return _pick(op, x, dim, picked[0], [()])


def _length(x: Value, axis: Sequence[str]) -> int:
    return math.prod(x.sizes[letter] for letter in axis)


def _flatten(op: Op, x: Value, axes: Sequence[Axis], flat: Axis) -> Value:
    """All features of all steps in one axis, which is written `flat` in `axes`."""
    steps = x.sizes["T"]
    x = x.then(Flatten(op.name(x), steps), steps * x.sizes["F"])
    return x.with_axes(*(F if axis == flat else axis for axis in axes))


def _pick(op: Op, x: Value, dim: int, index: int, kept: list[Axis]) -> Value:
    """One index along an axis that leaves `kept` of it: the last step, the top layer, the only feature."""
    dim %= len(x.axes)
    axis = x.axes[dim]
    length = _length(x, axis)
    rest = x.with_axes(*x.axes[:dim], *kept, *x.axes[dim + 1 :])
    if length == 1:
        return rest
    if axis == L:
        if index != length - 1:
            op.refuse(f"takes h_n of layer {index} of {length}; only the top layer's, h_n[-1], is supported")
        return rest
    if axis == T:
        if index != length - 1:
            op.refuse(f"takes step {index} of {length}; only the last time step can be taken")
        return dataclasses.replace(rest, layers=_at_last_step(op, x.layers))
    if axis == N:
        op.refuse("takes one window of the batch; if time was meant, the LSTM needs batch_first=True")
    op.refuse(f"takes index {index} along {show([axis])}; only the last time step can be taken")


def _at_last_step(op: Op, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """`layers` with "take the last step" moved back to the LSTM, over those that treat each step alike."""
    for at, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, LSTM):
            return (*layers[:at], layer.replace(return_sequences=False), *layers[at + 1 :])
    op.refuse("takes the last step of what no LSTM has read; the other steps would have no effect")
