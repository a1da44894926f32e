"""Models that are more than a chain: branches, both directions, reversed sequences, masks.

The backends run chains. Here such a model is cut into chains, each run by the backend that was asked for, and what
stands between them: sums and concatenations, reversed sequences, skipped ticks. A bidirectional layer comes apart into
a layer for each direction. Every element is computed as it would be in a chain, so the bits of a backend stay its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore import stopping
from lstmcore.backends.graph_streams import GraphSlider
from lstmcore.backends.numpy import start_of
from lstmcore.backends.runner import Runner
from lstmcore.backends.sliders import Slider, WholeWindows, answer_shape
from lstmcore.layers import (
    Add,
    Array,
    Concat,
    Dropout,
    Layer,
    Masking,
    Mean,
    Merge,
    Mul,
    Recurrent,
    Reverse,
    Shape,
    Squeeze,
)
from lstmcore.layers.wiring import is_chain, sources, unused_name
from lstmcore.reference import merged

MERGES: dict[type[Layer], str] = {Concat: "concat", Add: "sum", Mean: "mean", Mul: "mul"}
KINDS = {merge: kind for kind, merge in MERGES.items()}

#: Makes a Runner of a chain: its layers, the features that come in, what comes out.
Compiler = Callable[[Sequence[Layer], int, Shape], Runner]


def is_graph(layers: Sequence[Layer]) -> bool:
    """Whether a model needs what is here."""
    return not is_chain(layers) or any(
        isinstance(layer, Merge | Reverse | Masking) or getattr(layer, "bidirectional", False) for layer in layers
    )


def lower(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, each with its `inputs` named, without dropout, and the bidirectional ones taken apart."""
    out: list[Layer] = []
    came: list[str] = ["input"]  # the name of what came out of each layer
    for layer, read in zip(layers, sources(layers), strict=True):
        inputs = tuple(came[n] for n in read)
        if isinstance(layer, Dropout):
            came.append(inputs[0])
            continue
        if isinstance(layer, Recurrent) and layer.bidirectional:
            out += _both_directions(layer, inputs[0], [*layers, *out])
        else:
            out.append(layer.replace(inputs=inputs))
        came.append(out[-1].name)
    return out


def _both_directions(layer: Recurrent, below: str, taken: list[Layer]) -> list[Layer]:
    """A bidirectional stack as layers of one direction, reversed sequences and their join, which has its name."""
    made: list[Layer] = []

    def add(new: Layer) -> str:
        made.append(new.replace(name=unused_name(new.name, [*taken, *made])))
        return made[-1].name

    for k in range(layer.num_layers):
        top = k + 1 == layer.num_layers
        sequences = not top or layer.return_sequences
        ends = []
        for suffix in layer.suffixes:
            name, read = f"{layer.name}_l{k}{suffix}", below
            if suffix:
                read = add(Reverse(f"{name}_in", inputs=(read,)))
            read = add(layer.single(k, suffix, name, sequences).replace(inputs=(read,)))
            if suffix and sequences:
                read = add(Reverse(f"{name}_out", inputs=(read,)))
            ends.append(read)
        if top:
            made.append(KINDS[layer.merge](layer.name, inputs=tuple(ends)))
        else:
            below = add(Concat(f"{layer.name}_l{k}_both", inputs=tuple(ends)))
    return made


@dataclass
class Node:
    """One step of the evaluation: a chain of layers, or a single one that only this file knows."""

    layers: list[Layer]
    reads: tuple[int, ...]  # 0: the model's input; n + 1: what came out of node n
    shape: Shape
    features: int  # of a tick of what a chain reads; a number alone counts as one
    runner: Runner | None = None  # of a chain
    h: tuple[int, int] = (0, 0)  # its first and last among the states that are given
    c: tuple[int, int] = (0, 0)

    @property
    def computes(self) -> bool:
        """Whether there is more to it than another shape."""
        return not all(isinstance(layer, Squeeze) for layer in self.layers)


@dataclass(frozen=True)
class Value:
    """What flows between nodes: an array, and which of its steps count; None: all."""

    array: Array
    kept: Array | None = None


