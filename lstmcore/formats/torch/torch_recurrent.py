"""torch's LSTM, GRU and RNN and their cells as handlers of a `Value`; see `torch_ops`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lstmcore.errors import UnsupportedError
from lstmcore.formats.states import Cell, Slot
from lstmcore.formats.torch.torch_axes import features_last
from lstmcore.formats.torch.torch_value import (
    CellState,
    F,
    Given,
    L,
    N,
    Op,
    T,
    TimeAxisError,
    Unusable,
    Value,
    array,
    show,
)
from lstmcore.layers import GRU, LSTM, RNN, Array, Recurrent

#: torch's operations: the kind of layer, and the settings that the operation itself says.
KINDS: Mapping[str, tuple[type[Recurrent], dict[str, Any]]] = {
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
    "rnn_tanh": (RNN, {"activations": "tanh"}),
    "rnn_relu": (RNN, {"activations": "relu"}),
}

CELL_STATE = "takes the cell state c_n, which lstmcore does not answer with; use out or h_n"


def recurrent(
    op: Op,
    x: Any,
    states: Any,
    params: Sequence[torch.Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Value | Unusable, ...]:
    """All steps' h of the top layer, every layer's last h, and for an LSTM the last c."""
    states = [states] if op.kind != "lstm" else states
    if train:
        op.refuse("is in training mode; call module.eval() first")
    if not isinstance(x, Value) or not all(isinstance(state, torch.Tensor | Given) for state in states):
        op.refuse("starts from a state that depends on the input; only constant initial states are supported")
    x = features_last(op, x)
    expected = (N, T, F) if batch_first else (T, N, F)
    if x.axes != expected:
        swapped = x.axes == (expected[1], expected[0], F)
        op.refuse(
            f"has batch_first={batch_first} and reads {show(expected)}, but what comes in is {show(x.axes)}",
            TimeAxisError if swapped else UnsupportedError,
        )
    suffixes = ("", "_reverse") if bidirectional else ("",)
    cells = [f"l{k}{suffix}" for k in range(num_layers) for suffix in suffixes]
    keys = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * has_biases
    keys += ["weight_hr"] * (len(params) > len(cells) * len(keys))
    names = [f"{key}_{cell}" for cell in cells for key in keys]
    weights = {key: array(p) for key, p in zip(names, params, strict=True)}
    weights |= _initial(op, states, cells)
    layer = _layer(op.kind, op.name, weights, num_layers=num_layers, bidirectional=bidirectional)
    out = x.then(layer, layer.width)
    slots = _slots(op, out, states)
    every = torch.full(tuple(op.node.meta["val"][0].shape), -1)
    top = [torch.as_tensor(out.graph.states.end(slot)) for slot in slots["h"][-len(suffixes) :]]
    for at, step, end in zip((0, 1), (-1, 0), top, strict=False):
        every.movedim(1 if batch_first else 0, 0)[step, :, at * layer.state_width :][:, : layer.state_width] = end
    stacks = (np.stack([out.graph.states.end(slot) for slot in slots[letter]]) for letter in slots)
    out.graph.ends[op.node] = {0: every, **dict(enumerate(map(torch.as_tensor, stacks), 1))}
    c_n = [Unusable(CELL_STATE)] * (op.kind == "lstm")
    return out, _final(op, out), *c_n


def _slots(op: Op, out: Value, states: Sequence[Any]) -> dict[str, list[Slot]]:
    """The states of a layer, h and perhaps c, each row by row; those that are given begin it."""
    layer: Any = out.layer
    out.graph.has_states(out.source, out.source)
    cells = [Cell(str(out.source), op.path or op.kind, row) for row in range(layer.states)]
    known = {letter: [Slot(cell, letter, width) for cell in cells] for letter, width in layer.state_widths.items()}
    for (_, slots), state in zip(known.items(), states, strict=True):
        out.graph.states.slots += [slot for slot in slots if slot not in out.graph.states.slots]
        if isinstance(state, Given):
            for slot, row in zip(slots, state.numbers.reshape(len(slots), -1, slots[0].width), strict=True):
                out.graph.states.begin(slot, row.numpy())
    return known


def cell(
    op: Op,
    x: Any,
    state: Any,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias_ih: torch.Tensor | None = None,
    bias_hh: torch.Tensor | None = None,
) -> Any:
    """One call of a cell, in a loop over the steps that torch has written out: h, and for an LSTM c."""
    states = list(state) if op.kind == "lstm_cell" else [state]
    if not isinstance(x, Value) or x.step is None or x.axes != (N, F):
        op.refuse("is called with something other than one step of a sequence; expected x[:, t] in a loop over t")
    tensors = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
    weights = {f"{key}_l0": array(w) for key, w in tensors.items() if w is not None}
    if all(isinstance(s, torch.Tensor | Given) for s in states):
        if x.step != 0:
            op.refuse(f"begins with a constant state at step {x.step}; expected a loop over all steps from the first")
        weights |= _initial(op, [s if isinstance(s, Given) else s[None] for s in states], ["l0"])
        layer = _layer(op.kind.removesuffix("_cell"), op.name, weights)
        h = dataclasses.replace(x.then(layer, layer.width), picked=op)
        _slots(op, h, states)
    elif _goes_on(op, x, states, weights):
        h = dataclasses.replace(states[0], step=x.step, picked=op)
    else:
        op.refuse(f"its state at step {x.step} is not what it gave at the step before; that is not supported")
    if x.step == x.sizes["T"] - 1:
        slots = [slot for slot in h.graph.states.slots if slot.cell.key == str(h.source)]
        h.graph.ends[op.node] = {n: torch.as_tensor(h.graph.states.end(slot)) for n, slot in enumerate(slots)}
    return (h, CellState(CELL_STATE, h.source, x.step)) if op.kind == "lstm_cell" else h


def _goes_on(op: Op, x: Value, states: Sequence[Any], weights: Mapping[str, Array]) -> bool:
    """Whether a cell goes on at the next step of the same sequence from what it gave."""
    before = states[0]
    layer = before.layer if isinstance(before, Value) else None
    return (
        isinstance(layer, Recurrent)
        and layer.name == op.name
        and x.graph.inputs(before.source) == (x.source,)
        and all(isinstance(s, Value | CellState) for s in states)
        and all((s.source, s.step) == (before.source, (x.step or 0) - 1) for s in states)
        and all(_equal(layer.weights[key], w) for key, w in weights.items())
    )


def _layer(op_kind: str, name: str, weights: dict[str, Array], **settings: Any) -> Recurrent:
    kind, more = KINDS[op_kind]
    rows, input_size = weights["weight_ih_l0"].shape
    if "weight_hr_l0" in weights:
        more = {**more, "proj_size": weights["weight_hr_l0"].shape[0]}
    return kind(
        name,
        input_size,
        rows // len(kind.gates),
        bias="bias_ih_l0" in weights,
        return_sequences=True,
        learned_state="h_0_l0" in weights,
        weights=weights,
        **more,
        **settings,
    )


def _initial(op: Op, given: Sequence[torch.Tensor | Given], cells: Sequence[str]) -> dict[str, Array]:
    """The initial states (layers*directions, N, H) as weights; none where all are zero, or given at the call."""
    states = [torch.zeros(s.numbers.shape) if isinstance(s, Given) else s for s in given]
    if not any(torch.count_nonzero(state) for state in states):
        return {}
    states = [state.reshape(len(cells), *state.shape[-2:]) for state in states]
    for letter, state in zip("hc", states, strict=False):
        if not torch.equal(state, state[:, :1].expand_as(state)):
            op.refuse(f"starts from a {letter}0 that is not the same for all windows")
    pairs = list(zip("hc", states, strict=False))
    return {f"{letter}_0_{name}": array(state[n, 0]) for letter, state in pairs for n, name in enumerate(cells)}


def _final(op: Op, out: Value) -> Value:
    """h_n, (layers*directions, N, H), of which the top layer's can be taken."""
    layer: Any = out.layer
    stacked = {**out.sizes, "L": layer.num_layers, "D": len(layer.suffixes), "F": layer.state_width}
    if not layer.bidirectional:
        last = dataclasses.replace(out, step=out.sizes["T"] - 1, picked=op, sizes=stacked)
        return last.with_axes(L if layer.num_layers > 1 else (), N, F)
    source = out.graph.add(layer.replace(return_sequences=False), *out.graph.inputs(out.source))
    out.graph.has_states(source, out.source)
    return dataclasses.replace(out, source=source, sizes=stacked).with_axes(("L", "D")[layer.num_layers < 2 :], N, F)


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()
