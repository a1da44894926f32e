"""LSTM, GRU and RNN with all that ONNX has for them, as nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lstmcore.errors import UnsupportedError
from lstmcore.formats.gates import reorder
from lstmcore.formats.onnx.onnx_gates import FUNCTIONS
from lstmcore.formats.onnx.onnx_graph import Graph
from lstmcore.layers import Array, Recurrent

#: How the two directions are joined, where that is not by putting one behind the other.
JOINS = {"mean": "ReduceMean", "mul": "ReduceProd", "sum": "ReduceSum"}

#: ONNX's name of a function for ours.
NAMES = {ours: name for name, ours in FUNCTIONS.items()}


def recurrent(
    graph: Graph, x: str, layer: Recurrent, given: Mapping[str, str], lengths: str
) -> tuple[str, dict[str, list[str]]]:
    """The nodes of a stack that reads `x` (N, T, I); what they answer, and the final h and c of each level (D, N, H).

    `given` has the inputs of the graph that are "h" and "c" (L*D, N, H), where there are such; `lengths` is that of
    how many steps count (N,), or "".

    Raises:
        UnsupportedError: A setting that no attribute of ONNX's operator is.
    """
    attributes = _attributes(layer)
    states = {letter: _states(graph, x, letter, layer, given.get(letter)) for letter in layer.state_widths}
    ends: dict[str, list[str]] = {letter: [] for letter in states}
    x = graph.apply("Transpose", x, perm=[1, 0, 2])  # (T, N, I): runtimes implement layout=0 alone
    for k in range(layer.num_layers):
        cells = [layer.cell(k, suffix) for suffix in layer.suffixes]
        inputs = [x, *_weights(graph, layer, cells), lengths, *(begins[k] for begins in states.values())]
        if getattr(layer, "peepholes", False):
            order = [np.split(cell["weight_peephole"], 3) for cell in cells]
            inputs.append(graph.constant([np.concatenate([p_i, p_o, p_f]) for p_i, p_f, p_o in order]))
        count = 1 + (len(states) if given else 1)
        every, final, *cell = graph.node(type(layer).__name__, *inputs, outputs=count, **attributes)
        for letter, end in zip("hc", (final, *cell), strict=False):
            ends[letter].append(end)
        top = k == layer.num_layers - 1
        merge = layer.merge if top else "concat"
        if top and not layer.return_sequences:
            return _joined(graph, final, 0, merge, layer), ends
        x = _joined(graph, every, 1, merge, layer)
    return graph.apply("Transpose", x, perm=[1, 0, 2]), ends


def _joined(graph: Graph, x: str, at: int, merge: str, layer: Recurrent) -> str:
    """Without the axis of directions, which is `at`: (T, D, N, H) -> (T, N, ...), (D, N, H) -> (N, ...)."""
    if not layer.bidirectional:
        return graph.apply("Squeeze", x, graph.constant([at], np.int64))
    if merge == "concat":
        before = list(range(at))
        beside = graph.apply("Transpose", x, perm=[*before, at + 1, at, at + 2])
        return graph.apply("Reshape", beside, graph.constant([0] * (at + 1) + [-1], np.int64))
    if merge == "sum":
        return graph.apply("ReduceSum", x, graph.constant([at], np.int64), keepdims=0)
    return graph.apply(JOINS[merge], x, axes=[at], keepdims=0)


def _weights(graph: Graph, layer: Recurrent, cells: list[dict[str, Array]]) -> list[str]:
    """W, R and B, one direction behind the other."""
    kind = type(layer).__name__
    w, r = ([reorder(cell[key], kind, "torch", "onnx") for cell in cells] for key in ("weight_ih", "weight_hh"))
    names = [graph.constant(w), graph.constant(r)]
    if not layer.bias:
        return [*names, ""]
    both = [[reorder(cell[key], kind, "torch", "onnx") for key in ("bias_ih", "bias_hh")] for cell in cells]
    return [*names, graph.constant([np.concatenate(pair) for pair in both])]


def _attributes(layer: Recurrent) -> dict[str, Any]:
    for setting in ("proj_size", "layer_norm"):
        if getattr(layer, setting, False):
            raise UnsupportedError(f"{layer.label}: setting {setting!r}: ONNX's operator has nothing for it")
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    if layer.clip:
        attributes["clip"] = layer.clip
    if getattr(layer, "coupled", False):
        attributes["input_forget"] = 1
    if getattr(layer, "reset_after", False):
        attributes["linear_before_reset"] = 1
    if layer.activations != layer.usual:
        functions = [function for _ in layer.suffixes for function in layer.functions]
        for function in functions:
            if function.name not in NAMES:
                raise UnsupportedError(f"{layer.label}: activation {function}: ONNX's gates cannot have it")
        attributes["activations"] = [NAMES[function.name] for function in functions]
        for n, key in enumerate(("activation_alpha", "activation_beta")):
            # One for each function that has such a number, in order.
            numbers = [function.numbers[n] for function in functions if len(function.numbers) > n]
            if numbers:
                attributes[key] = numbers
    return attributes


def _states(graph: Graph, x: str, letter: str, layer: Recurrent, given: str | None) -> list[str]:
    """The initial states of each layer of the stack that reads `x` (N, T, I), (D, N, H); "" where they are zero."""
    count, directions = layer.num_layers, len(layer.suffixes)
    if given is not None:
        return [given] if count == 1 else graph.node("Split", given, outputs=count, axis=0)
    if not layer.learned_state:
        return [""] * count
    windows = graph.apply("Shape", x, start=0, end=1)
    made = []
    for k in range(count):
        state = np.stack([layer.cell(k, suffix)[f"{letter}_0"] for suffix in layer.suffixes])  # (D, H)
        ends = (graph.constant([n], np.int64) for n in (directions, state.shape[1]))
        shape = graph.apply("Concat", next(ends), windows, next(ends), axis=0)
        made.append(graph.apply("Expand", graph.constant(state[:, np.newaxis]), shape))
    return made
