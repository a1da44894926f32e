"""The numpy backend: calls the reference, in the model's own dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lstmcore import reference, stopping
from lstmcore.backends.program import MERGES, Differs, Either, Program, Where
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
    Reverse,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)
from lstmcore.layers.activations import Activation as Function
from lstmcore.layers.wiring import Wiring
from lstmcore.reference_variations import Variation, lstm_variation_step

#: One step of one layer: x, h, c -> the new h and c; c is empty where a layer has none.
Step = Callable[[Array, Array, Array], tuple[Array, Array]]


def compile_model(wiring: Wiring, program: Program, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return NumpyRunner(wiring, program)


class NumpyRunner(Runner):
    """Each op as its equation in `reference.py`, one window after the other."""

    backend = "numpy"

    def __init__(self, wiring: Wiring, program: Program) -> None:
        self.program = program
        self.dtype = next((layer.dtype for layer in wiring.layers if layer.dtype is not None), np.dtype(np.float32))

    def run(
        self,
        windows: Sequence[Array],
        state: Array | None,
        lengths: Array | None = None,
        ends: Array | None = None,
    ) -> list[Array]:
        count, steps = len(windows[0]), self.steps_of(windows)
        answers = self.answers(count, steps)
        # As in torch, an infinity that meets a zero is a NaN in the answer, not a warning.
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            for n in range(count):
                length = steps if lengths is None else int(lengths[n])
                window = [x[n, :length] if x.ndim == 3 else x[n] for x in windows]
                found, end = self._run_window(window, None if state is None else state[n])
                if ends is not None:
                    ends[n] = end
                for answer, made, shape in zip(answers, found, self.outputs.values(), strict=True):
                    to = answer[n, :length] if "T" in shape else answer[n, ...]
                    to[...] = made.reshape(to.shape)
        return answers

    def _run_window(self, window: Sequence[Array], state: Array | None) -> tuple[list[Array], Array]:
        """The answers, and the states at the end, (S,)."""
        values, ends, at = list(window), [np.empty(0, self.dtype)], 0
        for op in self.program.ops:
            given = [values[n] for n in op.reads]
            if isinstance(op.layer, Recurrent):
                h, c = start_of(op.layer, self.dtype)
                if state is not None:
                    h, c = np.split(state[at : at + h.size + c.size], [h.size])
                at += h.size + c.size
                out, h, c = run_layer(op.layer, *given, h=h, c=c)
                values.append(out)
                ends += [h, c]
            else:
                values.append(apply(op.layer, given))
        return [values[n] for n in self.program.outputs], np.concatenate(ends)


def apply(layer: Layer, given: Sequence[Array]) -> Array:
    """What a layer without a state makes of what it reads."""
    if type(layer) in MERGES:
        return reference.merged(given, MERGES[type(layer)])
    return EQUATIONS[type(layer)](layer, *given)


def start_of(layer: Recurrent, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """The states h (width,) and c (width,), of one layer and direction, that a sequence begins with."""
    h, c = np.zeros(layer.state_width, dtype), np.zeros(layer.cell_width, dtype)
    if layer.learned_state:
        cell = layer.cell(0)
        h, c = cell["h_0"], cell.get("c_0", c)
    return h, c


def run_layer(
    layer: Recurrent, x: Array, counts: Array | None = None, *, h: Array, c: Array
) -> tuple[Array, Array, Array]:
    """One layer over (T, I) from the states h and c: every step's h, (T, width), and the last h and c.

    Where a step does not count, (T, 1), the states stay, and h is put out once more.
    """
    step, out = step_of(layer, 0), np.empty((len(x), h.size), h.dtype)
    for t, x_t in enumerate(x):
        stopping.check()
        if counts is None or counts[t, 0]:
            h, c = step(x_t, h, c)
        out[t] = h
    return out, h, c


class Steps:
    """A program tick by tick, its states by name: "lstm.h_l0", ..., (1, width) each.

    Raises ValueError, naming the layer, where what an op puts out depends on ticks other than the newest and those
    before it.
    """

    def __init__(self, program: Program, dtype: np.dtype[Any]) -> None:
        for op in program.ops:
            if isinstance(op.layer, Reverse | Flatten):
                raise ValueError(
                    f"{op.label}: what it puts out depends on ticks that have not come; this backend carries no "
                    f"states of a model with it"
                )
        self.program = program
        self.layers = [op.layer.map_weights(lambda w: w.astype(dtype, copy=False)) for op in program.ops]
        self.dtype = dtype

    def start(self) -> dict[str, Array]:
        """What a sequence begins with."""
        states = ((one, start_of(one.layer, self.dtype)) for one in self.program.recurrent)
        return {one.key(letter): row[None] for one, pair in states for letter, row in zip("hc", pair, strict=True)}

    def take(self, tick: Sequence[Array], states: dict[str, Array]) -> tuple[list[Array], dict[str, Array]]:
        """A tick (F,) of each input: what comes out, (1, width) each, and the new states."""
        values, new, recurrent = [x[np.newaxis] for x in tick], dict(states), iter(self.program.recurrent)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            for op, layer in zip(self.program.ops, self.layers, strict=True):
                given = [values[n] for n in op.reads]
                if isinstance(layer, Recurrent):
                    h_key, c_key = map(next(recurrent).key, "hc")
                    h, c = states[h_key][0], states[c_key][0]
                    if len(given) == 1 or given[1][0, 0]:
                        h, c = step_of(layer, 0)(given[0][0], h, c)
                    new[h_key], new[c_key] = h[np.newaxis], c[np.newaxis]
                    values.append(h[np.newaxis])
                else:  # the last step of one is that step
                    values.append(given[0] if isinstance(layer, Last) else apply(layer, given))
        return [values[n] for n in self.program.outputs], new


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


#: The equation of every layer that carries no state and is no join.
EQUATIONS: dict[type[Layer], Callable[..., Array]] = {
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
    Reverse: lambda layer, x: x[::-1],
    Flatten: lambda layer, x: x.reshape(-1),
    Squeeze: lambda layer, x: x[..., 0],
    Differs: lambda layer, x: (x != x.dtype.type(layer.number)).any(axis=-1, keepdims=True).astype(x.dtype),
    Where: lambda layer, x, counts: np.where(counts != 0, x, x.dtype.type(0)),
    Either: lambda layer, *masks: functools.reduce(np.maximum, masks),
}
