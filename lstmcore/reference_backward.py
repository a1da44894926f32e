"""Backpropagation through time: the gradients of the equations in `reference.py`, in numpy, and nothing else.

To read, and to measure how far back a gradient reaches; it is not what one would train with.
Each function works in the dtype of what it is given.

Letters are those of the forward. `grad_x` is the gradient of a loss with respect to x, in the shape of x.
`a` is the gradient with respect to what goes into the gates' functions: W·x + b + R·h + d, all gates stacked.
The gates' values are those that the forward equations themselves computed; they are not stated a second time here.

Sources:

- P. J. Werbos, "Backpropagation Through Time: What It Does and How to Do It", Proceedings of the IEEE 78(10), 1990:
  the chain rule from the last step to the first.
- S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", 1997, and F. A. Gers, J. Schmidhuber, F. Cummins, "Learning
  to Forget", 2000: the LSTM. Both cut the gradient off where it leaves the cell; here, as in torch, nothing is cut off.
- K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014: the GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcore.reference import Function, Weights, gru_step, lstm_step, relu, rnn_step, sigmoid
from lstmcore.reference_variations import Variation, lstm_variation_step

Array = npt.NDArray[Any]

#: The states of one layer: (h, c) of an LSTM, (h,) of a GRU or RNN, each (H,).
States = tuple[Array, ...]


def noting(function: Function, values: list[Array]) -> Function:
    """`function`, which also puts everything that it returns behind `values`."""

    def noted(x: Array) -> Array:
        values.append(function(x))
        return values[-1]

    return noted


def lstm_gates(x: Array, h: Array, c: Array, weights: Weights) -> list[Array]:
    """i, f, g and o of one step, each (H,): what the equation's own functions return."""
    gates: list[Array] = []
    W, R, b, d = weights
    functions: dict[str, Any] = {"gate": noting(sigmoid, gates), "candidate": noting(np.tanh, gates)}
    lstm_variation_step(x, h, c, Variation(W, R, b + d, **functions))
    return gates


def gru_gates(x: Array, h: Array, weights: Weights, reset_after: bool = True) -> list[Array]:
    """r, z and n of one step, each (H,): what the equation's own functions return."""
    gates: list[Array] = []
    gru_step(x, h, weights, reset_after, noting(sigmoid, gates), noting(np.tanh, gates))
    return gates


class StepGradients(NamedTuple):
    """What one step hands back."""

    x: Array  # (I,)
    states: States  # those that the step began with
    weights: Weights


def lstm_step_backward(x: Array, h: Array, c: Array, weights: Weights, grad_h: Array, grad_c: Array) -> StepGradients:
    """One LSTM step backwards.

    `x`, `h`, `c`: what the step was given. `grad_h`, `grad_c`: the gradients with respect to the new h and c, (H,).
    """
    i, f, g, o = lstm_gates(x, h, c, weights)
    tanh_c = np.tanh(f * c + i * g)  # of the new cell state

    grad_o = grad_h * tanh_c  # h' = o·tanh(c')
    grad_c = grad_c + grad_h * o * (1 - tanh_c**2)
    grad_i = grad_c * g  # c' = f·c + i·g
    grad_f = grad_c * c
    grad_g = grad_c * i

    a_i = grad_i * i * (1 - i)  # σ' = σ·(1 - σ)
    a_f = grad_f * f * (1 - f)
    a_g = grad_g * (1 - g**2)  # tanh' = 1 - tanh²
    a_o = grad_o * o * (1 - o)
    a = np.concatenate([a_i, a_f, a_g, a_o])

    grad_W, grad_R = np.outer(a, x), np.outer(a, h)
    grad_x = weights.weight_ih.T @ a
    grad_h = weights.weight_hh.T @ a
    grad_c = grad_c * f  # where f is near 1, the gradient passes as it came
    return StepGradients(grad_x, (grad_h, grad_c), Weights(grad_W, grad_R, a, a))


def gru_step_backward(x: Array, h: Array, weights: Weights, grad_h: Array, reset_after: bool = True) -> StepGradients:
    """One GRU step backwards; `grad_h` is the gradient with respect to the new h, (H,)."""
    r, z, n = gru_gates(x, h, weights, reset_after)
    R_rz, R_n = np.split(weights.weight_hh, [2 * len(h)])
    d_n = weights.bias_hh[2 * len(h) :]

    grad_z = grad_h * (h - n)  # h' = (1 - z)·n + z·h
    grad_n = grad_h * (1 - z)
    a_n = grad_n * (1 - n**2)
    if reset_after:  # n = tanh(W_n·x + b_n + r·(R_n·h + d_n))
        grad_r = a_n * (R_n @ h + d_n)
        product_n, of_n = a_n * r, h
        through_n = R_n.T @ product_n
    else:  # n = tanh(W_n·x + b_n + R_n·(r·h) + d_n)
        grad_r = (R_n.T @ a_n) * h
        product_n, of_n = a_n, r * h
        through_n = (R_n.T @ a_n) * r
    a_r = grad_r * r * (1 - r)
    a_z = grad_z * z * (1 - z)
    a_rz = np.concatenate([a_r, a_z])
    a = np.concatenate([a_rz, a_n])

    grad_W, grad_R = np.outer(a, x), np.concatenate([np.outer(a_rz, h), np.outer(product_n, of_n)])
    grad_x = weights.weight_ih.T @ a
    grad_h = R_rz.T @ a_rz + through_n + grad_h * z  # where z is near 1, the gradient passes as it came
    return StepGradients(grad_x, (grad_h,), Weights(grad_W, grad_R, a, np.concatenate([a_rz, product_n])))


