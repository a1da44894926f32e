"""Tensors of several values: broadcast beside each other, and concatenated."""

from __future__ import annotations

from collections.abc import Sequence

from lstmcore.formats.onnx.onnx_nodes import Node, Refused
from lstmcore.formats.onnx.onnx_value import Axis, Letter, Tensor, single, stacked


def aligned(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors with the same axes, as elementwise arithmetic broadcasts them. Raises Refused for any other."""
    rank = max(len(a.axes), len(b.axes))
    a, b = (x.unsqueeze(range(rank - len(x.axes))) for x in (a, b))
    if a.parts.shape == b.parts.shape and [a.real(x) for x in a.axes] == [b.real(x) for x in b.axes]:
        return a, b
    a, b = a.settled(), b.settled()
    alike = all(
        a.real(x) == b.real(y) or {a.real(x), b.real(y)} == {("F",), ()} for x, y in zip(a.axes, b.axes, strict=True)
    )
    if not alike or a.parts.size != 1 or b.parts.size != 1:
        raise Refused(f"joins {a.show()} of shape {a.shape} with {b.show()} of shape {b.shape}")
    return a, b


def concatenated(tensors: Sequence[Tensor], at: int) -> Tensor:
    """Tensors behind each other along an axis: features, or parts."""
    tensors = [x.settled() for x in tensors]
    first = tensors[0]
    rank = len(first.axes)
    if any(len(x.axes) != rank for x in tensors):
        raise Refused("concatenates tensors of different ranks")

    def others(x: Tensor) -> list[Axis]:
        return [x.real(axis) for n, axis in enumerate(x.axes) if n != at % rank]

    if any(others(x) != others(first) for x in tensors):
        raise Refused(f"concatenates {' and '.join(x.show() for x in tensors[:4])}")
    real = {x.real(x.axes[at]) for x in tensors}
    builder = first.context.builder
    if (
        real <= {("F",), ()}
        and all(x.parts.size == 1 for x in tensors)
        and (real == {("F",)} or _is_features(tensors, at))
    ):
        joined = single(first.context, builder.concat([x.node for x in tensors]))
        return Tensor(first.context, joined.parts, (*first.axes[: at % rank], ("F",), *first.axes[at % rank + 1 :]))
    if all(letters == () or (len(letters) == 1 and isinstance(letters[0], int)) for letters in real):
        rows: list[Node] = []
        for x in tensors:
            if (x.parts.size > 1 and x.parts.ndim > 1) or x.parts.size != x.length(x.axes[at]):
                raise Refused(f"concatenates parts of {x.show()}")
            rows.extend(x.parts.reshape(-1))
        if len({(node.features, node.sequence) for node in rows}) > 1:
            raise Refused("concatenates values of different sizes in an axis of their own")
        axes: list[Letter | None] = [axis[0] if axis else None for axis in map(first.real, first.axes)]
        made = stacked(first.context, rows)
        kept = [((letter,) if letter is not None else ()) for letter in axes]
        kept[at % rank] = (0,)
        return Tensor(first.context, made.parts, tuple(kept))
    raise Refused(f"concatenates along axis {at} of {first.show()}; only features, directions or layers can be joined")


def _is_features(tensors: Sequence[Tensor], at: int) -> bool:
    """Whether an axis of size 1 in each tensor is where their single features are."""
    return all("F" in x.axes[at] or at % len(x.axes) == len(x.axes) - 1 for x in tensors) and all(
        "F" not in x.real(axis) for x in tensors for axis in x.axes
    )
