"""From nodes to a model's list of layers: every sum and function becomes a layer, stacks become one, all get names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.errors import UnsupportedError
from lstmcore.formats.onnx.onnx_nodes import Function, LayerNode, Node, Product, Sum, Window
from lstmcore.formats.states import Cell
from lstmcore.layers import INPUT, Array, Layer, Recurrent
from lstmcore.layers.activations import TABLE, Activation
from lstmcore.layers.base import held

#: Functions that are layers of their own, and what their numbers are called there.
OWN_LAYERS: Mapping[str, tuple[type[Layer], tuple[str, ...]]] = {
    "relu": (layers.ReLU, ()),
    "tanh": (layers.Tanh, ()),
    "sigmoid": (layers.Sigmoid, ()),
    "leaky_relu": (layers.LeakyReLU, ("negative_slope",)),
    "elu": (layers.ELU, ("alpha",)),
}


LARGEST = 1e30  # of a scaler's numbers, so that float32 can compute with them


@dataclass(eq=False)
class Spec:
    """A layer to be; None among its inputs is the window."""

    kind: type[Layer]
    inputs: list[Spec | None]
    settings: dict[str, Any]
    weights: dict[str, Array]
    name: str = ""
    scope: str = ""
    cells: tuple[Cell, ...] = ()  # the rows of its states


#: Where the state of each cell is in a model: the layer's name and the row, in torch's order; perhaps several.
Rows = dict[Cell, list[tuple[str, int]]]


def lower(answer: Node) -> tuple[list[Layer], Rows]:
    """The layers that compute `answer`, each behind what it reads. Raises UnsupportedError for what has no layer."""
    top = _lowered(answer)
    if top is None:
        raise UnsupportedError("the answer is the window itself; a model needs a layer")
    top = _take_last_early(top)
    _merge_stacks(top)
    return _named(_order(top))


def _lowered(answer: Node) -> Spec | None:
    reachable: set[Node] = set()
    left = [answer]
    while left:
        node = left.pop()
        if node not in reachable:
            reachable.add(node)
            left.extend(node.inputs)
    readers = sum(isinstance(x, Window) for node in reachable for x in node.inputs)
    made: dict[Node, Spec | None] = {}
    left = [answer]
    while left:
        node = left[-1]
        inputs = _inputs(node, reachable)
        missing = [x for x in inputs if x not in made]
        if node in made or not missing:
            left.pop()
            if node not in made:
                made[node] = _spec(node, [made[x] for x in inputs], reachable, readers == 1)
        else:
            left.extend(missing)
    return made[answer]


def _inputs(node: Node, reachable: set[Node]) -> tuple[Node, ...]:
    """What a node is made of: a final state of all steps, where something else needs these."""
    if isinstance(node, LayerNode) and node.sequences in reachable and node.sequences is not None:
        return (node.sequences,)
    return node.inputs


def _spec(node: Node, inputs: list[Spec | None], reachable: set[Node], only_reader: bool) -> Spec | None:
    def layer(kind: type[Layer], read: Sequence[Spec | None], weights: Any = None, **settings: Any) -> Spec:
        return Spec(kind, list(read), settings, dict(weights or {}), node.name, node.scope)

    if isinstance(node, Window):
        return None
    if isinstance(node, LayerNode):
        if node.sequences is not None and node.sequences in reachable:
            return layer(layers.Last, inputs)
        made = layer(node.kind, inputs, node.weights, **node.settings)
        made.cells = node.cells
        return made
    if isinstance(node, Function):
        if node.function not in TABLE:
            raise UnsupportedError(f"{node.label}: {node.function}: has no layer, and is part of nothing that has one")
        if node.function in OWN_LAYERS:
            kind, names = OWN_LAYERS[node.function]
            return layer(kind, inputs, **dict(zip(names, node.numbers, strict=True)))
        return layer(layers.Activation, inputs, function=str(Activation(node.function, node.numbers)))
    if any(x.features != node.features for x in node.inputs):
        sizes = sorted({x.features for x in node.inputs})
        raise UnsupportedError(f"{node.label}: joins values of {' and '.join(map(str, sizes))} features")
    if isinstance(node, Product):
        return layer(layers.Mul, inputs)
    assert isinstance(node, Sum)

    def affine(read: Spec | None, scale: Array, shift: Array, source: Node | None) -> Spec | None:
        if not scale.ndim and not shift.ndim and (float(scale), float(shift)) == (1, 0):
            return read
        scales, shifts = (np.broadcast_to(a, (node.features,)) for a in (scale, shift))
        if not (np.all(np.isfinite(scales)) and np.all(np.isfinite(shifts))):
            raise UnsupportedError(f"{node.label}: a constant that is not finite")
        with np.errstate(over="ignore"):
            centres = np.divide(-shifts, scales, out=np.zeros(node.features), where=scales != 0)
        centred = (scales != 0) & (np.abs(centres) < LARGEST)
        if isinstance(source, Window) and only_reader and np.all(centred & (np.abs(scales) > 1 / LARGEST)):
            weights = {"mean": centres, "scale": 1 / scales}
            return layer(layers.Scaler, [read], weights, num_features=node.features)
        if not scale.ndim and not shift.ndim:
            text = str(Activation("affine", (float(scale), float(shift))))
            return layer(layers.Activation, [read], function=text)
        weights = {
            "running_mean": np.where(centred, centres, 0),
            "running_var": np.ones(node.features),
            "weight": scales,
            "bias": np.where(centred, 0, shifts),
        }
        return layer(layers.BatchNorm1d, [read], weights, num_features=node.features, eps=0.0, affine=True)

    one, zero = np.ones(()), np.zeros(())
    if len(inputs) == 1:
        return affine(inputs[0], node.coefficients[0], node.constant, node.inputs[0])
    alike = {float(c) for c in node.coefficients if not c.ndim}
    if len(alike) == 1 and not any(c.ndim for c in node.coefficients):
        (scale,) = alike
        if scale == 1 / len(inputs):
            return affine(layer(layers.Mean, inputs), one, node.constant, None)
        return affine(layer(layers.Add, inputs), np.array(scale), node.constant, None)
    terms = [affine(x, c, zero, None) for x, c in zip(inputs, node.coefficients, strict=True)]
    return affine(layer(layers.Add, terms), one, node.constant, None)


def _order(top: Spec) -> list[Spec]:
    """`top` and all that it reads, each behind what it reads."""
    done: dict[Spec, None] = {}
    left = [top]
    while left:
        spec = left[-1]
        missing = [] if spec in done else [x for x in spec.inputs if x is not None and x not in done]
        left.extend(reversed(missing))
        if not missing:
            left.pop()
            done[spec] = None
    return list(done)


def _take_last_early(top: Spec) -> Spec:
    """Let layers that treat each step alike work on the newest step alone, where nothing reads the others."""
    readers: dict[Spec | None, list[Spec]] = {}
    lasts: dict[Spec | None, Spec] = {}
    order = _order(top)
    for spec in order:
        for x in spec.inputs:
            readers.setdefault(x, []).append(spec)
        if spec.kind is layers.Last:
            lasts[spec.inputs[0]] = spec
    left = [spec for spec in order if spec.kind is layers.Last]
    while left:
        last = left.pop()
        above = last.inputs[0]
        if above is None or readers[above] != [last]:
            continue
        recurrent = issubclass(above.kind, Recurrent) and not above.settings["bidirectional"]
        if not recurrent and (not above.kind.pointwise or above.kind is layers.Scaler):
            continue
        if recurrent:
            above.settings["return_sequences"] = False
        else:
            for at, x in enumerate(above.inputs):
                readers[x].remove(above)
                if x not in lasts:
                    lasts[x] = Spec(layers.Last, [x], {}, {}, "last", last.scope)
                    readers.setdefault(x, []).append(lasts[x])
                    left.append(lasts[x])
                above.inputs[at] = lasts[x]
                readers.setdefault(lasts[x], []).append(above)
        readers[above] = readers.get(last, [])
        for reader in readers[above]:
            reader.inputs = [above if x is last else x for x in reader.inputs]
        if top is last:
            top = above
    return top


#: What the layers of one stack have in common.
STACKED = ("hidden_size", "bias", "bidirectional", "merge", "activations", "clip", "learned_state")
VARIATIONS = ("peepholes", "coupled", "reset_after")


def _merge_stacks(top: Spec) -> None:
    """Let recurrent layers on top of each other that are one module of the source model be one layer."""
    readers: dict[Spec | None, int] = {}
    order = _order(top)
    for spec in order:
        for x in spec.inputs:
            readers[x] = readers.get(x, 0) + 1
    for spec in order:
        below = spec.inputs[0] if spec.inputs else None
        if below is None or below.kind is not spec.kind or not issubclass(spec.kind, Recurrent):
            continue
        same = all(spec.settings.get(key) == below.settings.get(key) for key in (*STACKED, *VARIATIONS))
        if not same or spec.scope != below.scope or not spec.scope or readers[below] != 1:
            continue
        if not below.settings["return_sequences"] or spec.settings["merge"] != "concat":
            continue
        levels = below.settings["num_layers"]
        moved = {key.replace("_l0", f"_l{levels}"): w for key, w in spec.weights.items()}
        spec.settings |= {"num_layers": levels + 1, "input_size": below.settings["input_size"]}
        spec.weights = below.weights | moved
        spec.cells = below.cells + spec.cells
        spec.inputs, spec.name = below.inputs, below.name


def _named(order: Sequence[Spec]) -> tuple[list[Layer], Rows]:
    """The layers under names that differ, with weights of one dtype."""
    wide = any(w.dtype == np.float64 for spec in order for w in spec.weights.values() if not _is_computed(spec))
    dtype = np.float64 if wide else np.float32
    names: dict[Spec | None, str] = {None: INPUT}
    counts: dict[str, int] = {INPUT: 0}
    made: list[Layer] = []
    rows: Rows = {}
    before: Spec | None = None
    for spec in order:
        name = base = spec.name or spec.kind.__name__.lower()
        while name in counts:
            counts[base] += 1
            name = f"{base}_{counts[base]}"
        counts[name] = 0
        names[spec] = name
        inputs = () if spec.inputs == [before] else tuple(names[x] for x in spec.inputs)
        with np.errstate(over="ignore"):
            weights = {
                key: _mean(w, dtype) if spec.kind is layers.Scaler and key == "mean" else w.astype(dtype, copy=False)
                for key, w in spec.weights.items()
            }
        made.append(spec.kind(name, weights=weights, inputs=inputs, **spec.settings))
        for row, cell in enumerate(spec.cells):
            rows.setdefault(cell, []).append((name, row))
        before = spec
    return made, rows


def _mean(computed: Array, dtype: type[np.floating[Any]]) -> Array:
    """A scaler's mean: float32 numbers that came out of divisions in float64 as they went in; others as they are."""
    narrow = computed.astype(np.float32)
    same = np.abs(narrow - computed) <= 4 * np.finfo(np.float64).eps * np.abs(computed)
    return held(np.where(same, narrow, computed), dtype)


def _is_computed(spec: Spec) -> bool:
    """Whether the weights were computed here, in float64, from constants of any dtype."""
    return spec.kind is layers.Scaler or (spec.kind is layers.BatchNorm1d and spec.settings["eps"] == 0)
