"""Operations of torch that move, merge, drop or pick from axes, as handlers of a `Value`; see `torch_ops`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lstmcore.errors import UnsupportedError
from lstmcore.formats.torch.torch_value import Axis, D, F, L, N, Op, T, TimeAxisError, Value, show
from lstmcore.layers import Flatten, Reverse


def permute(op: Op, x: Value, *args: Any) -> Value:
    """All ways to reorder axes: torch says where each goes, shown by axes of different lengths."""
    target: Any = op.node.target
    probe = target(torch.empty(*range(2, 2 + len(x.axes))), *args)
    return both_halves(x.with_axes(*(x.axes[size - 2] for size in probe.shape)))


def reshape(op: Op, x: Value, *args: Any) -> Value:
    """Views, flattening, squeezing: the letters in their order, dealt out to the axes of the new shape."""
    shape = tuple(op.node.meta["val"].shape)
    axes = _deal(x, shape)
    if axes is None and x.both_directions:
        apart = _apart(x)
        x, axes = (apart, found) if (found := _deal(apart, shape)) else (x, None)
    if axes is None:
        op.refuse(f"makes {shape} of {show(x.axes)}, which mixes axes")
    flat = ("T", "F")
    return _flatten(op, x, axes, flat) if flat in axes else both_halves(x.with_axes(*axes))


def _deal(x: Value, shape: Sequence[int]) -> list[Axis] | None:
    letters = [letter for axis in x.axes for letter in axis]
    axes: list[Axis] = []
    for size in shape:
        axis: list[str] = []
        if size == 1 and letters and x.sizes[letters[0]] == 1:
            axis.append(letters.pop(0))
        while _length(x, axis) < size and letters:
            axis.append(letters.pop(0))
        if _length(x, axis) != size:
            return None
        axes.append(tuple(letter for letter in axis if x.sizes[letter] > 1 or len(axis) == 1))
    return axes


def _apart(x: Value) -> Value:
    """With the two directions that lie behind each other in the features as a letter of their own."""
    axes = [(*axis[:-1], "D", "F") if axis[-1:] == F else axis for axis in x.axes]
    return dataclasses.replace(x, axes=tuple(axes), sizes={**x.sizes, "D": 2, "F": x.sizes["F"] // 2})


def both_halves(x: Value) -> Value:
    """With a direction's axis and that of its features read as the one that they are, where they are merged."""
    one = ("D",) if x.sizes["F"] == 1 and F not in x.axes else ("D", "F")
    if not any(axis[-len(one) :] == one for axis in x.axes):
        return x
    axes = [(*axis[: -len(one)], "F") if axis[-len(one) :] == one else axis for axis in x.axes]
    return dataclasses.replace(x, axes=tuple(axes), sizes={**x.sizes, "F": 2 * x.sizes["F"]})


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


def select(op: Op, x: Value, dim: int = 0, index: int = 0) -> Value:
    """x[:, index]."""
    length = _length(x, x.axes[dim])
    return _pick(op, x, dim, index % length, [])


def slice_(op: Op, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Value:
    """x[:, start:end:step]."""
    length = _length(x, x.axes[dim])
    picked = range(length)[start:end:step]
    if len(picked) == length:
        return x
    if x.axes[dim] == F and x.both_directions and picked.step == 1 and 2 * len(picked) == length:
        at = {0: 0, length // 2: 1}.get(picked.start)
        if at is not None:
            return dataclasses.replace(x, half=at, picked=op, sizes={**x.sizes, "F": length // 2})
    if len(picked) != 1:
        what = show([x.axes[dim]])
        op.refuse(f"takes {len(picked)} of {length} along {what}; only one time step can be taken")
    return _pick(op, x, dim, picked[0], [()])


def pieces(op: Op, x: Value, *args: Any, dim: int | None = None) -> list[Value]:
    """unbind, chunk and split: all of an axis, in pieces."""
    wholes = tuple(op.node.meta["val"])
    number = 0 if op.kind == "unbind" else 1
    along = dim if dim is not None else args[number] if len(args) > number else 0
    if op.kind == "unbind":
        return [select(op, x, along, index) for index in range(len(wholes))]
    sizes = [whole.shape[along] for whole in wholes]
    return [slice_(op, x, along, sum(sizes[:n]), sum(sizes[: n + 1])) for n in range(len(sizes))]


def flip(op: Op, x: Value, dims: Sequence[int]) -> Value:
    """x.flip(1), where that is time."""
    if [x.axes[dim] for dim in dims] != [T]:
        op.refuse(f"reverses {show([x.axes[dim] for dim in dims])}; only time can be reversed")
    return x.then(Reverse("reverse"))


def over_directions(merge: str) -> Callable[..., Value]:
    """A handler of sum, mean and prod over the two directions of a bidirectional layer."""

    def handler(op: Op, x: Value, dims: int | Sequence[int] | None = None, keepdim: bool = False) -> Value:
        axes = [x.axes[dim] for dim in ([dims] if isinstance(dims, int) else dims or range(len(x.axes)))]
        if axes != [D] or keepdim:
            op.refuse(f"goes over {show(axes)}; lstmcore has no equation for that, but answers with out[:, -1]")
        return merge_directions(op, x, merge).with_axes(*(axis for axis in x.axes if axis != D))

    return handler


def merge_directions(op: Op, x: Value, merge: str) -> Value:
    """`x`, of which both directions' features lie apart, with them joined in another way than side by side."""
    layer: Any = x.layer
    if layer.num_layers > 1:
        op.refuse("joins the directions of a stack of layers; that is supported for a single layer only")
    source = x.graph.add(layer.replace(merge=merge), *x.graph.inputs(x.source))
    return dataclasses.replace(x, source=source, half=None)


def _length(x: Value, axis: Sequence[str]) -> int:
    return math.prod(x.sizes[letter] for letter in axis)


def _flatten(op: Op, x: Value, axes: Sequence[Axis], flat: Axis) -> Value:
    """All features of all steps in one axis, which is written `flat` in `axes`."""
    steps = x.sizes["T"]
    x = x.then(Flatten(op.name, steps), steps * x.sizes["F"])
    return x.with_axes(*(F if axis == flat else axis for axis in axes))


def _pick(op: Op, x: Value, dim: int, index: int, kept: list[Axis]) -> Value:
    """One index along an axis that leaves `kept` of it: a step, the top layer, a direction, the only feature."""
    dim %= len(x.axes)
    axis = x.axes[dim]
    length = _length(x, axis)
    rest = x.with_axes(*x.axes[:dim], *kept, *x.axes[dim + 1 :])
    if length == 1:
        return rest
    if axis == T:
        return dataclasses.replace(rest, step=index, picked=op)
    if axis in (L, D, ("L", "D")):
        layer, half = divmod(index, 1 if axis == L else 2)
        layers = 1 if axis == D else x.sizes["L"]
        if axis != D and layer != layers - 1:
            op.refuse(f"takes h_n of layer {layer} of {layers}; only the top layer's is supported")
        return rest if axis == L else dataclasses.replace(rest, half=half, picked=op)
    if axis == N:
        op.refuse(
            "takes one window of the batch; if time was meant, the layer needs batch_first=True",
            TimeAxisError if x.reads_window else UnsupportedError,
        )
    op.refuse(f"takes index {index} along {show([axis])}; only one time step can be taken")
