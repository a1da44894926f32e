"""How nodes are made of nodes.

Exporters write a GELU as five nodes and a normalisation as nine. Elementwise arithmetic is kept as sums of nodes with
constant coefficients and as products of nodes; where one of them is a function with a name, it takes that name at once.
Equal nodes are one object, so that `x·sigmoid(x)` is found to be about one x.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.formats.onnx.onnx_nodes import Function, LayerNode, Node, Product, Refused, Sum, Window
from lstmcore.layers import Array, Layer, Recurrent

MAX_TERMS = 64  # of a sum or product that is one node

#: Rewrites a product of several nodes as coefficient·node, or gives None.
Pattern = Callable[["Builder", Sequence[Node]], "tuple[float, Node] | None"]


class Builder:
    """Makes nodes; equal ones are one object."""

    def __init__(self, patterns: Sequence[Pattern], dtype: type[np.floating[Any]] = np.float32) -> None:
        self._known: dict[Any, Node] = {}
        self._patterns = patterns
        self.dtype = dtype  # of weights that the file has as numbers of other nodes
        self._count = 0
        self._joined: dict[Node, Mapping[int, Node]] = {}
        self.cuts: dict[Node, tuple[Node, float, float]] = {}  # what each is cut out of, and its bounds
        self.counted = False  # an input of the model says how many steps of each window count
        self.name = self.scope = self.label = ""  # of what is made now

    def _new(self, key: Any, make: Callable[[], Node]) -> Node:
        if key is None or key not in self._known:
            node = make()
            self._count += 1
            node.serial = self._count
            node.name, node.scope, node.label = self.name, self.scope, self.label
            if key is None:
                return node
            self._known[key] = node
        return self._known[key]

    def window(self, features: int) -> Node:
        """The model's input, a sequence."""
        return self._new("window", lambda: Window(features, True, ()))

    def layer(
        self,
        kind: type[Layer],
        inputs: Sequence[Node],
        features: int,
        sequence: bool,
        weights: Mapping[str, Array] | None = None,
        **settings: Any,
    ) -> LayerNode:
        """A layer; one without weights that is there already is the same."""
        key = None if weights else (kind, tuple(map(id, inputs)), tuple(settings.items()))
        node = self._new(
            key,
            lambda: LayerNode(features, sequence, tuple(inputs), kind=kind, settings=settings, weights=weights or {}),
        )
        assert isinstance(node, LayerNode)
        return node

    def function(self, name: str, *inputs: Node, numbers: tuple[float, ...] = (), features: int | None = None) -> Node:
        """A function of each element, or with `features` one that makes so many of them."""
        x = inputs[0]
        key = (name, numbers, *map(id, inputs))
        return self._new(
            key,
            lambda: Function(features or x.features, x.sequence, inputs, function=name, numbers=numbers),
        )

    # Steps of a sequence

    def reverse(self, x: Node) -> Node:
        """The steps from the newest to the oldest."""
        _need_sequence(x, "reverses time")
        if isinstance(x, LayerNode) and x.kind is layers.Reverse:
            return x.inputs[0]
        return self._also_of_parts(x, self.layer(layers.Reverse, [x], x.features, True), self.reverse)

    def last(self, x: Node) -> Node:
        """The newest step."""
        _need_sequence(x, "takes a step")
        if isinstance(x, LayerNode) and issubclass(x.kind, Recurrent) and not x.settings["bidirectional"]:
            return self.final(x)
        return self._also_of_parts(x, self.layer(layers.Last, [x], x.features, False), self.last)

    def final(self, x: LayerNode) -> LayerNode:
        """A recurrent layer with every step as the same layer with its final state."""
        key = ("final", id(x))

        def make() -> Node:
            settings = {**x.settings, "return_sequences": False}
            return dataclasses.replace(x, sequence=False, settings=settings, sequences=x)

        node = self._new(key, make)
        node.name, node.scope = x.name, x.scope
        assert isinstance(node, LayerNode)
        return node

    def flatten(self, x: Node, steps: int) -> Node:
        """All steps behind each other."""
        self.need_all_steps("flattens the steps")
        _need_sequence(x, "flattens a sequence")
        return self.layer(layers.Flatten, [x], steps * x.features, False, steps=steps)

    def need_all_steps(self, does: str) -> None:
        """Raise Refused where windows have rows that do not count: what is done to those is not what the Model does."""
        if self.counted:
            raise Refused(f"{does} of windows of which only some steps count (sequence_lens)")

    # Several nodes

    def concat(self, nodes: Sequence[Node]) -> Node:
        """Features behind each other."""
        if len(nodes) == 1:
            return nodes[0]
        _need_alike(nodes, features=False)
        made = self._both_directions(nodes, "concat")
        if made is None:
            made = self.layer(layers.Concat, nodes, sum(node.features for node in nodes), nodes[0].sequence)
        ends = itertools.accumulate(node.features for node in nodes)
        self._joined[made] = {end - node.features: node for node, end in zip(nodes, ends, strict=True)}
        return made

    def parts(self, node: Node) -> Mapping[int, Node]:
        """The nodes whose features stand in `node` behind each other, by the first of these features."""
        return self._joined.get(node, {0: node})

    def _also_of_parts(self, x: Node, made: Node, function: Callable[[Node], Node]) -> Node:
        """`made`, `function` of x, which is a concatenation where x is one."""
        if x in self._joined and made not in self._joined:
            self._joined[made] = {start: function(part) for start, part in self._joined[x].items()}
        return made

    def _both_directions(self, nodes: Sequence[Node], merge: str) -> Node | None:
        """One bidirectional layer, where two nodes are one layer's kind over the same sequence in both directions."""
        if len(nodes) != 2:
            return None
        pairs = [nodes] if merge == "concat" else [nodes, nodes[::-1]]
        for forward, backward in pairs:
            a, b = forward, backward
            if a.sequence and isinstance(b, LayerNode) and b.kind is layers.Reverse:
                b = b.inputs[0]
            elif a.sequence:
                continue
            if not (isinstance(a, LayerNode) and isinstance(b, LayerNode) and issubclass(a.kind, Recurrent)):
                continue
            if a.kind is not b.kind or a.settings != b.settings or a.settings["bidirectional"]:
                continue
            if b.inputs[0] is not self.reverse(a.inputs[0]):
                continue
            key = ("both", merge, id(a), id(b))
            weights = {**a.weights, **{f"{name}_reverse": w for name, w in b.weights.items()}}
            settings = {**a.settings, "bidirectional": True, "merge": merge}
            features = a.features * (2 if merge == "concat" else 1)
            kind, inputs, sequence, cells = a.kind, a.inputs, a.sequence, a.cells + b.cells
            made = LayerNode(features, sequence, inputs, kind=kind, settings=settings, weights=weights, cells=cells)
            both = self._new(key, lambda: made)  # noqa: B023
            both.name, both.scope = a.name, a.scope
            return both
        return None

    # Arithmetic

    def affine(self, x: Node, scale: Array, shift: Array) -> Node:
        """scale·x + shift; both () or (features,), float64."""
        _need_constant(x, scale, shift)
        if isinstance(x, Sum):
            constant, coefficients, inputs = x.constant * scale + shift, x.coefficients, x.inputs
            return self._sum(constant, [c * scale for c in coefficients], inputs)
        absorbed = _into_layer(self, x, scale, shift)
        return absorbed if absorbed is not None else self._sum(shift, [scale], [x])

    def _sum(self, constant: Array, coefficients: Sequence[Array], inputs: Sequence[Node]) -> Node:
        constant, *rest = (_smallest(a) for a in (constant, *coefficients))
        if len(inputs) == 1 and not constant.ndim and not rest[0].ndim and constant == 0 and rest[0] == 1:
            return inputs[0]
        key = ("sum", tuple((a.shape, a.tobytes()) for a in (constant, *rest)), tuple(map(id, inputs)))
        x = max(inputs, key=lambda node: node.features)
        return self._new(
            key, lambda: Sum(x.features, x.sequence, tuple(inputs), constant=constant, coefficients=tuple(rest))
        )

    def add(self, a: Node, b: Node, sign: float = 1.0) -> Node:
        """a + sign·b."""
        _need_alike([a, b])
        terms: dict[Node, Array] = {}
        for node, factor in ((a, 1.0), (b, sign)):
            scaled = isinstance(node, Sum) and not np.any(node.constant) and not any(c.ndim for c in node.coefficients)
            if scaled and isinstance(node, Sum) and len(node.inputs) <= MAX_TERMS:
                for c, x in zip(node.coefficients, node.inputs, strict=True):
                    terms[x] = terms.get(x, np.zeros(())) + factor * c
            else:
                terms[node] = terms.get(node, np.zeros(())) + factor
        terms = {node: c for node, c in terms.items() if c != 0} or {a: np.zeros(())}
        if len(terms) == 2 and len({float(c) for c in terms.values()}) == 1 and float(next(iter(terms.values()))) == 1:
            both = self._both_directions(list(terms), "sum")
            if both is not None:
                return both
        return self._sum(np.zeros(()), list(terms.values()), list(terms))

    def multiply(self, *nodes: Node) -> Node:
        """The product of nodes."""
        _need_alike(nodes)
        coefficient = 1.0
        factors: list[Node] = []
        for node in nodes:
            scaled = isinstance(node, Sum) and len(node.inputs) == 1 and not np.any(node.constant)
            if scaled and isinstance(node, Sum) and not node.coefficients[0].ndim:
                coefficient *= float(node.coefficients[0])
                node = node.inputs[0]
            inner = node.inputs if isinstance(node, Product) and len(node.inputs) <= MAX_TERMS else (node,)
            factors.extend(inner)
        factors.sort(key=lambda node: node.serial)
        for pattern in self._patterns:
            found = pattern(self, factors)
            if found is not None:
                return self.affine(found[1], np.array(coefficient * found[0]), np.zeros(()))
        both = self._both_directions(factors, "mul")
        if both is None:
            x = max(factors, key=lambda node: node.features)
            both = self._new(("product", *map(id, factors)), lambda: Product(x.features, x.sequence, tuple(factors)))
        return self.affine(both, np.array(coefficient), np.zeros(()))


