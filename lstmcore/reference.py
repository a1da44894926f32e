"""The equations, in numpy, and nothing else.

This file is the oracle of every test, and the place to read what an LSTM is.
Each function works in the dtype of what it is given (float16 to longdouble).

Sources
-------
- S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997:
  the cell state as a constant error carousel, with input and output gates.
- F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to Forget", Neural Computation 12(10), 2000:
  the forget gate.
- `torch.nn.LSTM`: the form in use today (no peepholes, two biases, gates stored in the order i, f, g, o).
- K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014: the GRU;
  `torch.nn.GRU` for the form in which the reset gate works on the recurrent product.
- J. L. Elman, "Finding Structure in Time", Cognitive Science 14(2), 1990: the simple recurrent network.

Letters: T time steps, I input size, H hidden size, L layers. The LSTM's variations are in `reference_variations.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


#: A function of every element, such as `sigmoid`.
Function = Callable[[Array], Array]


class Weights(NamedTuple):
    """One layer's weights in torch's layout: the rows of G gates stacked, i f g o of an LSTM, r z n of a GRU."""

    weight_ih: Array  # (G*H, I)
    weight_hh: Array  # (G*H, H)
    bias_ih: Array  # (G*H,)
    bias_hh: Array  # (G*H,)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), each element; shape and dtype of `x`."""
    with np.errstate(over="ignore"):  # e^-x is inf for very negative x, and 1/inf is the right answer
        y: Array = 1 / (1 + np.exp(-x))
    return y


def lstm_step(x: Array, h: Array, c: Array, weights: Weights) -> tuple[Array, Array]:
    """One LSTM step: (I,), (H,), (H,) -> the new h and c, both (H,).

    Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, as `torch.nn.LSTM` states it.
    """
    (W_i, W_f, W_g, W_o), (R_i, R_f, R_g, R_o), (b_i, b_f, b_g, b_o), (d_i, d_f, d_g, d_o) = (
        np.split(w, 4) for w in weights
    )
    i = sigmoid(W_i @ x + b_i + R_i @ h + d_i)  # input gate: how much of the candidate is written
    f = sigmoid(W_f @ x + b_f + R_f @ h + d_f)  # forget gate: how much of the old cell state is kept
    g = np.tanh(W_g @ x + b_g + R_g @ h + d_g)  # candidate
    o = sigmoid(W_o @ x + b_o + R_o @ h + d_o)  # output gate: how much of the cell state is shown
    c = f * c + i * g  # cell state
    h = o * np.tanh(c)  # hidden state
    return h, c


def lstm_sequence(x: Array, h: Array, c: Array, weights: Weights) -> tuple[Array, Array, Array]:
    """One layer over a sequence: (T, I), (H,), (H,) -> every step's h (T, H), and the last h and c, (H,)."""
    steps = []
    for x_t in x:
        h, c = lstm_step(x_t, h, c, weights)
        steps.append(h)
    return np.stack(steps), h, c


def lstm(x: Array, h: Array, c: Array, layers: Sequence[Weights]) -> tuple[Array, Array, Array]:
    """A stack of layers, each reading the one below: (T, I), (L, H), (L, H) -> (T, H), (L, H), (L, H)."""
    last_h, last_c = [], []
    for h_l, c_l, weights in zip(h, c, layers, strict=True):
        x, h_l, c_l = lstm_sequence(x, h_l, c_l, weights)
        last_h.append(h_l)
        last_c.append(c_l)
    return x, np.stack(last_h), np.stack(last_c)


def gru_step(
    x: Array, h: Array, weights: Weights, reset_after: bool = True, gate: Function = sigmoid, tanh: Function = np.tanh
) -> Array:
    """One GRU step: (I,), (H,) -> the new h, (H,).

    `torch.nn.GRU`; with `reset_after` False the form of Cho et al. 2014, where r works on h itself. In both, z is how
    much of the old h is kept.
    """
    (W_r, W_z, W_n), (R_r, R_z, R_n), (b_r, b_z, b_n), (d_r, d_z, d_n) = (np.split(w, 3) for w in weights)
    r = gate(W_r @ x + b_r + R_r @ h + d_r)  # reset gate: how much of the old state the candidate sees
    z = gate(W_z @ x + b_z + R_z @ h + d_z)  # update gate: how much of the old state is kept
    if reset_after:
        n = tanh(W_n @ x + b_n + r * (R_n @ h + d_n))  # candidate
    else:
        n = tanh(W_n @ x + b_n + R_n @ (r * h) + d_n)
    h = (1 - z) * n + z * h  # hidden state
    return h


