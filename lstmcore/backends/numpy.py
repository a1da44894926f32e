"""The numpy backend: calls the reference, in the model's own dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore import reference
from lstmcore.backends import Runner
from lstmcore.layers import (
    ELU,
    GELU,
    LSTM,
    Array,
    BatchNorm1d,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Scaler,
    Shape,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)


def compile_model(layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return NumpyRunner(layers)


class NumpyRunner(Runner):
    """Each layer as its equation in `reference.py`, one window after the other."""

    backend = "numpy"

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self.dtype = next((layer.dtype for layer in layers if layer.dtype is not None), np.dtype(np.float32))

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        # As in torch, an infinity that meets a zero is a NaN in the answer, not a warning.
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return np.stack([self._run_window(x, _row(h, n), _row(c, n)) for n, x in enumerate(windows)])

    def _run_window(self, x: Array, h: Array | None, c: Array | None) -> Array:
        at = 0
        for layer in self.layers:
            if isinstance(layer, LSTM):
                size = layer.num_layers * layer.hidden_size
                h0, c0 = (_state(s, at, layer, self.dtype) for s in (h, c))
                x, _, _ = lstm(layer, x, h0, c0)
                at += size
            else:
                x = EQUATIONS[type(layer)](layer, x)
        return x


def _row(states: Array | None, n: int) -> Array | None:
    return None if states is None else states[n]


def _state(state: Array | None, at: int, layer: LSTM, dtype: np.dtype[Any]) -> Array:
    shape = (layer.num_layers, layer.hidden_size)
    return np.zeros(shape, dtype) if state is None else state[at : at + shape[0] * shape[1]].reshape(shape)


def lstm(layer: LSTM, x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """An LSTM layer over (T, I) from the states h and c, (L, H): what goes on, and the states it ends with."""
    zero = np.zeros(4 * layer.hidden_size, x.dtype)
    w = layer.weights
    stack = [
        reference.Weights(
            w[f"weight_ih_l{k}"],
            w[f"weight_hh_l{k}"],
            w.get(f"bias_ih_l{k}", zero),
            w.get(f"bias_hh_l{k}", zero),
        )
        for k in range(layer.num_layers)
    ]
    steps, h, c = reference.lstm(x, h, c, stack)
    return (steps if layer.return_sequences else steps[-1]), h, c


def _linear(layer: Linear, x: Array) -> Array:
    w = layer.weights
    return reference.linear(x, w["weight"], w.get("bias", np.zeros(layer.out_features, x.dtype)))


def _batch_norm(layer: BatchNorm1d, x: Array) -> Array:
    w = layer.weights
    one, zero = np.ones(layer.num_features, x.dtype), np.zeros(layer.num_features, x.dtype)
    weight, bias = w.get("weight", one), w.get("bias", zero)
    return reference.batch_norm(x, w["running_mean"], w["running_var"], weight, bias, layer.eps)


def _gelu(layer: GELU, x: Array) -> Array:
    return reference.gelu(x) if layer.approximate == "none" else reference.gelu_tanh(x)


#: The equation of every layer that carries no state.
EQUATIONS: dict[type[Layer], Callable[[Any, Array], Array]] = {
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    Scaler: lambda layer, x: reference.standardize(x, layer.weights["mean"], layer.weights["scale"]),
    Dropout: lambda layer, x: x,
    ReLU: lambda layer, x: reference.relu(x),
    LeakyReLU: lambda layer, x: reference.leaky_relu(x, layer.negative_slope),
    ELU: lambda layer, x: reference.elu(x, layer.alpha),
    GELU: _gelu,
    Tanh: lambda layer, x: np.tanh(x),
    Sigmoid: lambda layer, x: reference.sigmoid(x),
    Softmax: lambda layer, x: reference.softmax(x),
    Flatten: lambda layer, x: x.reshape(-1),
    Squeeze: lambda layer, x: x[..., 0],
}
