"""The numba backend: the LSTM as compiled loops, for machines without the C core. Computes in float32.

The loops keep the reference's order. Compiled code is cached on disk, beside this file or where NUMBA_CACHE_DIR says.
The head's few products and activations go through the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numba as nb
import numpy as np

from lstmcore.backends import Runner
from lstmcore.backends.numpy import EQUATIONS
from lstmcore.folding import fold
from lstmcore.layers import LSTM, Array, Layer, Shape

ONE = np.float32(1)


class Packed(NamedTuple):
    """One layer's weights turned so that the loops run along memory: a row an input, a column a gate's unit."""

    weight_ih: Array  # (I, 4*H)
    weight_hh: Array  # (H, 4*H)
    bias: Array  # (4*H,)


@nb.njit("float32(float32)", cache=True, inline="always")
def _sigmoid(x: np.float32) -> np.float32:
    return ONE / (ONE + np.float32(math.exp(-x)))


# `contract` lets a multiply and an add become one instruction; no other liberty is taken with the arithmetic.
@nb.njit(
    "void(float32[::1], float32[:, ::1], float32[::1])",
    cache=True,
    fastmath={"contract"},
    error_model="numpy",
)
def _add_product(x: Array, weight: Array, out: Array) -> None:
    """out += x·weight: (K,), (K, N), (N,). Four inputs at a time, so that `out` is read and written less often."""
    inputs = len(x)
    whole = inputs - inputs % 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for n in range(len(out)):
            out[n] = out[n] + x0 * w0[n] + x1 * w1[n] + x2 * w2[n] + x3 * w3[n]
    for k in range(whole, inputs):
        for n in range(len(out)):
            out[n] += x[k] * weight[k, n]


@nb.njit(
    "void(float32[:,::1], float32[:,::1], float32[:,::1], float32[::1], float32[::1], float32[::1], float32[:,::1])",
    cache=True,
    error_model="numpy",
)
def _lstm_sequence(x: Array, weight_ih: Array, weight_hh: Array, bias: Array, h: Array, c: Array, steps: Array) -> None:
    """One layer over (T, I): every step's h into `steps` (T, H); h and c (H,) are updated in place."""
    hidden = len(h)
    from_input, from_hidden = np.empty_like(bias), np.empty_like(bias)
    for t in range(len(x)):
        from_input[:] = bias
        _add_product(x[t], weight_ih, from_input)
        from_hidden[:] = 0
        _add_product(h, weight_hh, from_hidden)
        for n in range(hidden):
            i = _sigmoid(from_input[n] + from_hidden[n])
            f = _sigmoid(from_input[hidden + n] + from_hidden[hidden + n])
            g = math.tanh(from_input[2 * hidden + n] + from_hidden[2 * hidden + n])
            o = _sigmoid(from_input[3 * hidden + n] + from_hidden[3 * hidden + n])
            c[n] = f * c[n] + i * g
            h[n] = o * math.tanh(c[n])
        steps[t] = h


def compile_model(layers: Sequence[Layer], output: Shape, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return NumbaRunner(layers)


class NumbaRunner(Runner):
    """LSTM layers through the loops above, the rest through the reference, one window after the other."""

    backend = "numba"

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = fold(layers)
        self.packed = {layer.name: _pack(layer) for layer in self.layers if isinstance(layer, LSTM)}

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        none = [None] * len(windows)
        rows = zip(windows, none if h is None else h, none if c is None else c, strict=True)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return np.stack([self._run_window(np.array(x, order="C"), h_n, c_n) for x, h_n, c_n in rows])

    def _run_window(self, x: Array, h: Array | None, c: Array | None) -> Array:
        at = 0
        for layer in self.layers:
            if not isinstance(layer, LSTM):
                x = EQUATIONS[type(layer)](layer, np.ascontiguousarray(x))
                continue
            size = layer.hidden_size
            for packed in self.packed[layer.name]:
                h_l, c_l = (np.zeros(size, np.float32) if s is None else s[at : at + size].copy() for s in (h, c))
                steps = np.empty((len(x), size), np.float32)
                _lstm_sequence(x, *packed, h_l, c_l, steps)
                x = steps
                at += size
            x = x if layer.return_sequences else x[-1]
        return x


def _pack(layer: LSTM) -> list[Packed]:
    w = layer.weights
    return [
        Packed(
            np.array(w[f"weight_ih_l{k}"].T, order="C"),
            np.array(w[f"weight_hh_l{k}"].T, order="C"),
            np.array(w[f"bias_ih_l{k}"]),
        )
        for k in range(layer.num_layers)
    ]
