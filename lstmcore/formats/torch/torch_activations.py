"""torch's activations as layers; the part of `torch_ops.HANDLERS` that works on each element for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lstmcore.formats.torch.torch_value import Op, Value
from lstmcore.layers import ELU, GELU, Activation, Layer, LeakyReLU, ReLU, Sigmoid, Tanh

#: The functions that torch's clamp is with these bounds.
BOUNDS: Mapping[tuple[float | None, float | None], Callable[[str], Layer]] = {
    (-1.0, 1.0): lambda name: Activation(name, "hard_tanh"),
    (0.0, 6.0): lambda name: Activation(name, "relu6"),
    (0.0, 1.0): lambda name: Activation(name, "hard_sigmoid(1.0,0.0)"),
    (0.0, None): ReLU,
}


def _layer(make: Callable[..., Layer]) -> Callable[..., Value]:
    """A handler: `make(name, *settings)` is the layer."""

    def handler(op: Op, x: Value, *args: Any, **kwargs: Any) -> Value:
        return x.then(make(op.name, *args, **kwargs))

    return handler


def _function(text: str) -> Callable[..., Value]:
    """A handler for a function of `lstmcore.layers.activations`."""
    return _layer(lambda name: Activation(name, text))


def _clamp(op: Op, x: Value, low: float | None = -1.0, high: float | None = 1.0) -> Value:
    bounds = (None if low is None else float(low), None if high is None else float(high))
    if bounds not in BOUNDS:
        op.refuse(f"cuts to {bounds}; only to {', '.join(map(str, BOUNDS))} is supported")
    return x.then(BOUNDS[bounds](op.name))


def _clamp_min(op: Op, x: Value, low: float) -> Value:
    return _clamp(op, x, low, None)


def _any_clamp(op: Op, x: Value, min: float | None = None, max: float | None = None) -> Value:
    return _clamp(op, x, min, max)


def _softplus(op: Op, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    if (beta, threshold) != (1, 20):
        op.refuse(f"has beta={beta} and threshold={threshold}; only 1 and 20 are supported")
    return x.then(Activation(op.name, "softplus"))


def _threshold(op: Op, x: Value, threshold: float, value: float) -> Value:
    if value:
        op.refuse(f"puts {value} in place of what is below; only 0 is supported")
    return x.then(Activation(op.name, f"thresholded_relu({float(threshold)!r})"))


def _celu(op: Op, x: Value, alpha: float = 1.0) -> Value:
    if alpha != 1:
        op.refuse(f"has alpha={alpha}; only 1, with which it is ELU, is supported")
    return x.then(ELU(op.name, 1.0))


def _prelu(op: Op, x: Value, weight: torch.Tensor) -> Value:
    if weight.numel() > 1:
        op.refuse("has a slope for each feature; only one slope for all is supported")
    return x.then(LeakyReLU(op.name, float(weight)))


def _rrelu(op: Op, x: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Value:
    if training:
        op.refuse("is in training mode; call module.eval() first")
    return x.then(LeakyReLU(op.name, (lower + upper) / 2))


#: By torch's names.
ACTIVATIONS: Mapping[str, Callable[..., Value]] = {
    "relu": _layer(ReLU),
    "leaky_relu": _layer(lambda name, negative_slope=0.01: LeakyReLU(name, float(negative_slope))),
    "elu": _layer(lambda name, alpha=1.0: ELU(name, float(alpha))),
    "gelu": _layer(lambda name, approximate="none": GELU(name, approximate)),
    "tanh": _layer(Tanh),
    "sigmoid": _layer(Sigmoid),
    "relu6": _function("relu6"),
    "hardsigmoid": _function(f"hard_sigmoid({1 / 6!r},0.5)"),
    "hardswish": _function("hard_silu"),
    "hardtanh": _clamp,
    "clamp": _any_clamp,
    "clip": _any_clamp,
    "clamp_min": _clamp_min,
    "silu": _function("silu"),
    "selu": _function("selu"),
    "mish": _function("mish"),
    "exp": _function("exponential"),
    "softsign": _function("softsign"),
    "softplus": _softplus,
    "threshold": _threshold,
    "celu": _celu,
    "prelu": _prelu,
    "rrelu": _rrelu,
}
