"""What an answer owes to each number of its window: the answer's gradient, back through every layer.

Recurrent layers go backwards by `reference_backward.py`; the layers around them have one line each, here.
Attribution by the gradient: K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", 2013; by
gradient times input: A. Shrikumar et al., "Not Just a Black Box", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore import reference_backward
from lstmcore.backends.program import MERGES
from lstmcore.errors import UnsupportedError
from lstmcore.layers import (
    ELU,
    GRU,
    LSTM,
    RNN,
    Array,
    BatchNorm1d,
    Dropout,
    Flatten,
    Last,
    Layer,
    LeakyReLU,
    Linear,
    Merge,
    Recurrent,
    ReLU,
    Reverse,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
    show,
)
from lstmcore.reference import Weights
from lstmcore.text import listed
from lstmcore.trace import Steps, Trace


def input_gradient(trace: Trace, output: int = 0) -> Array:
    """The gradient of one output of the answer with respect to the window: (T, F) float64.

    Args:
        trace: Of a model and a window.
        output: Which output; where every step answers, of the newest step.

    Raises:
        ValueError: An output that the model does not have.
        UnsupportedError: A layer whose gradient is not written here: GELU, LayerNorm, other activations than the usual
            ones, an LSTM's variations; a model with several inputs or outputs.

    >>> import numpy as np
    >>> from lstmcore import Model, layers as L
    >>> double = L.Linear("double", 1, 1, bias=False, weights={"weight": np.full((1, 1), 2.0)})
    >>> input_gradient(Model([double, L.Last("last")]).trace([[1.0], [3.0]]))
    array([[0.],
           [2.]])
    """
    layers, reads = trace.layers, trace.wiring.reads
    values = [trace.window, *trace.outputs.values()]
    grads = [np.zeros_like(value) for value in values]
    _seed(trace, grads, output)
    end = len(trace.steps)
    for n in reversed(range(len(layers))):
        layer, given = layers[n], [values[k] for k in reads[n]]
        if isinstance(layer, Merge):
            parts = unmerged(grads[n + 1], given, MERGES[type(layer)])
        elif isinstance(layer, Recurrent):
            parts = [_recurrent(layer, trace.steps[end - layer.states : end], grads[n + 1])]
            end -= layer.states
        elif type(layer) in BACKWARD:
            parts = [BACKWARD[type(layer)](layer, given[0], values[n + 1], grads[n + 1])]
        else:
            raise UnsupportedError(f"{layer.label}: its gradient is not written here")
        for k, part in zip(reads[n], parts, strict=True):
            grads[k] += part
    return grads[0]


def _seed(trace: Trace, grads: Sequence[Array], output: int) -> None:
    """Put 1 where the output stands in the gradient of the answer, which is all zeros."""
    if len(trace.wiring.outputs) > 1:
        raise UnsupportedError(f"the traced model has several outputs, {listed(map(repr, trace.wiring.outputs))}")
    ((end, shape),) = zip(trace.wiring.ends, trace.wiring.answers.values(), strict=True)
    grad = grads[end]
    newest = grad[-1:] if shape[:1] == ("T",) else grad
    if not 0 <= output < newest.size:
        raise ValueError(f"output: expected 0 to {newest.size - 1}, the answer being {show(shape)}, got {output}")
    newest.flat[output] = 1


def unmerged(grad: Array, parts: Sequence[Array], merge: str) -> list[Array]:
    """`reference.merged` backwards: the gradient with respect to each of the arrays that were joined."""
    if merge == "concat":
        return np.split(grad, np.cumsum([part.shape[-1] for part in parts])[:-1], axis=-1)
    if merge == "mul":
        others = [[other for m, other in enumerate(parts) if m != n] for n in range(len(parts))]
        return [grad * np.prod(np.stack(rest), axis=0) for rest in others]
    return [grad / len(parts) if merge == "mean" else grad] * len(parts)


def _recurrent(layer: Recurrent, steps: Sequence[Steps], grad: Array) -> Array:
    """A stack, from the gradient of what goes on from it to that of what comes in, (T, I)."""
    cell, ways = _cell(layer), len(layer.suffixes)
    for k in reversed(range(layer.num_layers)):
        directions = steps[k * ways : (k + 1) * ways]
        top = k + 1 == layer.num_layers
        last_only = top and not layer.return_sequences
        shown = [one.h[0 if one.backward else -1] if last_only else one.h for one in directions]
        parts = unmerged(grad, shown, layer.merge if top else "concat")
        grad = np.sum([_direction(cell, *pair) for pair in zip(directions, parts, strict=True)], axis=0)
    return grad


def _direction(cell: reference_backward.Cell, steps: Steps, grad: Array) -> Array:
    if grad.ndim == 1:  # of the final step alone
        grad_steps = np.zeros_like(steps.h)
        grad_steps[0 if steps.backward else -1] = grad
    else:
        grad_steps = grad
    way = slice(None, None, -1 if steps.backward else 1)
    w, zero = steps.layer.cell(0), np.zeros(len(steps.layer.gates) * steps.layer.hidden_size)
    weights = Weights(w["weight_ih"], w["weight_hh"], w.get("bias_ih", zero), w.get("bias_hh", zero))
    return reference_backward.sequence_backward(cell, steps.x[way], steps.start, weights, grad_steps[way]).x[way]


def _cell(layer: Recurrent) -> reference_backward.Cell:
    """The layer's step backwards. Raises UnsupportedError for a variation that has none."""
    if isinstance(layer, LSTM) and layer.plain:
        return reference_backward.LSTM
    if isinstance(layer, GRU) and layer.activations == layer.usual and layer.clip == 0:
        return reference_backward.GRU if layer.reset_after else reference_backward.GRU_RESET_BEFORE
    if isinstance(layer, RNN) and layer.plain:
        return reference_backward.RNN if layer.activations == "tanh" else reference_backward.RNN_RELU
    others = [key for key, value in layer.settings().items() if key in VARIATIONS and value != layer.usual_setting(key)]
    raise UnsupportedError(f"{layer.label}: its gradient is not written here with {', '.join(others)}")


