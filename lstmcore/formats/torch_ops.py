"""What each operation of torch does to a chain of layers: the table HANDLERS, operation -> handler.

A handler takes the call and its arguments, of which one is a `Value`: the layers that the window has gone
through, and what the tensor's axes stand for. It adds a layer, moves axes, or refuses by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lstmcore.errors import UnsupportedError
from lstmcore.formats.torch_axes import features_last, permute, reshape, select, slice_
from lstmcore.formats.torch_value import F, L, N, Op, T, TimeAxisError, Unusable, Value, show
from lstmcore.layers import (
    ELU,
    GELU,
    LSTM,
    Array,
    BatchNorm1d,
    Dropout,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Scaler,
    Sigmoid,
    Softmax,
    Tanh,
)

#: Operations that take the shape and dtype of a tensor, not what is in it.
TAKES_SHAPE_OF = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")


def array(tensor: torch.Tensor) -> Array:
    """The tensor's numbers, wherever it lies."""
    numbers: Array = tensor.detach().cpu().numpy()
    return numbers


def _lstm(
    op: Op,
    x: Value,
    states: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value, Value, Unusable]:
    if bidirectional:
        op.refuse("is bidirectional; only LSTMs that read forward in time are supported")
    if len(params) != num_layers * (4 if has_biases else 2):
        op.refuse("has proj_size; only LSTMs without projections are supported")
    if train:
        op.refuse("is in training mode; call module.eval() first")
    for letter, state in zip("hc", states, strict=True):
        if torch.count_nonzero(state):
            op.refuse(f"starts from a {letter}0 that is not zero; give the Model its initial state instead")
    x = features_last(op, x)
    expected = (N, T, F) if batch_first else (T, N, F)
    if x.axes != expected:
        swapped = x.axes == (expected[1], expected[0], F)
        op.refuse(
            f"has batch_first={batch_first} and reads {show(expected)}, but what comes in is {show(x.axes)}",
            TimeAxisError if swapped else UnsupportedError,
        )
    keys = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * has_biases
    names = [f"{key}_l{k}" for k in range(num_layers) for key in keys]
    weights = {key: array(p) for key, p in zip(names, params, strict=True)}
    hidden = params[1].shape[1]
    layer = LSTM(op.name(x), params[0].shape[1], hidden, num_layers, has_biases, True, weights=weights)
    out = x.then(layer, hidden)
    last = x.then(layer.replace(return_sequences=False), hidden)
    stacked = dataclasses.replace(last, sizes={**last.sizes, "L": num_layers})
    h_n = stacked.with_axes(L if num_layers > 1 else (), N, F)
    return out, h_n, Unusable("takes the cell state c_n, which lstmcore does not answer with; use out or h_n")


def _linear(op: Op, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
    x = features_last(op, x)
    if x.axes[-1] != F:
        op.refuse(f"works along the last axis of {show(x.axes)}; it has to be the features")
    weights = {"weight": array(weight)} | ({} if bias is None else {"bias": array(bias)})
    out_features, in_features = weight.shape
    layer = Linear(op.name(x), in_features, out_features, bias is not None, weights=weights)
    return x.then(layer, out_features)


def _batch_norm(
    op: Op,
    x: Value,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    if mean is None or var is None:
        op.refuse("has no running statistics, so that its answers depend on the whole batch")
    if training:
        op.refuse("is in training mode; call module.eval() first")
    if x.axes[1] != F:
        op.refuse(f"normalises axis 1 of {show(x.axes)}, which is not the features")
    tensors = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    weights = {key: array(t) for key, t in tensors.items() if t is not None}
    return x.then(BatchNorm1d(op.name(x), len(mean), eps, weight is not None, weights=weights))


def _softmax(op: Op, x: Value, dim: int, dtype: torch.dtype | None = None) -> Value:
    if x.axes[dim] != F:
        op.refuse(f"runs over axis {dim} of {show(x.axes)}; only over the features is supported")
    return x.then(Softmax(op.name(x)))


def _dropout(op: Op, x: Value, p: float, train: bool) -> Value:
    if train:
        op.refuse("drops values at inference too; give F.dropout training=self.training")
    return x.then(Dropout(op.name(x), float(p)))


def _activation(make: Callable[..., Layer]) -> Callable[..., Value]:
    """A handler for a function of each element: `make(name, *settings)` is its layer."""

    def handler(op: Op, x: Value, *args: Any, **kwargs: Any) -> Value:
        return x.then(make(op.name(x), *args, **kwargs))

    return handler


def _sub(op: Op, x: Value, mean: torch.Tensor | float, alpha: float = 1) -> Value:
    if x.layers or alpha != 1:
        op.refuse("subtracts a constant; that is supported only on the input, as the mean of a scaler")
    return _scaler(op, x, mean, 1.0)


def _div(op: Op, x: Value, scale: torch.Tensor | float) -> Value:
    mean: torch.Tensor | float = 0.0
    if x.layers:
        centred = x.layers[0]
        if len(x.layers) > 1 or not isinstance(centred, Scaler) or np.any(centred.weights["scale"] != 1):
            op.refuse("divides by a constant; that is supported only on the input, as the scale of a scaler")
        mean = torch.tensor(centred.weights["mean"])
    return _scaler(op, dataclasses.replace(x, layers=()), mean, scale)


def _scaler(op: Op, x: Value, mean: torch.Tensor | float, scale: torch.Tensor | float) -> Value:
    weights = {}
    for key, value in {"mean": mean, "scale": scale}.items():
        tensor = torch.as_tensor(value, dtype=op.node.meta["val"].dtype)
        if x.axes[-1] != F or tensor.numel() != math.prod(tensor.shape[-1:]):
            op.refuse(f"the constant of shape {tuple(tensor.shape)} is not one number for each feature")
        weights[key] = array(tensor.reshape(-1).expand(x.sizes["F"]))
    return x.then(Scaler("scaler", x.sizes["F"], weights=weights))


def _same(op: Op, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


#: Every operation that may stand between the window and the answer.
HANDLERS: Mapping[str, Callable[..., Any]] = {
    "lstm": _lstm,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "softmax": _softmax,
    "dropout": _dropout,
    "alpha_dropout": _dropout,
    "feature_dropout": _dropout,
    "feature_alpha_dropout": _dropout,
    "relu": _activation(ReLU),
    "leaky_relu": _activation(lambda name, negative_slope=0.01: LeakyReLU(name, float(negative_slope))),
    "elu": _activation(lambda name, alpha=1.0: ELU(name, float(alpha))),
    "gelu": _activation(lambda name, approximate="none": GELU(name, approximate)),
    "tanh": _activation(Tanh),
    "sigmoid": _activation(Sigmoid),
    "sub": _sub,
    "div": _div,
    "select": select,
    "slice": slice_,
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T", "mT"), permute),
    **dict.fromkeys(("swapaxes", "swapdims", "movedim"), permute),
    **dict.fromkeys(("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten"), reshape),
    **dict.fromkeys(("to", "_to_copy", "type_as", "contiguous", "clone", "detach", "alias"), _same),
}