def _into_layer(builder: Builder, x: Node, scale: Array, shift: Array) -> Node | None:
    """scale·x + shift as x itself with other weights, where x is a layer that lacks just these."""
    if not isinstance(x, LayerNode):
        return None
    weights, settings = dict(x.weights), dict(x.settings)
    # Rounded once, to what the file has: numbers are computed in float64, but are the file's own.
    dtype = np.result_type(*(w.dtype for w in weights.values())) if weights else builder.dtype

    def vector(constant: Array) -> Array:
        return np.broadcast_to(constant, (x.features,)).astype(dtype)

    unscaled = not np.any(scale != 1)
    if x.kind is layers.Linear and unscaled and not settings["bias"]:
        weights["bias"] = vector(shift)
        settings["bias"] = True
    elif settings.get("merge") == "sum" and not shift.ndim and not scale.ndim and scale == 0.5 and shift == 0:
        settings["merge"] = "mean"
    elif x.kind is layers.LayerNorm and not settings["affine"] and scale.ndim:
        weights["weight"] = vector(scale)
        settings |= {"affine": True, "bias": bool(np.any(shift))}
        if settings["bias"]:
            weights["bias"] = vector(shift)
    elif x.kind is layers.LayerNorm and settings["affine"] and not settings["bias"] and unscaled:
        weights["bias"] = vector(shift)
        settings["bias"] = True
    else:
        return None
    made = builder.layer(x.kind, x.inputs, x.features, x.sequence, weights, **settings)
    made.name, made.scope, made.cells = x.name, x.scope, x.cells
    return made


def _smallest(a: Array) -> Array:
    """() where all numbers are the same, else (features,); float64."""
    a = np.asarray(a, np.float64)
    return a.reshape(-1)[0].reshape(()) if a.size == 1 or (a.size and np.all(a == a.flat[0])) else a


def _need_sequence(x: Node, does: str) -> None:
    if not x.sequence:
        raise Refused(f"{does}, but what comes in has no time steps")


def _need_constant(x: Node, *constants: Array) -> None:
    for a in constants:
        if a.ndim and a.shape != (x.features,):
            raise Refused(f"a constant of {a.size} values for {x.features} features")


def _need_alike(nodes: Sequence[Node], features: bool = True) -> None:
    first = nodes[0]
    for node in nodes[1:]:
        if node.sequence != first.sequence:
            raise Refused("joins a sequence with a value that has no time steps")
        # Means over the features, in a normalisation, are single numbers beside them.
        if features and node.features != first.features and 1 not in (node.features, first.features):
            raise Refused(f"joins {first.features} features with {node.features}")
