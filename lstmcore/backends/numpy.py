"""The numpy backend: calls the reference, in the model's own dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmcore import reference, stopping
from lstmcore.backends.runner import Runner
from lstmcore.layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    Activation,
    Array,
    BatchNorm1d,
    Dropout,
    Flatten,
    Last,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Recurrent,
    ReLU,
    Scaler,
    Shape,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)
from lstmcore.layers.activations import Activation as Function
from lstmcore.reference_variations import Variation, lstm_variation_step

#: One step of one layer: x, h, c -> the new h and c; c is empty where a layer has none.
Step = Callable[[Array, Array, Array], tuple[Array, Array]]


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
        h_at = c_at = 0
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                h_0, c_0 = start_of(layer, self.dtype)
                if h is not None and c is not None:
                    h_0 = h[h_at : h_at + h_0.size].reshape(h_0.shape)
                    c_0 = c[c_at : c_at + c_0.size].reshape(c_0.shape)
                x, _, _ = run_layer(layer, x, h_0, c_0)
                h_at, c_at = h_at + h_0.size, c_at + c_0.size
            else:
                x = EQUATIONS[type(layer)](layer, x)
        return x


def _row(states: Array | None, n: int) -> Array | None:
    return None if states is None else states[n]


def start_of(layer: Recurrent, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """The states h (rows, width) and c (rows, width) that a sequence begins with: learned ones, or zeros."""
    h = np.zeros((layer.states, layer.state_width), dtype)
    c = np.zeros((layer.states, layer.cell_width), dtype)
    if layer.learned_state:
        cells = [layer.cell(k, suffix) for k in range(layer.num_layers) for suffix in layer.suffixes]
        h[:] = [cell["h_0"] for cell in cells]
        if layer.cell_width:
            c[:] = [cell["c_0"] for cell in cells]
    return h, c


def run_layer(layer: Recurrent, x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """A stack over (T, I) in one direction from the states h and c: what goes on, and the states it ends with."""
    h, c = h.copy(), c.copy()
    for k in range(layer.num_layers):
        step = step_of(layer, k)
        steps = np.empty((len(x), h.shape[1]), h.dtype)
        for t, x_t in enumerate(x):
            stopping.check()
            steps[t], c[k] = step(x_t, h[k], c[k])
            h[k] = steps[t]
        x = steps
    return (x if layer.return_sequences else x[-1]), h, c


def step_of(layer: Recurrent, k: int, wrap: Callable[[reference.Function], reference.Function] | None = None) -> Step:
    """The equation of one layer of a stack, its weights put in, and `wrap` around the functions of its gates."""
    cell = layer.cell(k)
    zero = np.zeros(len(cell["weight_ih"]), cell["weight_ih"].dtype)
    b, d = cell.get("bias_ih", zero), cell.get("bias_hh", zero)
    weights = reference.Weights(cell["weight_ih"], cell["weight_hh"], b, d)
    if isinstance(layer, LSTM):
        if layer.plain and wrap is None:
            return lambda x, h, c: reference.lstm_step(x, h, c, weights)
        variation = _variation(layer, cell, b + d)
        if wrap is not None:
            variation = replace(variation, gate=wrap(variation.gate), candidate=wrap(variation.candidate))
        return lambda x, h, c: lstm_variation_step(x, h, c, variation)
    functions = [_cut(function, layer.clip) for function in layer.functions]
    if wrap is not None:
        functions = [wrap(function) for function in functions]
    if isinstance(layer, GRU):
        return lambda x, h, c: (reference.gru_step(x, h, weights, layer.reset_after, *functions), c)
    return lambda x, h, c: (reference.rnn_step(x, h, weights, *functions), c)


def _variation(layer: LSTM, cell: dict[str, Array], bias: Array) -> Variation:
    norms = (cell["norm_ih"], cell["norm_hh"], cell["norm_c"], cell["norm_c_bias"]) if layer.layer_norm else None
    gate, candidate, output = layer.functions
    return Variation(
        cell["weight_ih"], cell["weight_hh"], bias, cell.get("weight_hr"), cell.get("weight_peephole"),
        layer.coupled, norms, layer.norm_eps, gate, candidate, output, layer.clip,
    )  # fmt: skip


def _cut(function: Function, clip: float) -> reference.Function:
    return function if clip == 0 else lambda x: function(np.clip(x, -x.dtype.type(clip), x.dtype.type(clip)))


def _linear(layer: Linear, x: Array) -> Array:
    w = layer.weights
    return reference.linear(x, w["weight"], w.get("bias", np.zeros(layer.out_features, x.dtype)))


def _batch_norm(layer: BatchNorm1d, x: Array) -> Array:
    w = layer.weights
    weight, bias = _gain_and_bias(layer, layer.num_features, x.dtype)
    return reference.batch_norm(x, w["running_mean"], w["running_var"], weight, bias, layer.eps)


def _gain_and_bias(layer: Layer, features: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    one, zero = np.ones(features, dtype), np.zeros(features, dtype)
    return layer.weights.get("weight", one), layer.weights.get("bias", zero)


def _gelu(layer: GELU, x: Array) -> Array:
    return reference.gelu(x) if layer.approximate == "none" else reference.gelu_tanh(x)


#: The equation of every layer that carries no state and reads one other.
EQUATIONS: dict[type[Layer], Callable[[Any, Array], Array]] = {
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    LayerNorm: lambda layer, x: reference.layer_norm(x, *_gain_and_bias(layer, layer.num_features, x.dtype), layer.eps),
    Scaler: lambda layer, x: reference.standardize(x, layer.weights["mean"], layer.weights["scale"]),
    Dropout: lambda layer, x: x,
    ReLU: lambda layer, x: reference.relu(x),
    LeakyReLU: lambda layer, x: reference.leaky_relu(x, layer.negative_slope),
    ELU: lambda layer, x: reference.elu(x, layer.alpha),
    GELU: _gelu,
    Tanh: lambda layer, x: np.tanh(x),
    Sigmoid: lambda layer, x: reference.sigmoid(x),
    Softmax: lambda layer, x: reference.softmax(x),
    Activation: lambda layer, x: layer.equation(x),
    Last: lambda layer, x: x[-1],
    Flatten: lambda layer, x: x.reshape(-1),
    Squeeze: lambda layer, x: x[..., 0],
}