class GraphRunner(Runner):
    """Runs the nodes one after the other, one window after the other."""

    def __init__(self, layers: Sequence[Layer], features: int, compiler: Compiler, dtype: np.dtype[Any] | None) -> None:
        self.nodes = cut(lower(layers), features)
        #: The joins of both directions, which put out zeros at skipped ticks where one direction repeats itself.
        self.zeroed = {layer.name for layer in layers if getattr(layer, "bidirectional", False)}
        runners = []
        for node in self.nodes:
            if type(node.layers[0]) in (*MERGES, Reverse, Masking) or not node.computes:
                continue
            first = self._shape(node.reads[0], features)
            # A vector goes through a chain as a sequence of one step, numbers without features as ticks of one.
            one = ("T", 1) if first in (("T",), ()) else ("T", *node.shape)
            output = node.shape if len(first) == 2 else one
            node.runner = compiler([x.replace(inputs=()) for x in node.layers], node.features, output)
            node.runner.given = node.layers, output, node.features
            if dtype is not None:
                node.runner.dtype = dtype
            runners.append(node.runner)
        self.backend, self.kernel, self.dtype = runners[0].backend, runners[0].kernel, runners[0].dtype
        _place_states(self.nodes)

    def _shape(self, value: int, features: int) -> Shape:
        return ("T", features) if value == 0 else self.nodes[value - 1].shape

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        answers = []
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            for n, x in enumerate(windows):
                stopping.check()
                answers.append(self._run_window(x, None if h is None else h[n], None if c is None else c[n]))
        return np.stack(answers)

    def _run_window(self, x: Array, h: Array | None, c: Array | None) -> Array:
        values = [Value(x)]
        for node in self.nodes:
            values.append(self._run_node(node, [values[n] for n in node.reads], h, c))
        return values[-1].array

    def _run_node(self, node: Node, given: list[Value], h: Array | None, c: Array | None) -> Value:
        layer, first = node.layers[0], given[0]
        if isinstance(layer, Merge):
            kept = [value.kept for value in given if value.kept is not None]
            joined = merged([value.array for value in given], MERGES[type(layer)])
            if len(kept) < len(given):
                return Value(joined)
            both = np.logical_or.reduce(kept)
            if layer.name in self.zeroed:
                joined[~both] = 0
            return Value(joined, both)
        if isinstance(layer, Reverse):
            return Value(np.ascontiguousarray(first.array[::-1]), None if first.kept is None else first.kept[::-1])
        if isinstance(layer, Masking):
            differs = (first.array != first.array.dtype.type(layer.mask_value)).any(axis=1)
            return Value(np.where(differs[:, np.newaxis], first.array, first.array.dtype.type(0)), differs)
        if node.runner is None:
            return Value(first.array[..., 0], first.kept)
        states = [None if s is None else s[np.newaxis, slice(*at)] for s, at in ((h, node.h), (c, node.c))]
        if first.kept is not None and isinstance(layer, Recurrent):
            return self._run_masked(node, layer, first, states)
        sequence = np.ascontiguousarray(first.array).reshape(-1, node.features)
        answer = node.runner.run(sequence[np.newaxis], *states)[0]
        answer = answer.reshape([len(sequence) if n == "T" else n for n in node.shape])
        return Value(answer, first.kept if "T" in node.shape else None)

    def _run_masked(self, node: Node, layer: Recurrent, x: Value, states: list[Array | None]) -> Value:
        """A recurrent layer over the steps that count; the others repeat what came out before them."""
        assert node.runner is not None
        assert x.kept is not None
        rows = np.ascontiguousarray(x.array[x.kept])
        shape = (len(x.array), layer.width) if layer.return_sequences else (layer.width,)
        answer = np.zeros(shape, self.dtype)
        if len(rows) == 0:
            if not layer.return_sequences:  # the state that it begins with is the one that it ends with
                h = start_of(layer, self.dtype)[0] if states[0] is None else states[0]
                answer[:] = h.reshape(layer.states, layer.state_width)[-1]
            return Value(answer, x.kept if layer.return_sequences else None)
        found = node.runner.run(rows[np.newaxis], *states)[0]
        if not layer.return_sequences:
            return Value(found)
        number = np.cumsum(x.kept) - 1  # of the step that counts, at or before each one
        answer[number >= 0] = found[number[number >= 0]]
        return Value(answer, x.kept)

    def slider(self, window: int | None, streams: int) -> Slider:
        layers, output, features = self.given
        answer = answer_shape(output, window)
        if window is not None:
            return WholeWindows(self, answer, features, window, streams)
        for layer in layers:
            if isinstance(layer, Reverse | Masking) or getattr(layer, "bidirectional", False):
                raise ValueError(
                    f"{layer.label}: what it puts out depends on ticks that have not come, or on which ones count: a "
                    f"model with it cannot carry states from tick to tick; `sliding` and whole windows can"
                )
        return GraphSlider(self.nodes, MERGES, answer, features, self.dtype, streams)


def cut(layers: Sequence[Layer], features: int) -> list[Node]:
    """Nodes of lowered layers: as long chains as there are."""
    from lstmcore.layers.wiring import check_layers

    shapes = check_layers(tuple(layers))
    reads = sources(layers)
    readers = [sum(inputs.count(n + 1) for inputs in reads) for n in range(len(layers))]
    masked = any(isinstance(layer, Masking) for layer in layers)
    nodes: list[Node] = []
    node_of = {0: 0}  # the value that holds what came out of a layer
    for n, (layer, inputs) in enumerate(zip(layers, reads, strict=True)):
        below = layers[n - 1] if n else None
        follows = below is not None and inputs == (n,) and readers[n - 1] == 1
        alone = any(
            isinstance(x, Merge | Reverse | Masking) or (masked and isinstance(x, Recurrent)) for x in (layer, below)
        )
        if follows and not alone:
            nodes[-1].layers.append(layer)
            nodes[-1].shape = shapes[n + 1]
        else:
            first = shapes[inputs[0]]
            size = 1 if first in (("T",), ()) else int(first[-1])
            nodes.append(Node([layer], tuple(node_of[i] for i in inputs), shapes[n + 1], size))
        node_of[n + 1] = len(nodes)
    return nodes


def _place_states(nodes: Sequence[Node]) -> None:
    """Where each node's states stand among those of the model, whose order lowering and cutting keep."""
    h = c = 0
    for node in nodes:
        recurrent = [x for x in node.layers if isinstance(x, Recurrent)]
        more_h = sum(x.states * x.state_width for x in recurrent)
        more_c = sum(x.states * x.cell_width for x in recurrent)
        node.h, node.c = (h, h + more_h), (c, c + more_c)
        h, c = h + more_h, c + more_c
