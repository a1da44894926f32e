"""What operators that move axes make of shapes, whether of constants or of what depends on the window."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.layers import Array


def integers(op: Op, array: Array | None, what: str) -> list[int] | None:
    """A constant of rank 0 or 1 as integers; None stays."""
    if array is None:
        return None
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
        op.damaged(f"{what}: expected a few integers, got shape {array.shape} of {array.dtype}")
    return [int(n) for n in array.reshape(-1)]


def reshaped(op: Op, old: Sequence[int], shape: Array) -> list[int]:
    """The sizes that Reshape makes of `old`, 0 and -1 put in."""
    sizes = integers(op, shape, "shape") or []
    if not op.get("allowzero", 0):
        if any(n == 0 and k >= len(old) for k, n in enumerate(sizes)):
            op.damaged(f"shape {sizes} of a tensor of rank {len(old)}")
        sizes = [old[k] if n == 0 else n for k, n in enumerate(sizes)]
    if len(sizes) > 8 or sizes.count(-1) > 1 or any(n < -1 for n in sizes):
        op.damaged(f"shape {sizes}")
    total = math.prod(old)
    if -1 in sizes:
        known = math.prod(n for n in sizes if n != -1)
        if known == 0 or total % known:
            op.damaged(f"shape {sizes} for {total} values")
        sizes[sizes.index(-1)] = total // known
    if math.prod(sizes) != total:
        op.damaged(f"shape {sizes} for {total} values, {tuple(old)}")
    return sizes


def permutation(op: Op, rank: int) -> list[int]:
    """The attribute perm, all axes reversed where it is absent."""
    perm = op.integers("perm")
    perm = list(range(rank))[::-1] if perm is None else perm
    if sorted(perm) != list(range(rank)):
        op.damaged(f"perm {perm} for a tensor of rank {rank}")
    return perm


def flattened(op: Op, shape: Sequence[int]) -> tuple[int, int]:
    """The two sizes that Flatten makes."""
    axis = op.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        op.damaged(f"axis {axis} of a tensor of rank {len(shape)}")
    axis = axis + len(shape) if axis < 0 else axis
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def listed_axes(op: Op, axes: Array | None) -> list[int] | None:
    """Axes as an attribute, as up to opset 12, or as an input."""
    return _either(op, "axes", axes)


def _either(op: Op, name: str, array: Array | None) -> list[int] | None:
    """Integers that older opsets have as an attribute and newer ones as an input; never both."""
    attribute = op.integers(name)
    if attribute is not None and array is not None:
        op.damaged(f"{name} as an attribute and as an input")
    return integers(op, array, name) if attribute is None else attribute


def squeezed(op: Op, shape: Sequence[int], axes: Array | None) -> list[int]:
    """The axes that Squeeze takes away."""
    numbers = listed_axes(op, axes)
    return [k for k, n in enumerate(shape) if n == 1] if numbers is None else op.axes(numbers, len(shape))


def unsqueezed(op: Op, rank: int, axes: Array | None) -> list[int]:
    """The places at which Unsqueeze puts axes."""
    numbers = listed_axes(op, axes)
    if numbers is None or rank + len(numbers) > 8:
        op.damaged("expected a few axes")
    return op.axes(numbers, rank + len(numbers))


def slices(op: Op, shape: Sequence[int], *inputs: Array | None) -> dict[int, range]:
    """For each axis that Slice names, the indices that are left."""
    starts, ends, axes, steps = (
        integers(op, array, name)
        for array, name in zip((*inputs, None, None)[:4], ("starts", "ends", "axes", "steps"), strict=True)
    )
    starts, ends = starts or [], ends or []
    numbers = op.axes(list(range(len(starts))) if axes is None else axes, len(shape))
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(numbers) == len(steps) or 0 in steps:
        op.damaged("starts, ends, axes and steps do not fit together")
    return {
        at: range(shape[at])[start:end:step] for at, start, end, step in zip(numbers, starts, ends, steps, strict=True)
    }


def split_sizes(op: Op, size: int, split: Array | None) -> list[int]:
    """How long the parts are that Split makes."""
    sizes = _either(op, "split", split)
    if sizes is None:
        count = op.get("num_outputs", len(op.node.output))
        if not 1 <= count <= 64:
            op.damaged(f"splits into {count} parts")
        each = -(-size // count)
        sizes = [min(each, size - k * each) for k in range(count)]
    if any(n < 0 for n in sizes) or sum(sizes) != size or len(sizes) != len(op.node.output):
        op.damaged(f"splits {size} into {sizes}")
    return sizes