def rnn_step(x: Array, h: Array, weights: Weights, tanh: Function = np.tanh) -> Array:
    """One step of the simple recurrent network of Elman 1990, as `torch.nn.RNN`: (I,), (H,) -> the new h, (H,)."""
    W, R, b, d = weights
    h = tanh(W @ x + b + R @ h + d)  # hidden state
    return h


def bidirectional(x: Array, forward: Callable[[Array], Array], backward: Callable[[Array], Array], merge: str) -> Array:
    """A sequence (T, I) in both directions, each (T, I) -> (T, H): the backward one's outputs are put back in order.

    Schuster & Paliwal, "Bidirectional Recurrent Neural Networks", 1997.
    """
    return merged([forward(x), backward(x[::-1])[::-1]], merge)


def merged(parts: Sequence[Array], merge: str) -> Array:
    """Several arrays joined: "concat" over the last axis; "sum", "mul", "mean" each element."""
    if merge == "concat":
        return np.concatenate(parts, axis=-1)
    joined = functools.reduce(np.multiply if merge == "mul" else np.add, parts)
    return joined / joined.dtype.type(len(parts)) if merge == "mean" else joined


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """x·Wᵀ + b over the last axis: (..., I), (O, I), (O,) -> (..., O)."""
    y: Array = x @ weight.T + bias
    return y


def standardize(x: Array, mean: Array, scale: Array) -> Array:
    """(x - mean) / scale, each feature: (..., F) -> (..., F). scikit-learn's StandardScaler."""
    y: Array = (x - mean) / scale
    return y


def batch_norm(x: Array, mean: Array, var: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Batch normalisation at inference, Ioffe & Szegedy 2015: (..., F) -> (..., F)."""
    y: Array = (x - mean) / np.sqrt(var + var.dtype.type(eps)) * weight + bias
    return y


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Normalised over the last axis, Ba et al. 2016, as `torch.nn.LayerNorm`: (..., F) -> (..., F)."""
    apart = x - np.mean(x, axis=-1, keepdims=True)
    var = np.mean(apart * apart, axis=-1, keepdims=True)
    y: Array = apart / np.sqrt(var + x.dtype.type(eps)) * weight + bias
    return y


def relu(x: Array) -> Array:
    """max(x, 0), each element."""
    y: Array = np.maximum(x, x.dtype.type(0))
    return y


def leaky_relu(x: Array, negative_slope: float) -> Array:
    """x where it is positive, else negative_slope·x."""
    return np.where(x > 0, x, x.dtype.type(negative_slope) * x)


def elu(x: Array, alpha: float) -> Array:
    """x where it is positive, else alpha·(e^x - 1). Clevert et al. 2015."""
    return np.where(x > 0, x, x.dtype.type(alpha) * np.expm1(np.minimum(x, 0)))


def gelu(x: Array) -> Array:
    """x·Φ(x), Φ the normal distribution function. Hendrycks & Gimpel 2016."""
    erf = np.vectorize(math.erf, otypes=[x.dtype])
    y: Array = x * ((1 + erf(x * x.dtype.type(math.sqrt(0.5)))) / 2)
    return y


def gelu_tanh(x: Array) -> Array:
    """The tanh form of GELU, torch's `approximate="tanh"`."""
    inner = x.dtype.type(math.sqrt(2 / math.pi)) * (x + x.dtype.type(0.044715) * x**3)
    y: Array = x * ((1 + np.tanh(inner)) / 2)
    return y


def softmax(x: Array) -> Array:
    """e^x / Σ e^x over the last axis, shifted by the maximum so that nothing overflows."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    y: Array = e / np.sum(e, axis=-1, keepdims=True)
    return y
