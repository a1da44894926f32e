"""What a backend need not compute: dropout goes, batch norms and scales go into the weights beside them.

Folding is done in float64 and rounded to float32 once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstmcore.layers import GRU, Array, BatchNorm1d, Dropout, Layer, Linear, Recurrent, Scaler


def fold(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers that are left to compute, with float32 weights.

    A Linear always comes out with a bias, and a recurrent layer's two biases come out summed in `bias_ih_l{k}`
    (`bias_hh_l{k}` is then zero): the sum is formed before rounding, so nothing is lost. A GRU whose reset gate works
    on the recurrent product keeps the candidate's rows apart.
    """
    kept = [layer.map_weights(_wide) for layer in layers if not isinstance(layer, Dropout)]
    kept = [_with_bias(layer) if isinstance(layer, Recurrent | Linear) else layer for layer in kept]
    kept = _fold_scaler(kept)
    kept = _fold_batch_norms(kept)
    return narrowed(kept)


def narrowed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers with float32 weights, but for a scaler's mean that needs more digits."""
    with np.errstate(over="ignore"):  # a weight beyond float32 becomes inf, as it does in torch's .float()
        return tuple(layer.astype(np.float32) for layer in layers)


def affine_of(norm: BatchNorm1d) -> tuple[Array, Array]:
    """(a, b) such that the batch norm is a·x + b, each (features,)."""
    w = norm.weights
    a = 1 / np.sqrt(w["running_var"] + norm.eps)
    if norm.affine:
        a = w["weight"] * a
    b = -w["running_mean"] * a
    if norm.affine:
        b = w["bias"] + b
    return a, b


def _product(matrix: Array, vector: Array) -> Array:
    """matrix·vector, each sum rounded once: a BLAS sums in another order on another processor."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is infinite or NaN is so in the answers
        return np.array([_sum(row) for row in matrix * vector])


def _sum(numbers: Array) -> float:
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # beyond float64, or infinities of both signs: as IEEE 754 says
        return float(np.sum(numbers))


def _wide(w: Array) -> Array:
    return w.astype(np.float64)


def _with_bias(layer: Recurrent | Linear) -> Layer:
    w = dict(layer.weights)
    if isinstance(layer, Linear):
        w.setdefault("bias", np.zeros(layer.out_features))
    else:
        rows = len(layer.gates) * layer.hidden_size
        summed = 2 * layer.hidden_size if isinstance(layer, GRU) and layer.reset_after else rows
        for k in range(layer.num_layers):
            ih, hh = (np.array(w.get(f"bias_{which}_l{k}", np.zeros(rows))) for which in ("ih", "hh"))
            ih[:summed] += hh[:summed]
            hh[:summed] = 0
            w[f"bias_ih_l{k}"], w[f"bias_hh_l{k}"] = ih, hh
    changed: Layer = layer.replace(weights=w, bias=True)
    return changed


def _fold_scaler(layers: list[Layer]) -> list[Layer]:
    """Divide the first layer's input weights by the scale; a mean is still subtracted from the input.

    Folding the mean into the bias as well would subtract two large numbers, W·x and W·mean, after each was
    rounded: with prices near 60,000 and a scale of 50 that costs three decimal digits of the answer.
    """
    if len(layers) < 2 or not isinstance(layers[0], Scaler):
        return layers
    scaler, first, *rest = layers
    key = "weight_ih_l0" if isinstance(first, Recurrent) else "weight" if isinstance(first, Linear) else None
    if key is None:
        return layers
    mean, scale = scaler.weights["mean"], scaler.weights["scale"]
    first = first.replace(weights={**first.weights, key: first.weights[key] / scale})
    if not np.any(mean):
        return [first, *rest]
    return [scaler.replace(weights={"mean": mean, "scale": np.ones_like(scale)}), first, *rest]


def _fold_batch_norms(layers: list[Layer]) -> list[Layer]:
    """Put each batch norm into the Linear behind it, else into the one before it; else leave it."""
    out = list(layers)
    at = 0
    while at < len(out):
        norm = out[at]
        behind = out[at + 1] if at + 1 < len(out) else None
        before = out[at - 1] if at else None
        if isinstance(norm, BatchNorm1d) and isinstance(behind, Linear):
            a, b = affine_of(norm)
            w, bias = behind.weights["weight"], behind.weights["bias"]
            out[at : at + 2] = [behind.replace(weights={"weight": w * a, "bias": bias + _product(w, b)})]
        elif isinstance(norm, BatchNorm1d) and isinstance(before, Linear):
            a, b = affine_of(norm)
            w, bias = before.weights["weight"], before.weights["bias"]
            out[at - 1 : at + 1] = [before.replace(weights={"weight": w * a[:, None], "bias": bias * a + b})]
        else:
            at += 1
    return out
