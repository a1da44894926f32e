"""Steps, parts and features taken out of a tensor by their places, as Slice, Gather and Split do."""

from __future__ import annotations

from collections.abc import Sequence

from lstmcore.formats.onnx.onnx_builder import Builder
from lstmcore.formats.onnx.onnx_nodes import Node, Refused
from lstmcore.formats.onnx.onnx_value import Axis, Tensor, each


class StepError(Refused):
    """A step taken by its place."""


def pick(value: Tensor, at: int, indices: Sequence[int], keep: bool) -> Tensor:
    """Only these indices along an axis; without `keep` there is one, and the axis goes."""
    axis = value.axes[at]
    rest = [*value.axes[:at], *([()] if keep else []), *value.axes[at + 1 :]]
    whole = _is(indices, range(value.length(axis)))
    if whole and (keep or len(indices) == 1):
        return value if keep else value.with_axes(rest)
    builder = value.context.builder
    real = value.real(axis)
    if real == ("T",):
        settled = value.settled()
        if settled.axes != value.axes:  # whole vectors are what a Last is taken of
            return pick(settled, at, indices, keep)
        _need_plain_time(value)
        builder.need_all_steps("takes steps by their place")
        last = value.context.steps - 1
        if _is(indices, range(last, -1, -1)):
            return value.map(builder.reverse)
        if _is(indices, range(last, last + 1)):
            return Tensor(value.context, each(builder.last, value.parts), tuple(rest))
        if _is(indices, range(1)):
            parts = each(lambda node: builder.last(builder.reverse(node)), value.parts)
            return Tensor(value.context, parts, tuple(rest))
        raise StepError(f"takes {_several(indices, 'step')} of {last + 1}; only the last or first can be taken alone")
    if real == ("N",):
        raise Refused("takes some windows of the batch")
    if (len(real) == 1 and isinstance(real[0], int)) or (len(real) == 2 and real[1] == "F" and real[0] != "T"):
        return _pick_parts(value, at, real, indices, keep)
    if real == ("F",):
        picked = value.map(lambda node: _pick_features(builder, node, indices))
        return picked if keep else picked.with_axes(rest)
    raise Refused(f"takes {_several(indices, 'value')} along axis {at} of {value.show()}")


def _is(indices: Sequence[int], wanted: range) -> bool:
    """Whether they are these, however many: ranges are compared by their ends."""
    if isinstance(indices, range):
        return indices == wanted
    return len(indices) == len(wanted) and list(indices) == list(wanted)


def _pick_parts(value: Tensor, at: int, real: Axis, indices: Sequence[int], keep: bool) -> Tensor:
    """Whole parts, of an axis of parts or of parts merged with the features behind them."""
    letter, width = real[0], value.size("F") if len(real) == 2 else 1
    blocks = [index // width for index in indices[::width]]
    if not isinstance(letter, int) or list(indices) != [b * width + k for b in blocks for k in range(width)]:
        raise Refused(f"takes {_several(indices, 'value')} along axis {at} of {value.show()}, which are no whole part")
    parts = value.parts.take(blocks, letter)
    if keep or len(real) == 2:
        return Tensor(value.context, parts, value.axes)
    return value.with_axes([axis for n, axis in enumerate(value.axes) if n != at], parts)


def _pick_features(builder: Builder, node: Node, indices: Sequence[int]) -> Node:
    """Some features of a concatenation, where they are whole parts of it."""
    parts = builder.parts(node)
    chosen: list[Node] = []
    at = 0
    while at < len(indices):
        start = indices[at]
        part = parts.get(start)
        if part is None or list(indices[at : at + part.features]) != list(range(start, start + part.features)):
            raise Refused(f"takes {_several(indices, 'feature')} of {node.features}; that has no layer")
        chosen.append(part)
        at += part.features
    return builder.concat(chosen)


def _need_plain_time(value: Tensor) -> None:
    if not value.first.sequence:
        raise Refused("takes a step of a value that has no time steps")


def _several(indices: Sequence[int], what: str) -> str:
    return f"{what} {indices[0]}" if len(indices) == 1 else f"{len(indices)} {what}s"
