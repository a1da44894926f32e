"""The operations, not layers, that a Functional model may hold: x[:, -1], x + y, x * y, and how a mask is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from lstmcore import layers
from lstmcore.errors import UnsupportedError
from lstmcore.formats.keras.keras_build import Builder, Tensor, joined
from lstmcore.formats.keras.keras_nodes import Call
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.layers import show
from lstmcore.layers.base import is_finite

#: The name of a tensor that is a mask, and no layer's output.
MASK = ""


def is_mask(tensor: Tensor) -> bool:
    """Whether it holds true and false, and no layer's output."""
    return tensor.name == MASK


def _elementwise(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    cls = {"Add": layers.Add, "Multiply": layers.Mul}[spec.kind]
    if len(tensors) != 2 or call.arguments or call.keywords or any(map(is_mask, tensors)):
        raise UnsupportedError(f"{spec.what}: expected two tensors, got {len(tensors)} and {call.arguments!r:.100}")
    if tensors[0].shape != tensors[1].shape:
        raise UnsupportedError(f"{spec.what}: inputs of shapes {show(tensors[0].shape)} and {show(tensors[1].shape)}")
    return build.add(cls, spec, tensors)._replace(mask=None)  # an operation, unlike a layer, ends a mask in Keras


def _last(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    """x[:, -1] or x[:, -1, :] of a sequence."""
    read = build.one(spec, tensors)
    key = call.keywords.get("slice_spec") if spec.kind == "SlicingOpLambda" else next(iter(call.arguments), None)
    parts = key if isinstance(key, list) else [key]
    whole = [_is_whole(part) for part in parts]
    if is_mask(read) or len(read.shape) != 2 or whole not in ([True, False], [True, False, True]) or parts[1] != -1:
        raise UnsupportedError(f"{spec.what}: reads {key!r:.200}; supported is the last step of a sequence, x[:, -1]")
    return build.add(layers.Last, spec, read).without_steps()


def _is_whole(part: Any) -> bool:
    """Whether it is a slice that takes everything."""
    limits = part.get("config", part) if isinstance(part, dict) else {"start": 0}
    return isinstance(limits, dict) and all(limits.get(key) is None for key in ("start", "stop", "step"))


def _not_equal(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    read = build.one(spec, tensors)
    value = next(iter(call.arguments), None)
    if (
        is_mask(read)
        or isinstance(value, bool)
        or not isinstance(value, int | float)
        or len(call.arguments) != 1
        or (isinstance(value, int) and not is_finite(value))
    ):
        raise UnsupportedError(
            f"{spec.what}: supported is the comparison of a tensor with a number, by a Masking layer"
        )
    return Tensor(MASK, (), None if math.isnan(value) else frozenset({(read.name, float(value))}))


def _combined(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    """What leaves of masks those ticks that are in any of them."""
    if not tensors or not all(map(is_mask, tensors)) or spec.get("axis", -1) != -1 or spec.get("keepdims", False):
        raise UnsupportedError(f"{spec.what}: supported of masks only, as Keras makes them behind a Masking layer")
    return Tensor(MASK, (), joined(tensor.mask for tensor in tensors))


def _nothing(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    """Zeros, which add nothing to a mask."""
    return Tensor(MASK, (), frozenset())


def _all(build: Builder, spec: Spec, tensors: list[Tensor], call: Call) -> Tensor:
    """Ones: every tick counts, as where there is no mask."""
    return Tensor(MASK, (), None)


#: What Keras computes masks with.
MASKS: Mapping[str, Callable[[Builder, Spec, list[Tensor], Call], Tensor]] = MappingProxyType(
    {
        "NotEqual": _not_equal,
        **dict.fromkeys(("Any", "LogicalOr", "Concatenate", "ExpandDims"), _combined),
        "ZerosLike": _nothing,
        "OnesLike": _all,
    }
)

READ = "those that are: x + y, x * y, x[:, -1], and what a Masking layer makes masks with"
OPERATIONS = MappingProxyType(
    {**MASKS, "Add": _elementwise, "Multiply": _elementwise, "GetItem": _last, "SlicingOpLambda": _last}
)
