"""What a backend need not compute: dropout goes, batch norms and scales go into the weights beside them.

Folding is done in float64 and rounded to float32 once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore.layers import GRU, Array, BatchNorm1d, Dropout, Layer, Linear, Recurrent, Scaler
from lstmcore.layers.wiring import Input, Wiring, wire


def fold(of: Wiring) -> Wiring:
    """The layers that are left to compute, with float32 weights.

    A Linear always comes out with a bias, and a recurrent layer's two biases come out summed in `bias_ih_l{k}`
    (`bias_hh_l{k}` is then zero): the sum is formed before rounding, so nothing is lost. A GRU whose reset gate works
    on the recurrent product keeps the candidate's rows apart.
    """
    kept = _without_dropout(_named(of))
    kept = [layer.map_weights(_wide) for layer in kept]
    kept = [_with_bias(layer) if isinstance(layer, Recurrent | Linear) else layer for layer in kept]
    for scaler in [layer for layer in kept if isinstance(layer, Scaler)]:
        kept = _fold_scaler(kept, scaler)
    kept = _fold_batch_norms(kept)
    ends = {layer.name: layer.inputs[0] for layer in kept if isinstance(layer, _End)}
    return wire(narrowed(_unnamed([x for x in kept if not isinstance(x, _End)], of.inputs)), of.inputs, ends)


@dataclass(frozen=True, eq=False)
class _End(Layer):
    """An output of the model, as a layer that reads what it is."""


def _named(of: Wiring) -> list[Layer]:
    """The layers, each with its `inputs` said, and the outputs behind them."""
    names = [*(one.name for one in of.inputs), *(layer.name for layer in of.layers)]
    layers: list[Layer] = [
        layer.replace(inputs=tuple(names[n] for n in read)) for layer, read in zip(of.layers, of.reads, strict=True)
    ]
    return layers + [_End(name, inputs=(layer,)) for name, layer in of.outputs.items()]


def _unnamed(layers: list[Layer], inputs: Sequence[Input]) -> list[Layer]:
    """The layers, those that read the one before them without `inputs`."""
    before = [inputs[0].name, *(layer.name for layer in layers)]
    return [
        layer.replace(inputs=()) if layer.inputs == (name,) else layer
        for layer, name in zip(layers, before, strict=False)
    ]


def _instead(layers: Iterable[Layer], name: str, other: str) -> list[Layer]:
    """The layers, reading `other` where they read `name`."""
    return [
        layer.replace(inputs=tuple(other if n == name else n for n in layer.inputs)) if name in layer.inputs else layer
        for layer in layers
    ]


def _without_dropout(layers: list[Layer]) -> list[Layer]:
    """The layers without dropout, but for one that an output of the model is and that reads an input: no layer would be
    left for that output."""
    kept: list[Layer] = []
    made: set[str] = set()  # by the layers that are kept
    instead: dict[str, str] = {}  # of what a dropout makes, what it reads
    for layer in layers:
        read = layer.inputs[0]
        if isinstance(layer, _End) and read in instead and instead[read] not in made:
            if read not in made:
                made.add(read)
                kept.append(Dropout(read, 0.0, inputs=(instead[read],)))
            kept.append(layer)
            continue
        reads = tuple(instead.get(name, name) for name in layer.inputs)
        if isinstance(layer, Dropout):
            instead[layer.name] = reads[0]
            continue
        if not isinstance(layer, _End):
            made.add(layer.name)
        kept.append(layer if reads == layer.inputs else layer.replace(inputs=reads))
    return kept


def _only_reader(layers: list[Layer], name: str) -> Layer | None:
    """What reads a layer, another one or an output of the model; None where several do, or one more than once."""
    readers = [layer for layer in layers for read in layer.inputs if read == name]
    return readers[0] if len(readers) == 1 and readers[0].inputs == (name,) else None


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
        for end in (f"l{k}{suffix}" for k in range(layer.num_layers) for suffix in layer.suffixes):
            ih, hh = (np.array(w.get(f"bias_{which}_{end}", np.zeros(rows))) for which in ("ih", "hh"))
            ih[:summed] += hh[:summed]
            hh[:summed] = 0
            w[f"bias_ih_{end}"], w[f"bias_hh_{end}"] = ih, hh
    changed: Layer = layer.replace(weights=w, bias=True)
    return changed


def _fold_scaler(layers: list[Layer], scaler: Scaler) -> list[Layer]:
    """Divide the input weights of the layer that alone reads a scaler by the scale; a mean is still subtracted.

    Folding the mean into the bias as well would subtract two large numbers, W·x and W·mean, after each was
    rounded: with prices near 60,000 and a scale of 50 that costs three decimal digits of the answer.
    """
    reader = _only_reader(layers, scaler.name)
    if not isinstance(reader, Recurrent | Linear):
        return layers
    suffixes = reader.suffixes if isinstance(reader, Recurrent) else ("",)
    keys = [f"weight_ih_l0{suffix}" for suffix in suffixes] if isinstance(reader, Recurrent) else ["weight"]
    mean, scale = scaler.weights["mean"], scaler.weights["scale"]
    folded = reader.replace(weights={**reader.weights, **{key: reader.weights[key] / scale for key in keys}})
    layers = [folded if layer is reader else layer for layer in layers]
    if not np.any(mean):
        return _instead((layer for layer in layers if layer is not scaler), scaler.name, scaler.inputs[0])
    only_mean: Layer = scaler.replace(weights={"mean": mean, "scale": np.ones_like(scale)})
    return [only_mean if layer is scaler else layer for layer in layers]


def _fold_batch_norms(layers: list[Layer]) -> list[Layer]:
    """Put each batch norm into the Linear that alone reads it, else into the one that it alone reads; else leave it."""
    for name in [layer.name for layer in layers if isinstance(layer, BatchNorm1d)]:
        norm: Any = next(x for x in layers if x.name == name and isinstance(x, BatchNorm1d))  # it may read another now
        (read,) = norm.inputs
        after = _only_reader(layers, name)
        before = next((layer for layer in layers if layer.name == read), None)
        alone = _only_reader(layers, read)
        a, b = affine_of(norm)
        if isinstance(after, Linear):
            w, bias = after.weights["weight"], after.weights["bias"]
            after_it = after.replace(weights={"weight": w * a, "bias": bias + _product(w, b)}, inputs=(read,))
            layers = [after_it if layer is after else layer for layer in layers if layer is not norm]
        elif isinstance(before, Linear) and alone is norm:
            w, bias = before.weights["weight"], before.weights["bias"]
            with_it = before.replace(weights={"weight": w * a[:, None], "bias": bias * a + b})
            layers = [with_it if layer is before else layer for layer in layers if layer is not norm]
            layers = _instead(layers, name, read)
    return layers