def rnn_step_backward(x: Array, h: Array, weights: Weights, grad_h: Array, tanh: Function = np.tanh) -> StepGradients:
    """One step of the simple recurrent network backwards, its function `np.tanh` or `reference.relu`."""
    new_h = rnn_step(x, h, weights, tanh)
    a = grad_h * (new_h > 0) if tanh is relu else grad_h * (1 - new_h**2)
    grad_x = weights.weight_ih.T @ a
    grad_h = weights.weight_hh.T @ a  # at every step once more through R: this is why it vanishes, or explodes
    return StepGradients(grad_x, (grad_h,), Weights(np.outer(a, x), np.outer(a, h), a, a))


class Cell(NamedTuple):
    """A step, and the same backwards."""

    step: Callable[[Array, States, Weights], States]
    backward: Callable[[Array, States, Weights, States], StepGradients]


def _gru(reset_after: bool) -> Cell:
    return Cell(
        lambda x, states, weights: (gru_step(x, states[0], weights, reset_after),),
        lambda x, states, weights, grads: gru_step_backward(x, states[0], weights, grads[0], reset_after),
    )


def _rnn(tanh: Function) -> Cell:
    return Cell(
        lambda x, states, weights: (rnn_step(x, states[0], weights, tanh),),
        lambda x, states, weights, grads: rnn_step_backward(x, states[0], weights, grads[0], tanh),
    )


LSTM = Cell(
    lambda x, states, weights: lstm_step(x, states[0], states[1], weights),
    lambda x, states, weights, grads: lstm_step_backward(x, states[0], states[1], weights, grads[0], grads[1]),
)
GRU = _gru(reset_after=True)
GRU_RESET_BEFORE = _gru(reset_after=False)
RNN = _rnn(np.tanh)
RNN_RELU = _rnn(relu)


class Gradients(NamedTuple):
    """What a loss's gradients are with respect to one layer's input, initial states and weights."""

    x: Array  # (T, I)
    states: States  # h_0, and of an LSTM c_0, each (H,)
    weights: Weights


def sequence(cell: Cell, x: Array, states: States, weights: Weights) -> tuple[Array, list[States]]:
    """One layer over a sequence, (T, I): every step's h, (T, H), and the states that each step began with."""
    before, steps = [], []
    for x_t in x:
        before.append(states)
        states = cell.step(x_t, states, weights)
        steps.append(states[0])
    return np.stack(steps), before


def sequence_backward(
    cell: Cell, x: Array, states: States, weights: Weights, grad_steps: Array, grad_states: States | None = None
) -> Gradients:
    """One layer over a sequence, backwards from the last step to the first.

    Args:
        cell: `LSTM`, `GRU`, `GRU_RESET_BEFORE`, `RNN` or `RNN_RELU`.
        x: (T, I).
        states: The initial (h, c), or (h,), each (H,).
        weights: The layer's.
        grad_steps: The loss's gradient with respect to every step's h, (T, H).
        grad_states: What is to be added to it for the last h, and the gradient with respect to the last c; None: zeros.

    The steps share their weights, so the weights' gradients are summed over the steps.

    >>> x, h, weights = np.ones((3, 1)), np.zeros(1), Weights(*np.full((2, 1, 1), 0.5), *np.zeros((2, 1)))
    >>> sequence_backward(RNN, x, (h,), weights, np.array([[0.0], [0.0], [1.0]])).x.round(4)
    array([[0.0331],
           [0.0841],
           [0.2751]])
    """
    _, before = sequence(cell, x, states, weights)
    grads = tuple(np.zeros_like(state) for state in states) if grad_states is None else grad_states
    grad_x, grad_weights = np.zeros_like(x), [np.zeros_like(w) for w in weights]
    for t in reversed(range(len(x))):
        grad_h, *grad_c = grads
        grad_x[t], grads, more = cell.backward(x[t], before[t], weights, (grad_h + grad_steps[t], *grad_c))
        for total, part in zip(grad_weights, more, strict=True):
            total += part
    return Gradients(grad_x, grads, Weights(*grad_weights))


def stack_backward(
    cell: Cell,
    x: Array,
    states: Sequence[States],
    layers: Sequence[Weights],
    grad_steps: Array,
    grad_states: Sequence[States | None] | None = None,
) -> list[Gradients]:
    """A stack of layers, each reading the one below, backwards from the top: one `Gradients` a layer, the lowest first.

    The arguments are those of `sequence_backward`, the states, weights and `grad_states` one for each layer;
    `grad_steps`, (T, H), belongs to the top layer's steps. The input's gradient is the first one's `x`.
    """
    inputs = [x]
    for states_l, weights in zip(states[:-1], layers[:-1], strict=True):
        inputs.append(sequence(cell, inputs[-1], states_l, weights)[0])
    found: list[Gradients] = []
    last = grad_states or [None] * len(layers)
    for below, states_l, weights, more in reversed(list(zip(inputs, states, layers, last, strict=True))):
        found.insert(0, sequence_backward(cell, below, states_l, weights, grad_steps, more))
        grad_steps = found[0].x
    return found