#: The settings that change a step's equation.
VARIATIONS = ("activations", "clip", "proj_size", "peepholes", "coupled", "layer_norm")


#: Each plain layer backwards: the layer, what came in, what went out, and the gradient of that.
BACKWARD: dict[type[Layer], Callable[[Any, Array, Array, Array], Array]] = {
    Linear: lambda layer, x, y, grad: grad @ layer.weights["weight"],
    BatchNorm1d: lambda layer, x, y, grad: (
        grad * layer.weights.get("weight", 1.0) / np.sqrt(layer.weights["running_var"] + layer.eps)
    ),
    Scaler: lambda layer, x, y, grad: grad / layer.weights["scale"],
    Dropout: lambda layer, x, y, grad: grad,
    ReLU: lambda layer, x, y, grad: grad * (x > 0),
    LeakyReLU: lambda layer, x, y, grad: grad * np.where(x > 0, 1, layer.negative_slope),
    ELU: lambda layer, x, y, grad: grad * np.where(x > 0, 1, y + layer.alpha),
    Tanh: lambda layer, x, y, grad: grad * (1 - y**2),
    Sigmoid: lambda layer, x, y, grad: grad * y * (1 - y),
    Softmax: lambda layer, x, y, grad: y * (grad - np.sum(grad * y, axis=-1, keepdims=True)),
    Last: lambda layer, x, y, grad: np.concatenate([np.zeros_like(x[:-1]), grad[np.newaxis]]),
    Reverse: lambda layer, x, y, grad: grad[::-1],
    Flatten: lambda layer, x, y, grad: grad.reshape(x.shape),
    Squeeze: lambda layer, x, y, grad: grad[..., np.newaxis],
}
